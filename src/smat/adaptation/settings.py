"""How a task's network is fine-tuned on its support set."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from smat.errors import ConfigError

Adapt = Literal["none", "full", "lora"]
LearningRate = float | Literal["support"]
"""A number, or `"support"`: chosen by cross-validation inside the support set."""


@dataclass(frozen=True)
class FineTuneConfig:
    """Fine-tuning as Hu et al. (2022) do it, and LoRA (Hu et al. 2021) with the paper's settings.

    Attributes:
        steps: of AdamW; 0 leaves the network as it is.
        augment: probability that an image is varied in a step, 0..1.
        flip: whether varying may mirror it: not for characters.
        batch_size: images that pass through the network at a time; None for all. The gradient is the same.
        rank: LoRA's r.
        alpha: LoRA's scale is alpha / rank.
        dropout: of LoRA's input, 0..1.
        grid: learning rates to choose from, for LoRA ten times these.
        folds: at most so many parts of the support set are held out in turn to choose one.
    """

    steps: int = 50
    augment: float = 0.9
    flip: bool = True
    batch_size: int | None = None
    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    grid: tuple[float, ...] = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    folds: int = 5

    def __post_init__(self) -> None:
        for name, fits, needed in (
            ("steps", self.steps >= 0, "0 or more"),
            ("augment", 0 <= self.augment <= 1, "a probability, 0..1"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "1 or more, or None for all at a time"),
            ("rank", self.rank >= 1, "1 or more"),
            ("alpha", self.alpha > 0, "a number above 0"),
            ("dropout", 0 <= self.dropout < 1, "a probability below 1"),
            ("grid", len(self.grid) > 0, "one learning rate or more"),
            ("folds", self.folds >= 2, "2 or more"),
        ):
            if not fits:
                raise ConfigError(f"fine-tuning's {name} is {getattr(self, name)}; give {needed}")
        for rate in self.grid:
            check_learning_rate(rate)

    @property
    def one_rate(self) -> bool:
        """Whether the grid leaves nothing to choose."""
        return len(set(self.grid)) == 1

    def learning_rates(self, kind: Adapt) -> list[float]:
        """The learning rates to choose from, smallest first."""
        return sorted({10 * rate if kind == "lora" else rate for rate in self.grid})


def check_kind(kind: str) -> None:
    """Raises ConfigError for a kind of adaptation that is none of `Adapt`."""
    if kind not in get_args(Adapt):
        raise ConfigError(f"adapt is {kind!r}; choose one of {', '.join(get_args(Adapt))}")


def check_learning_rate(rate: object) -> None:
    """Raises ConfigError for anything but a finite number, 0 or more."""
    if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
        raise ConfigError(f"learning rate {rate!r}; give 0 or a positive number, such as 1e-4")
