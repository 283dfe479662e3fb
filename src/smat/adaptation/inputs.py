"""What `FewShotClassifier` is given: images and labels, checked."""

from collections.abc import Collection, Iterable, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from smat.errors import DataError


def as_list(X: Any) -> list[Any]:
    """The images of `X`, each for `load_image`."""
    what = "give a list of PIL images, paths or arrays, or an array [n, height, width] or [n, height, width, 3]"
    if isinstance(X, str | Path | bytes | Image.Image):
        raise DataError(f"X is one {type(X).__name__}, not several images; {what}")
    if isinstance(X, np.ndarray):
        names = X.ndim == 1 and X.dtype.kind in "OU"
        several = X.ndim == 4 or (X.ndim == 3 and X.shape[2] not in (1, 3, 4))
        if not names and not several:
            one = " (one image?)" if X.ndim == 3 else ""
            raise DataError(f"X is an array of shape {list(X.shape)} and type {X.dtype}{one}; {what}")
    elif getattr(X, "ndim", 1) != 1 or not isinstance(X, Iterable):
        raise DataError(f"X is a {type(X).__name__}; {what}")
    images = list(X)
    if not images:
        raise DataError(f"X has no images (0 samples); {what}")
    return images


def as_labels(y: Any, images: int) -> np.ndarray:
    """Labels as an array, one per image; scikit-learn's own errors for what cannot be class labels."""
    if y is None:
        raise DataError("the classifier requires y to be passed, but the target y is None; give a label for each image")
    if isinstance(y, str):
        raise DataError(f"y is one label, '{y}'; give a label for each image")
    if isinstance(y, Iterable) and getattr(y, "ndim", 1) == 1:
        y = y if hasattr(y, "__len__") else list(y)
        _check_each(list(y))
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    if len(labels) != images:
        raise DataError(f"X has {images} images and y {len(labels)} labels; give one label for each image")
    return labels


def _check_each(labels: Sequence[Any]) -> None:
    """Refuse labels that are missing or are several, or texts among numbers; they count from 0, as images do."""
    first: dict[type, tuple[int, Any]] = {}
    for number, label in enumerate(labels):
        which = f"label {number} of {len(labels)}"
        if isinstance(label, Collection) and not isinstance(label, str | bytes) and getattr(label, "ndim", 1):
            raise DataError(f"{which} is a {type(label).__name__}, {label!r:.60}; give one string or integer per image")
        if _missing(label):
            raise DataError(f"{which} is missing ({label}); give each image a label, or leave such images out")
        for kind in (str, bytes, Number):
            if isinstance(label, kind):
                first.setdefault(kind, (number, label))
    if len(first) > 1:
        found = ", ".join(f"label {number} of {len(labels)} is {label!r}" for number, label in first.values())
        raise DataError(f"labels are of several types: {found}; give strings alone, or integers alone")


def _missing(label: Any) -> bool:
    """Whether it is None, NaN or what other libraries have for that, such as `pandas.NA`: not equal to itself."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # `pandas.NA` is not even unequal to itself
        return True
