"""What a classifier says of itself: temperature, expected accuracy, and the thresholds of its answers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from smat.assessment.calibration import Accuracy, accuracy, growth, temperature, tempered
from smat.assessment.held_out import HeldOut
from smat.errors import ConfigError
from smat.schema import Positive


@dataclass(frozen=True)
class Assessment:
    """What the labelled images say of the classifier of them; conformal prediction (Vovk et al. 2005) on held-out ones.

    Attributes:
        temperature: what the classifier's logits are to be divided by.
        label_scores: probability, at that temperature, that each held-out image's own class had, ascending, `[held]`.
        known_scores: `Knownness` of each held-out image, as that of an image to come would be, ascending, `[held]`.
        growth: how many times as frequent errors are among held-out images as among images to come.
        accuracy: what accuracy to expect; None where nothing could be held out, since no class has two images.
    """

    temperature: float
    label_scores: Float[Tensor, " held"]
    known_scores: Float[Tensor, " held"]
    growth: float
    accuracy: Accuracy | None

    def threshold(self, reject: float) -> float:
        """The `Knownness` below which an image is taken for one of none of the classes.

        Args:
            reject: share of images of the classes that may be taken for such, greater than 0 and less than 1.

        Raises:
            ConfigError: the images are too few for the share.
        """
        return float(self.known_scores[self._rank("reject", reject, 1.0)])

    def sets(self, probabilities: Float[Tensor, "m way"], alpha: float) -> Bool[Tensor, "m way"]:
        """Which classes an image may be of: its own is among them for a share 1 - alpha of images like the labelled.

        A set is empty where no class is likely enough.

        Args:
            probabilities: at the temperature.
            alpha: share of images whose class may be missing, greater than 0 and less than 1.

        Raises:
            ConfigError: the images are too few for the share.
        """
        return probabilities >= self.label_scores[self._rank("alpha", alpha, self.growth)].to(probabilities)

    def smallest(self, growth: float = 1.0) -> float:
        """The smallest share that so many images say something of; greater than 1 where it is none."""
        return 1 / (len(self.known_scores) + 1) / growth if len(self.known_scores) else math.inf

    def _rank(self, name: str, share: float, growth: float) -> int:
        """The index of the score that this share of images to come lies below."""
        if not 0 < share < 1:
            raise ConfigError(f"{name} is {share}; give a share of the images, greater than 0 and less than 1")
        held = len(self.known_scores)
        if not held:
            raise ConfigError(f"{name} is {share}, but no class has two images, to compare them: give more images")
        rank = math.floor(share * growth * (held + 1) + 1e-9)
        if rank == 0:
            smallest = math.ceil(1000 * self.smallest(growth)) / 1000
            raise ConfigError(
                f"{name} is {share}, but {held} labelled images say nothing of so small a share: give {smallest:g} or "
                f"more, or at least {math.ceil(1 / share / growth) - 1} images"
            )
        return min(rank, held) - 1

    def tensors(self) -> dict[str, Tensor]:
        """The scores, for a file; with `numbers` they are all."""
        return {"label_scores": self.label_scores, "known_scores": self.known_scores}

    def numbers(self) -> dict[str, Any]:
        """The numbers, as plain data."""
        found = None if self.accuracy is None else asdict(self.accuracy)
        return {"temperature": self.temperature, "growth": self.growth, "accuracy": found}

    @classmethod
    def of(cls, numbers: "AssessmentNumbers", tensors: Mapping[str, Tensor]) -> "Assessment":
        """The inverse of `numbers` and `tensors`."""
        scores = tensors["label_scores"], tensors["known_scores"]
        return cls(numbers.temperature, *scores, numbers.growth, numbers.accuracy)


@dataclass(frozen=True)
class AssessmentNumbers:
    """What `Assessment.numbers` gives, as `smat.schema.from_plain` reads it."""

    temperature: Positive
    growth: Positive
    accuracy: Accuracy | None = None


@torch.no_grad()
def assess(held: HeldOut) -> Assessment:
    """What held-out images say."""
    degree = temperature(held)
    own = held.own(tempered(held, degree))
    known = held.known - held.slope * held.seen.log()  # as it would be with all images of the class
    scores = own.float().cpu().sort().values, known.float().cpu().sort().values
    return Assessment(degree, *scores, growth(held) if len(own) else 1.0, accuracy(held, degree))
