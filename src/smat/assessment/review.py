"""Which of the labelled images may be wrong: other labels than they should have, duplicates, odd ones out."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from smat.assessment.calibration import tempered
from smat.assessment.held_out import HeldOut

Kind = Literal["label", "duplicate", "odd"]

DOUBT = 0.7
"""Probability of another class from which on a label is suspect."""

SAME = 0.95
"""Cosine of features around their mean from which on two images are taken for the same."""

ODD, UNLIKELY = 1.5, 0.5
"""How many robust standard deviations below the median of its task an image's `Knownness` must lie to be odd, and below
what its class's probability. One image in fifty is so by chance, and one in three that is of none of the classes."""

SUGGESTIONS: dict[Kind, str] = {
    "label": "look at it: give it the other label, or remove it if it shows both",
    "duplicate": "keep one of the two, with the right label",
    "odd": "look at it: remove it if it shows none of the classes, or add more that are like it",
}


@dataclass(frozen=True)
class Suspect:
    """A labelled image that may be wrong.

    Attributes:
        kind: `"label"`: classifiers that did not see it are sure of another class; `"duplicate"`: it is nearly the same
            as another image, of the same or of another class; `"odd"`: it is unlike all others.
        index: which of the labelled images.
        other: for `"label"` the class that it seems to be of; for `"duplicate"` the other image, by index; else None.
        score: probability of the other class; cosine to the other image, at most 1; or for `"odd"` how many robust
            standard deviations it lies below the median. The higher, the more suspect.
        suggestion: what to do.
    """

    kind: Kind
    index: int
    other: int | None
    score: float
    suggestion: str


@torch.no_grad()
def review(
    held: HeldOut, degree: float, features: Float[Tensor, "views n networks_dim"], labels: Int[Tensor, " n"]
) -> list[Suspect]:
    """The images that may be wrong: labels, duplicates across classes, within them, odd ones; the worst of each first.

    Args:
        held: what classifiers say of images that they did not see.
        degree: their temperature.
        features: of the images, by view.
        labels: 0..way-1.
    """
    return [*_labels(held, degree), *_duplicates(features, labels), *_odd(held, degree)]


def _suspects(kind: Kind, index: Tensor, other: Tensor | None, score: Tensor) -> list[Suspect]:
    """Those of a kind, highest score first."""
    order = torch.argsort(score, descending=True, stable=True)
    others = [None] * len(order) if other is None else other[order].tolist()
    found = zip(index[order].tolist(), others, score[order].tolist(), strict=True)
    return [Suspect(kind, i, o, s, SUGGESTIONS[kind]) for i, o, s in found]


def _mislabelled(held: HeldOut, degree: float) -> tuple[Tensor, Tensor, Tensor]:
    """Whether each image's label is suspect; the most probable class, and its probability."""
    score, other = tempered(held, degree).max(1)
    return (other != held.labels) & (score >= DOUBT), other, score


def _labels(held: HeldOut, degree: float) -> list[Suspect]:
    suspect, other, score = _mislabelled(held, degree)
    return _suspects("label", held.index[suspect], other[suspect], score[suspect])


def _duplicates(features: Tensor, labels: Tensor) -> list[Suspect]:
    x = normalize(normalize(features, dim=2).mean(0), dim=1)
    centred = x - x.mean(0)
    lengths = centred.norm(dim=1)
    # images that are all the same have no directions around their mean
    centred = torch.where(lengths[:, None] > 1e-4, normalize(centred, dim=1), normalize(x, dim=1))
    cosine = (centred @ centred.T).clamp(max=1).triu(diagonal=1)
    one, two = (cosine >= SAME).nonzero(as_tuple=True)
    score, across = cosine[one, two], labels[one] != labels[two]
    return [
        suspect for some in (across, ~across) for suspect in _suspects("duplicate", one[some], two[some], score[some])
    ]


def _odd(held: HeldOut, degree: float) -> list[Suspect]:
    """Those that are not of another class, as far as one can tell."""
    if not len(held.known):
        return []
    below = held.known.median() - held.known
    score = below / (1.4826 * below.abs().median()).clamp(min=1e-6)  # of normal numbers, that is a standard deviation
    suspect = (score >= ODD) & (held.own(tempered(held, degree)) < UNLIKELY) & ~_mislabelled(held, degree)[0]
    return _suspects("odd", held.index[suspect], None, score[suspect])
