"""Predictions without a classifier."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from smat.recipes.predictions import Predictions, predictions_of


def predicted(
    names: Sequence[str], labels: Sequence[str], certainty: Sequence[float], unknown_label: str | None = None
) -> Predictions:
    """Images with a label each, and the probability of the class that each is most like.

    Args:
        names: the images, with their folders.
        labels: their labels; one that is `unknown_label` has the first of the classes as its most probable.
        certainty: the probability of the most probable class; the other classes have the same each.
        unknown_label: label of images of none of the classes.
    """
    classes = sorted({*labels} - {unknown_label})
    best = np.array([classes.index(label) if label in classes else 0 for label in labels])
    rest = (1 - np.array(certainty)[:, None]) / max(1, len(classes) - 1)
    probabilities = np.where(best[:, None] == np.arange(len(classes)), np.array(certainty)[:, None], rest)
    return predictions_of(classes, [Path(n) for n in names], labels, probabilities, np.array(certainty), unknown_label)


def painted(root: Path, names: Sequence[str]) -> list[Path]:
    """Write an image of each name; returns the names as paths."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number % 256, 80, 120)).save(root / name)
    return [Path(name) for name in names]
