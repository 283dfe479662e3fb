"""Whether more labelled images would help: accuracy by images per class."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smat.assessment.calibration import GROWTH, Accuracy
from smat.assessment.held_out import fewer_views, query_views
from smat.heads import MANY, Classifier, Head
from smat.rng import torch_generator

DRAWS, FEWER_DRAWS = 6, 2
"""Subsets that are drawn per point; fewer of more than `MANY` images."""

CERTAINTY = 0.3
"""Standard deviation of `GROWTH` from task to task; what did best on validation classes."""

HELPS = 0.01
"""Gain in accuracy from twice as many images from which on these are said to help."""

ENOUGH = 25
"""Images from which on a small gain is taken for one: of fewer, an accuracy near 1 can be chance."""


@dataclass(frozen=True)
class Point:
    """The accuracy with so many images per class.

    Attributes:
        shot: images per class; fewer of classes that have fewer.
        accuracy: mean over subsets, of the images that are not in them, all classes alike, in 0..1.
        spread: standard deviation over subsets.
    """

    shot: int
    accuracy: float
    spread: float


@dataclass(frozen=True)
class LearningCurve:
    """How the accuracy grows with images per class.

    Attributes:
        points: by images per class, ascending; none where no class has two images.
        exponent: errors fall as images per class to the power of minus this.
        gain: what twice as many images of each class would add to the accuracy; None without points.
        alone: classes with one image, of which nothing is known.
        held: number of images that the accuracy is known from.
    """

    points: tuple[Point, ...]
    exponent: float
    gain: float | None
    alone: tuple[int, ...] = ()
    held: int = 0

    def __str__(self) -> str:
        if self.gain is None:
            return "No class has two images, so nothing is known of what more images would do."
        if self.gain < HELPS and self.held < ENOUGH:
            return (
                f"So few images do not say whether more would help: hardly one of {self.held} is classified wrong when "
                "it is held out. A few more make it sure."
            )
        if self.gain < HELPS:
            return "More images of the same kind would hardly help: twice as many would add less than a point."
        points = round(100 * self.gain)
        return f"More images would help: twice as many would add about {points} point{'s' if points > 1 else ''}."


@torch.no_grad()
def learning_curve(
    head: Head,
    classifier: Classifier,
    features: Float[Tensor, "views n networks_dim"],
    labels: Int[Tensor, " n"],
    accuracy: Accuracy | None,
    seed: int = 0,
) -> LearningCurve:
    """Accuracies with 1, 2, 4, ... images per class, fitted to subsets and tested on the other images.

    What the head chose for the task stays as it is, as in `hold_out`. The exponent of the errors is that of the points,
    drawn towards the usual one (`GROWTH`) as far as they say little.

    Args:
        head: what made the classifier, for as many networks.
        classifier: of all images.
        features: of all images, by view of `head.views.support`.
        labels: 0..way-1.
        accuracy: what is expected of the classifier of all images.
        seed: seed of the subsets.
    """
    way = classifier.way
    counts = torch.bincount(labels, minlength=way)
    alone = tuple((counts == 1).nonzero()[:, 0].tolist())
    if accuracy is None or len(alone) == way:
        return LearningCurve((), GROWTH, None, alone)
    settled, images, rows = head.settled(classifier), query_views(head, features), fewer_views(features)
    draws = DRAWS if len(labels) <= MANY else FEWER_DRAWS
    shots = [2**power for power in range(int(counts.max() - 1).bit_length()) if 2**power < counts.max()]
    points: list[Point] = []
    for shot in shots:
        found: list[Tensor] = []
        for draw in range(draws):
            kept = _subset(labels, counts, shot, seed, draw)
            fitted = settled.fit(rows[:, kept].flatten(0, 1), labels[kept].repeat(len(rows)), way)
            right = (fitted(images[~kept]).argmax(1) == labels[~kept]).double()
            tested = torch.bincount(labels[~kept], minlength=way).double()
            by_class = torch.zeros(way, dtype=torch.float64).index_add(0, labels[~kept].cpu(), right.cpu())
            found.append((by_class / tested.cpu())[tested.cpu() > 0].mean())
        shares = torch.stack(found)
        points.append(Point(shot, float(shares.mean()), float(shares.std())))
    exponent = _exponent(points, len(labels), accuracy, float(counts.double().mean()))
    return LearningCurve(tuple(points), exponent, (1 - accuracy.expected) * (1 - 2**-exponent), alone, accuracy.held)


def _subset(labels: Tensor, counts: Tensor, shot: int, seed: int, draw: int) -> Tensor:
    """Which images are kept: `shot` of each class at random, but all except one, at least one, of those with fewer."""
    generator = torch_generator(seed, "learning curve", shot, draw)
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = order[torch.argsort(labels[order], stable=True)]
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    kept = torch.zeros_like(labels, dtype=torch.bool)
    kept[order] = rank < (counts - 1).clamp(min=1, max=shot)[labels[order]]
    return kept


def _exponent(points: list[Point], images: int, accuracy: Accuracy, shot: float) -> float:
    """The slope of log error by log images per class, drawn towards `GROWTH` as far as the points say little.

    It goes through the expected accuracy of the classifier of all images.
    """
    last = math.log(max(1 - accuracy.expected, 0.5 / images))
    precision, total = 1 / CERTAINTY**2, GROWTH / CERTAINTY**2
    for point in points:
        error = max(1 - point.accuracy, 0.5 / images)
        span = math.log(shot / point.shot)
        if span <= 0:
            continue
        # variance of the difference of two log errors, each of a share of about so many images
        variance = 1 / (error * images) + 1 / (math.exp(last) * images)
        precision += span**2 / variance
        total += span * (math.log(error) - last) / variance
    return min(max(total / precision, 0.0), 1.0)
