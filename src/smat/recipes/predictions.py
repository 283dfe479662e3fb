"""What `smat predict` finds: labels, probabilities and the accuracy, and the table of these."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smat.adaptation import FewShotClassifier
from smat.domains.folders import printable


@dataclass(frozen=True)
class Predictions:
    """What `predict` found; images that were left out are not in it.

    Attributes:
        classes: class names, sorted.
        files: query images, relative to their folder; names that are no UTF-8 are written as in `caf\\xe9.png`.
        labels: most probable class of each image.
        probabilities: probability of each class, `[images, classes]`.
        accuracy: share of right labels among the query images in folders that name a class; None: there are none.
        scored: number of these images.
        unknown: folders of the others, where there is an accuracy.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    accuracy: float | None
    scored: int = 0
    unknown: tuple[str, ...] = ()


def predictions_of(
    classifier: FewShotClassifier,
    files: Sequence[Path],
    probabilities: np.ndarray,
    root: Path,
    words: Mapping[str, str],
) -> Predictions:
    """What a classifier says of the images.

    Args:
        classifier: the classifier, fitted.
        files: the images.
        probabilities: probability of each class, `[images, classes]`.
        root: folder that names of images start from; folders in it may name the classes.
        words: names of classes by that of their folder, where they are others.
    """
    classes = tuple(str(name) for name in classifier.classes_)
    labels = tuple(classes[index] for index in probabilities.argmax(axis=1))
    names = [file.relative_to(root) for file in files]
    folders = [[printable(part) for part in name.parent.parts] for name in names]
    called = [[words.get(folder, folder) for folder in inner] for inner in folders]
    said = [next((name for name in inner if name in classes), None) for inner in called]
    right = [name == label for name, label in zip(said, labels, strict=True) if name is not None]
    unknown = {inner[0] if inner else "." for inner, name in zip(folders, said, strict=True) if name is None}
    return Predictions(
        classes=classes,
        files=tuple(printable(name.as_posix()) for name in names),
        labels=labels,
        probabilities=probabilities,
        accuracy=sum(right) / len(right) if right else None,
        scored=len(right),
        unknown=tuple(sorted(unknown)) if right else (),
    )


def csv_table(result: Predictions) -> str:
    """The table as CSV. Excel takes a file for UTF-8 only by a mark at its start, so names beyond ASCII bring one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = {name: name for name in result.classes}
    for name in {"file", "label"} & {*columns}:
        while columns[name] in ("file", "label", *result.classes):
            columns[name] += " (class)"
    writer.writerow(["file", "label", *columns.values()])
    for file, label, row in zip(result.files, result.labels, result.probabilities, strict=True):
        writer.writerow([file, label, *(f"{p:.6f}" for p in row)])
    table = text.getvalue()
    return table if table.isascii() else f"\ufeff{table}"
