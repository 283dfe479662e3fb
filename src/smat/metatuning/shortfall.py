"""A sparsity that a training did not reach, and what would reach it, estimated from the training itself.

While expert m is denser than it may be, its multiplier rises by g·(τ - s_m) per step (see `constraint`), and its gate
logits fall in proportion to λ_m. Logits are about normally distributed, so that the sparsity is s_m = Φ(u_m), Φ the
normal distribution, with u_m rising by a·λ_m per step. The run says what g and a were; the same laws then go on beyond
its end. A rate of the multipliers that is k times as high makes all of it √k times as fast.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from smat.metatuning.settings import TuningConfig

_TOLERANCE = 0.02  # below the target by which it still counts as reached: the multipliers let it swing
_SEEN = 0.005  # sparsity from which on its course says something
_MARGIN = 1.2  # by how much more than the estimate is advised
_FARTHEST = 100  # times the run's length beyond which nothing is estimated
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Shortfall:
    """A sparsity that was not reached.

    Attributes:
        sparsity: that of the expert that lacks most, or of the pool.
        target: the one that was asked for, τ.
        tasks: number of tasks that would reach it; None where the course of the run does not say.
        faster: factor of the multipliers' learning rate that would reach it in the run's number of tasks; likewise.
    """

    sparsity: float
    target: float
    tasks: int | None = None
    faster: float | None = None

    def text(self, config: TuningConfig) -> str:
        """What to tell the user of a run with these settings."""
        rate = config.optimizers.multipliers.lr or 0.0
        if self.tasks is None or self.faster is None:
            advice = f"Give it more tasks (tuning.tasks), or a tuning.optimizers.multipliers.lr above {rate:g}"
        else:
            advice = (
                f"By the course of this run, about {self.tasks} tasks (tuning.tasks) would reach it, or as many as now "
                f"with tuning.optimizers.multipliers.lr {rate * self.faster:.2g} in place of {rate:g}"
            )
        who = "of the pool" if config.sparsity_budget == "pool" else "of the densest expert"
        return (
            f"The gates are less sparse than was asked for: {100 * self.sparsity:.1f} % of those {who} are zero, and "
            f"tuning.target_sparsity is {self.target:g}. {advice}"
        )


def shortfall(
    tasks: Sequence[int],
    sparsity: Sequence[Sequence[float]],
    multipliers: Sequence[Sequence[float]],
    targets: Sequence[float],
) -> Shortfall | None:
    """What a run lacks of the sparsity that was asked for; None if it was reached.

    Args:
        tasks: number of tasks after each optimizer step.
        sparsity: of each expert, by step, 0..1; or of the pool, whose experts share a budget.
        multipliers: λ of each expert, or of the pool, by step.
        targets: τ of each expert, or of the pool.
    """
    courses = list(zip(targets, zip(*sparsity, strict=True), zip(*multipliers, strict=True), strict=True))
    target, last = max(((target, course[-1]) for target, course, _ in courses), key=lambda pair: pair[0] - pair[1])
    if last >= target - _TOLERANCE or all(max(course) >= target for target, course, _ in courses):
        return None
    lengths = [_steps_to(*course) for course in courses]
    if any(length is None for length in lengths):
        return Shortfall(last, target)
    stretch = _MARGIN * max(length for length in lengths if length is not None) / len(tasks)
    return Shortfall(last, target, _rounded_up(tasks[-1] * stretch, tasks[0]), stretch**2)


def _steps_to(target: float, sparsity: Sequence[float], multipliers: Sequence[float]) -> float | None:
    """Number of steps from the beginning at which an expert reaches the target; None if they cannot be told."""
    steps = len(sparsity)
    if max(sparsity) >= target:
        return float(steps)
    first = next((n for n, s in enumerate(sparsity) if s >= _SEEN), steps)
    push, lack = sum(multipliers[first + 1 :]), sum(target - s for s in sparsity)
    if push <= 0:
        return None
    u = _NORMAL.inv_cdf(sparsity[-1])
    closing, growth = (u - _NORMAL.inv_cdf(sparsity[first])) / push, multipliers[-1] / lack
    if closing <= 0 or growth <= 0:
        return None
    multiplier, goal = multipliers[-1], _NORMAL.inv_cdf(target)
    length, stride = float(steps), steps / 1000
    while u < goal:
        multiplier += stride * growth * (target - _NORMAL.cdf(u))
        u += stride * closing * multiplier
        length += stride
        if length > _FARTHEST * steps:
            return None
    return length


def _rounded_up(tasks: float, step: int) -> int:
    """To two digits, and to whole optimizer steps."""
    unit = 10 ** max(0, math.floor(math.log10(tasks)) - 1)
    return math.ceil(math.ceil(tasks / unit) * unit / step) * step
