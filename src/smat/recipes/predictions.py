"""What `smat predict` finds: labels, probabilities and the accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smat.assessment import Accuracy
from smat.domains.folders import printable
from smat.domains.wordnet import numbers_of


@dataclass(frozen=True)
class Predictions:
    """What `predict` found; images that were left out are not in it.

    Attributes:
        classes: class names, sorted.
        files: query images, relative to their folder; names that are no UTF-8 are written as in `caf\\xe9.png`.
        labels: most probable class of each image, or the word for images of none of them.
        probabilities: probability of each class, `[images, classes]`.
        known: how much each image is like the labelled ones, `[images]`; higher is more; None: that is not known.
        truths: the class that a folder of each image is called by; None: there is no such folder.
        accuracy: share of right labels among the images with a truth; None: there are none. The word for none of the
            classes is right where the folder is called by it, and wrong elsewhere.
        scored: number of images with a truth.
        answered: number of these whose label is a class.
        accuracy_of_answered: share of right labels among those; None: there are none.
        other_folders: folders of the images without a truth, where there is an accuracy.
        expected_accuracy: accuracy on new images that the labelled ones let expect; None: they say nothing of it.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    known: np.ndarray | None
    truths: tuple[str | None, ...]
    accuracy: float | None
    scored: int
    answered: int
    accuracy_of_answered: float | None
    other_folders: tuple[str, ...]
    expected_accuracy: Accuracy | None = None


def predictions_of(
    classes: Sequence[str],
    names: Sequence[Path],
    labels: Sequence[str],
    probabilities: np.ndarray,
    known: np.ndarray | None,
    unknown_label: str | None = None,
    expected_accuracy: Accuracy | None = None,
) -> Predictions:
    """What a classifier says of images, and how much of that is right by the names of their folders.

    Args:
        classes: class names.
        names: the images, relative to their folder; folders among their parts may name the classes.
        labels: label of each image.
        probabilities: probability of each class, `[images, classes]`.
        known: how much each image is like the labelled ones, `[images]`; None: that is not known.
        unknown_label: label of images of none of the classes; None: each image has one of the classes.
        expected_accuracy: accuracy on new images that the labelled ones let expect.
    """
    words = numbers_of(classes)
    answers = {*classes, unknown_label} - {None}
    folders = [[printable(part) for part in name.parent.parts] for name in names]
    called = [[words.get(folder, folder) for folder in inner] for inner in folders]
    truths = [next((name for name in inner if name in answers), None) for inner in called]
    scored = [(truth, label) for truth, label in zip(truths, labels, strict=True) if truth is not None]
    answered = [(truth, label) for truth, label in scored if label in classes]
    others = {inner[0] if inner else "." for inner, truth in zip(folders, truths, strict=True) if truth is None}
    return Predictions(
        classes=tuple(classes),
        files=tuple(printable(name.as_posix()) for name in names),
        labels=tuple(labels),
        probabilities=probabilities,
        known=known,
        truths=tuple(truths),
        accuracy=_share_right(scored),
        scored=len(scored),
        answered=len(answered),
        accuracy_of_answered=_share_right(answered),
        other_folders=tuple(sorted(others)) if scored else (),
        expected_accuracy=expected_accuracy,
    )


def _share_right(pairs: Sequence[tuple[str, str]]) -> float | None:
    return sum(truth == label for truth, label in pairs) / len(pairs) if pairs else None
