"""What `FewShotClassifier` is given: images and labels, checked."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_non_negative
from torch import Tensor

from smat.domains import GreyRange, canvas, load_image
from smat.errors import DataError
from smat.heads.linear import of_few_images

_WEB = ("http://", "https://", "ftp://")


def as_list(X: Any) -> list[Any]:
    """The images of `X`, each for `load_image`.

    Beside what `FewShotClassifier` says: tensors with their channels first, `[n, 1, 3 or 4, height, width]`, or lists
    of such; a data frame of one column; and images as `datasets` has them undecoded, `{"bytes": ..., "path": ...}`.
    """
    what = "give a list of PIL images, paths or arrays, or an array [n, height, width] or [n, height, width, 3]"
    if isinstance(X, str | Path | bytes | Image.Image | Mapping):
        raise DataError(f"X is one {type(X).__name__}, not several images; {what}")
    if isinstance(X, Tensor):
        X = _channels_last(X)
    if hasattr(X, "columns") and getattr(X, "ndim", 0) == 2:
        if X.shape[1] != 1:
            raise DataError(f"X is a table of {X.shape[1]} columns; give the one that has the images or their paths")
        X = X.iloc[:, 0]
    if isinstance(X, np.ndarray):
        names = X.ndim == 1 and X.dtype.kind in "OU"
        several = X.ndim == 4 or (X.ndim == 3 and X.shape[2] not in (1, 3, 4))
        if not names and not several:
            one = " (one image?)" if X.ndim == 3 else ""
            raise DataError(f"X is an array of shape {list(X.shape)} and type {X.dtype}{one}; {what}")
    elif getattr(X, "ndim", 1) != 1 or not isinstance(X, Iterable):
        raise DataError(f"X is a {type(X).__name__}; {what}")
    images = [_one_image(image) for image in X]
    if not images:
        raise DataError(f"X has no images (0 samples); {what}")
    return images


def _one_image(image: Any) -> Any:
    """An image for `load_image`."""
    if isinstance(image, Tensor):
        return _channels_last(image)
    if isinstance(image, Mapping) and image.keys() & {"bytes", "path"}:
        found = image.get("bytes") or image.get("path")
        if found is None:
            raise DataError("an image has neither bytes nor a path: it is missing in its data set")
        return found
    if isinstance(image, str) and image.startswith(_WEB):
        raise DataError(f"'{image}' is a web address; download the image first, and give the file")
    return image


def _channels_last(images: Tensor) -> np.ndarray:
    """A tensor as an array, in which the channels come last."""
    array = images.detach().cpu()
    array = (array.float() if array.is_floating_point() else array).numpy()
    first = array.ndim - 3  # of an image, or of several
    if array.ndim in (3, 4) and array.shape[first] in (1, 3, 4) and (array.ndim == 4 or array.shape[2] > 4):
        array = np.moveaxis(array, first, -1)
    return array


def read_images(
    images: Sequence[Any], numbers: Sequence[int], side: int, range: GreyRange | None, max_pixels: int
) -> UInt8[Tensor, "n 3 {side} {side}"]:
    """Some images as squares of one size, decoded in parallel; each is reduced at once, so that they take no memory.

    Args:
        images: all of them, as `load_image` takes them.
        numbers: which of them to read.
        side: side of the squares in pixels.
        range: values that are black and white in deep grey images.
        max_pixels: most pixels that one is decoded to.

    Raises:
        DataError: images that cannot be used; all are named.
    """

    found = squares_of([images[number] for number in numbers], side, range, max_pixels)
    bad = [
        f"image {number} of {len(images)} cannot be used: {result}"
        for number, result in zip(numbers, found, strict=True)
        if isinstance(result, DataError)
    ]
    if bad:
        several = [f"{len(bad)} of {len(images)} images cannot be used:"] if len(bad) > 1 else []
        raise DataError("\n".join([*several, *bad]))
    return torch.stack([square for square in found if isinstance(square, Tensor)])


def squares_of(
    images: Sequence[Any], side: int, range: GreyRange | None, max_pixels: int
) -> list[UInt8[Tensor, "3 {side} {side}"] | DataError]:
    """Images as squares, decoded in parallel, or what is wrong with each; arguments are those of `read_images`."""

    def read(image: Any) -> Tensor | DataError:
        try:
            return canvas(load_image(image, side, range=range, max_pixels=max_pixels), side)
        except DataError as error:
            return error

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        return list(threads.map(read, images))


def names_of(images: Sequence[Any]) -> tuple[str, ...]:
    """What images are called: their paths, also those that PIL opened them from, or their numbers."""
    paths = [image if isinstance(image, str | Path) else getattr(image, "filename", "") for image in images]
    return tuple(str(path) or f"image {number}" for number, path in enumerate(paths))


def as_weights(sample_weight: Any, images: int) -> Float[Tensor, " n"] | None:
    """The weight of each image, 0 or greater.

    Raises:
        DataError: not one number per image.
        ValueError: scikit-learn's own, of numbers that are not finite or below 0.
    """
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (images,):
        raise DataError(f"sample_weight has shape {list(weights.shape)}; give one number for each of {images} images")
    assert_all_finite(weights, input_name="sample_weight")
    check_non_negative(weights, "sample_weight")
    if not weights.any():
        raise DataError("all weights in sample_weight are zero; give those of images that count")
    return torch.from_numpy(weights)


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
    with of_few_images():
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
