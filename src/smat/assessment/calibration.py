"""How sure a classifier may be, and how right it will be, by images that it did not see."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import beta
from torch import Tensor

from smat.assessment.held_out import HeldOut

SPREAD, DEGREES = 0.2, 2.0
"""Scale and degrees of freedom of Student's t, which is expected of the logarithm of a temperature: near 0, as `Auto`
has it, unless held-out images say very much otherwise, as they do of other heads."""

GROWTH = 0.35
"""Errors fall with images per class as their number to the power of minus this."""

EVIDENCE = 0.5
"""What share of the held-out images counts as independent in the interval of the accuracy: they share their fits, and
the images to come differ more than chance has it."""

_LOG_TEMPERATURES = torch.linspace(-3, 3, 121, dtype=torch.float64)


@torch.no_grad()
def temperature(held: HeldOut) -> float:
    """What logits are to be divided by, so that their softmax gives probabilities that are right as often as they say.

    The posterior mean of its logarithm, by the likelihood of the held-out images and a prior that matters where they
    are few; 1 without any.
    """
    logs = held.log_probabilities.double()
    likelihood = torch.stack([held.own((logs / t.exp()).log_softmax(1)).sum() for t in _LOG_TEMPERATURES]).cpu()
    prior = -(DEGREES + 1) / 2 * (1 + (_LOG_TEMPERATURES / SPREAD).square() / DEGREES).log()
    return float(((likelihood + prior).softmax(0) * _LOG_TEMPERATURES).sum().exp())


@torch.no_grad()
def tempered(held: HeldOut, degree: float) -> Float[Tensor, "held way"]:
    """Probabilities of the held-out images at a temperature."""
    return (held.log_probabilities.double() / degree).softmax(1)


def growth(held: HeldOut) -> float:
    """How many times as frequent errors are among held-out images as with a classifier of all images."""
    return float(held.seen.double().pow(-GROWTH).mean())


@dataclass(frozen=True)
class Accuracy:
    """What share of images to come will be classified right, all classes being equally frequent.

    Attributes:
        expected: the share, in 0..1.
        low, high: ends of its 95 % interval.
        held: number of labelled images that it is known from.
        alone: classes that have one image, so that nothing is known of them.
    """

    expected: float
    low: float
    high: float
    held: int
    alone: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{100 * self.expected:.0f} % (95 % interval {100 * self.low:.0f} to {100 * self.high:.0f} %)"


def accuracy(held: HeldOut, degree: float) -> Accuracy | None:
    """The accuracy to expect; None without held-out images.

    The mean of how often held-out images are classified right and how sure the classifier is of its answers, which
    chance moves less; corrected for the images that were missing when they were held out. The interval is that of a
    share of so many images (Jeffreys; it goes up to 1 where all are right, as Brown, Cai & DasGupta 2001 have it).

    Args:
        held: what is known.
        degree: their temperature.
    """
    if not len(held.labels):
        return None
    weights = held.weights.double().cpu()
    sure = tempered(held, degree).max(1).values.cpu()
    share = float((weights * (held.right.double().cpu() + sure) / 2).sum())
    expected = 1 - (1 - share) / growth(held)
    images = EVIDENCE / float(weights.square().sum())
    low, high = beta.ppf([0.025, 0.975], expected * images + 0.5, (1 - expected) * images + 0.5).tolist()
    high = 1.0 if held.right.all() else high
    return Accuracy(expected, min(low, expected), max(high, expected), len(held.labels), held.alone)
