"""The numbers of fine-tuning."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from smat.errors import ConfigError
from smat.schema import Count, NotNegative, Number, Range, Share, checked

LearningRate = float | Literal["support", "average"]
"""A number; `"support"`: chosen by cross-validation inside the support set; or `"average"`: several, and the mean of
their networks' probabilities."""

Rate = Annotated[float, Range(0, 1, above=True, below=True)]
"""A share of images that may be answered wrongly."""

AVERAGED = (1e-5, 1e-4, 1e-3)
"""Learning rates that are averaged over where none are given, multiplied by ten for LoRA and merge weights."""


@dataclass(frozen=True)
@checked()
class FineTuneConfig:
    """Fine-tuning as Hu et al. (2022) do it, and LoRA (Hu et al. 2021) with the paper's settings.

    Attributes:
        steps: number of steps of AdamW; 0 leaves the network as it is.
        augment: probability that an image is augmented in a step, 0..1.
        flip: whether augmentation may mirror images: not for characters.
        batch_size: number of images that pass through the network at a time; None for all. The gradient is the same.
        rank: r of LoRA.
        alpha: numerator of LoRA's scale, alpha / rank.
        dropout: probability that LoRA drops an input, 0..1.
        grid: learning rates to choose from, or to average over, multiplied by ten for LoRA and merge weights.
        folds: largest number of parts of the support set that are held out in turn to choose a learning rate.
        seeds: number of networks that are averaged per learning rate, each of a seed of its own.
    """

    steps: Number = 50
    augment: Share = 0.9
    flip: bool = True
    batch_size: Count | None = None
    rank: Count = 8
    alpha: Count = 32
    dropout: Annotated[float, Range(0, 1, below=True)] = 0.1
    grid: Annotated[tuple[NotNegative, ...], Field(min_length=1)] = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    folds: Annotated[int, Range(2, 2**31 - 1)] = 5
    seeds: Count = 2

    @property
    def one_rate(self) -> bool:
        """Whether the grid leaves nothing to choose."""
        return len(set(self.grid)) == 1


def default_grid(rule: object) -> tuple[float, ...]:
    """The learning rates of a rule where none are given: to average over (`average`), or to choose from."""
    return AVERAGED if rule == "average" else FineTuneConfig.grid


def check_learning_rate(rate: object) -> None:
    """Raise a `ConfigError` for anything but a finite number, 0 or more."""
    if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
        raise ConfigError(f"learning rate {rate!r}; give 0 or a positive number, such as 1e-4")
