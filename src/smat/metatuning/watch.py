"""Watching a training for trouble: a network that does worse than the frozen one, features that become constant."""

import math
from collections import deque
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any

from smat.errors import CheckpointError
from smat.metatuning.settings import TuningConfig
from smat.schema import Share, from_plain
from smat.statistics import interval

BELOW_TASKS = 20
"""Tasks over which the tuned network is compared with the frozen one."""

CONSTANT_TASKS = 10
"""Tasks in a row with constant features after which a training ends."""

CONSTANT = 0.1
"""Spread of the query features, over that of the frozen network's, below which they count as constant."""

_CERTAIN, _NOTABLE = 3.0, 0.01  # standard errors, and a difference in accuracy, by which it must be below
_EARLY = 20  # tasks after which the first state is kept, where checkpoints come later
_STEPS = 5  # fewer differences say little of their spread


@dataclass(frozen=True)
class _Seen:
    accuracies: list[tuple[Share, Share]]
    spreads: list[float]
    below: bool


class Watch:
    """The last steps of a run, and what they say.

    Args:
        meta_batch: number of tasks per step.

    Attributes:
        below: whether the tuned network is below the frozen one: since its mean accuracy over the last 20 tasks was 3
            standard errors of the paired differences and 1 % lower, until it is no longer lower at all.
    """

    def __init__(self, meta_batch: int) -> None:
        self._accuracies: deque[list[float]] = deque(maxlen=max(_STEPS, math.ceil(BELOW_TASKS / meta_batch)))
        self._spreads: deque[float] = deque(maxlen=max(_STEPS, math.ceil(CONSTANT_TASKS / meta_batch)))
        self.below = False

    def add(self, accuracy: float, frozen: float, spread: float) -> bool:
        """Note a step; whether the tuned network has just fallen below the frozen one.

        Args:
            accuracy: of the tuned network on the step's query images, 0..1.
            frozen: of the frozen network on the same images.
            spread: spread of the tuned network's query features, over that of the frozen network's.
        """
        self._accuracies.append([accuracy, frozen])
        self._spreads.append(spread)
        was = self.below
        if len(self._accuracies) == self._accuracies.maxlen:
            difference = interval([tuned - frozen for tuned, frozen in self._accuracies])
            threshold = 0.0 if was else -max(_NOTABLE, _CERTAIN * difference.standard_error)
            self.below = difference.mean < threshold
        return self.below and not was

    def warning(self, tasks: int) -> str:
        """What there is to say when the tuned network has fallen below the frozen one."""
        tuned, frozen = (100 * sum(each) / len(each) for each in zip(*self._accuracies, strict=True))
        return (
            f"The tuned network has become worse than the frozen one: {tuned:.1f} % against {frozen:.1f} % right "
            f"in the last {BELOW_TASKS} tasks, at task {tasks}"
        )

    def collapse(self, tasks: int) -> str:
        """What there is to say when the features have become constant."""
        return (
            f"the query features of the last {CONSTANT_TASKS} tasks are constant, at task {tasks}: the training has "
            f"broken the network (their relative spread is {self._spreads[-1]:.2g} of the frozen network's)"
        )

    @property
    def doubtful(self) -> bool:
        """Whether a state of now may be worse than an earlier one."""
        return self.below or (bool(self._spreads) and self._spreads[-1] < CONSTANT)

    @property
    def collapsed(self) -> bool:
        """Whether the features of the last 10 tasks were constant."""
        return len(self._spreads) == self._spreads.maxlen and max(self._spreads) < CONSTANT

    def state_dict(self) -> dict[str, Any]:
        """What the rest of a run depends on."""
        return {"accuracies": list(self._accuracies), "spreads": list(self._spreads), "below": self.below}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; raises a `CheckpointError` for one that is damaged."""
        said = from_plain(state, _Seen, "watch", CheckpointError)
        self._accuracies.extend(map(list, said.accuracies))
        self._spreads.extend(said.spreads)
        self.below = said.below


def advice(config: TuningConfig, tasks: int) -> str:
    """What to do about a training that makes the network worse."""
    optimizers = config.optimizers
    lower = f"Lower tuning.optimizers.delta.lr ({optimizers.delta.lr:g})"
    if tasks >= optimizers.warmup * config.tasks:  # while the rate still rises, a longer warm-up only puts it off
        lower += f", lengthen tuning.optimizers.warmup ({optimizers.warmup:g})"
    return f"{lower}, or have the rate found (--find-lr, in Python find_lr=True)"


def early(tasks: int, config: TuningConfig) -> bool:
    """Whether a state is due before the first checkpoint: after 20, 40, 80, ... tasks.

    The first tasks break a network most often, and so something from before that is kept.
    """
    marks = takewhile(lambda mark: mark < config.checkpoint_every, (_EARLY << n for n in count()))
    return any(tasks - config.meta_batch < mark <= tasks for mark in marks)
