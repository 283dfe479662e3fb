"""How far the gradients of different tasks point the same way, at a checkpoint and in the course of runs."""

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np

from smat.analysis.curves import RunCurves, Series
from smat.episodes import EpisodeSource
from smat.errors import ConfigError, DataError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning import TuningConfig
from smat.metatuning.alignment import PAIRS, GradientCosines, Pairs, Probe, gradient_cosines
from smat.precision import NetworkPrecision
from smat.schema import Range, checked_arguments
from smat.statistics import Interval

Recorded = dict[str, dict[Pairs, Series]]
"""Recorded alignment by group and pairs."""


@checked_arguments
def measure_alignment(
    pool: SparseInterpolatedExperts,
    source: EpisodeSource,
    config: TuningConfig | None = None,
    *,
    tasks: Annotated[int, Range(2, 1000)] = 4,
    precision: NetworkPrecision = "32-true",
    on_task: Callable[[int], None] = lambda _: None,
) -> GradientCosines:
    """The cosines between tasks' gradients at a checkpoint, without training: the pool stays as it is.

    Two pools see the same tasks where sources and seeds are the same, so that `difference` can compare them.

    Args:
        pool: with experts, on the device to compute on.
        source: whose domains, split, sampler and images the tasks have; the images are only cut.
        config: objective, head and seed: those of the run, or by default the usual ones.
        tasks: number of tasks per domain, 2 to 1000.
        precision: of the passes over networks.
        on_task: called with the number of tasks done after each.

    Raises:
        ConfigError: a pool without experts, or a number of tasks that is out of range.
        DataError: an image cannot be read.
    """
    if not pool.config.experts:
        raise ConfigError("a pool without experts has no gradients to align: give one with experts")
    config = config or TuningConfig()
    return gradient_cosines(pool, Probe(source, config.seed, tasks), config, precision, on_task=on_task)


def alignment(cosines: GradientCosines, group: str, pairs: Pairs = "all") -> Interval:
    """The mean cosine over pairs of tasks, with a 95 % interval by the jackknife over tasks.

    Pairs that share a task are not independent of each other. So a task is left out with all of its pairs, each in
    turn, and the spread of the means that are left tells the standard error. If anything, it is too large (Efron &
    Stein 1981). It covers the choice of tasks, with the domains as they are.

    Args:
        cosines: those of the tasks.
        group: `delta`, `gates` or `router`.
        pairs: which pairs of tasks.

    Returns:
        The mean is NaN where there are no such pairs, and the standard error where there are too few.
    """
    return _jackknife(np.where(cosines.chosen(pairs), cosines.groups[group], np.nan))


def difference(first: GradientCosines, second: GradientCosines, group: str, pairs: Pairs = "all") -> Interval:
    """The mean cosine of one pool minus that of another on the same tasks, with a 95 % interval as in `alignment`.

    Only pairs of tasks that have a cosine in both pools count.

    Raises:
        DataError: the tasks are not the same.
    """
    if first.tasks != second.tasks:
        raise DataError("the two pools were measured on different tasks; use the same domains, sampler and seed")
    both = first.groups[group] - second.groups[group]
    return _jackknife(np.where(first.chosen(pairs), both, np.nan))


def recorded_alignment(run: RunCurves) -> Recorded:
    """The alignment that a run recorded (`tuning.record_alignment`); empty where it did not."""
    series = run.family("alignment")
    groups = dict.fromkeys(name.partition("/")[0] for name in series)
    return {
        group: {pairs: series[f"{group}/{pairs}"] for pairs in PAIRS if f"{group}/{pairs}" in series}
        for group in groups
    }


def side_by_side(first: RunCurves, second: RunCurves) -> dict[str, dict[Pairs, tuple[Series, Series]]]:
    """The recorded alignment of two runs, such as of low and high sparsity, where both have it at the same tasks."""
    one, other = recorded_alignment(first), recorded_alignment(second)
    found: dict[str, dict[Pairs, tuple[Series, Series]]] = {}
    for group in [group for group in one if group in other]:
        for pairs in PAIRS:
            a, b = one[group].get(pairs), other[group].get(pairs)
            if a is None or b is None:
                continue
            common = np.intersect1d(a.tasks, b.tasks)
            if len(common):
                found.setdefault(group, {})[pairs] = Series(common, a.on(common)), Series(common, b.on(common))
    return found


def _jackknife(values: np.ndarray) -> Interval:
    """The mean of a symmetric matrix of pairs, NaN where there is none, and its standard error by tasks."""
    there = ~np.isnan(values)
    sums, counts = np.where(there, values, 0.0).sum(1), there.sum(1)
    total, pairs = sums.sum() / 2, counts.sum() / 2
    if not pairs:
        return Interval(math.nan, math.nan, math.nan)
    paired = counts > 0
    n, rest = int(paired.sum()), pairs - counts[paired]
    if not rest.all():  # a task that is in all pairs
        return Interval(float(total / pairs), math.nan, math.nan)
    without = (total - sums[paired]) / rest
    variance = (n - 1) / n * float(np.square(without - without.mean()).sum())
    return Interval(float(total / pairs), math.sqrt(variance), float(n - 1))
