"""How far the gradients of different tasks point the same way, at a checkpoint and in the course of runs."""

from collections.abc import Callable

from smat.analysis.curves import RunCurves, Series
from smat.episodes import EpisodeSource
from smat.experts import SparseInterpolatedExperts
from smat.metatuning import TuningConfig
from smat.metatuning.alignment import GradientCosines, Pairs
from smat.precision import NetworkPrecision
from smat.statistics import Interval


def measure_alignment(
    pool: SparseInterpolatedExperts,
    source: EpisodeSource,
    config: TuningConfig | None = None,
    *,
    tasks: int = 4,
    precision: NetworkPrecision = "32-true",
    on_task: Callable[[int], None] = lambda _: None,
) -> GradientCosines:
    """The cosines between tasks' gradients at a checkpoint, without training: the pool stays as it is.

    Two pools see the same tasks where sources and seeds are the same, so that they can be compared by `difference`.

    Args:
        pool: a pool with experts, on the device to compute on.
        source: whose domains, split, sampler and image format the tasks have; its transforms only cut.
        config: objective, head and seed: those of the run, or the defaults.
        tasks: number of tasks per domain, 2 or more.
        precision: of the passes over networks.
        on_task: called with the number of tasks done after each.

    Raises:
        ConfigError: a pool without experts, or fewer than two tasks.
    """
    raise NotImplementedError


def alignment(cosines: GradientCosines, group: str, pairs: Pairs = "all") -> Interval:
    """The mean cosine over pairs of tasks, with a 95 % interval by the jackknife over tasks.

    Pairs that share a task are not independent; leaving out a task with all its pairs takes that into account. The
    variance is, if anything, too large (Efron & Stein 1981).

    Args:
        cosines: of at least three tasks.
        group: `delta`, `gates` or `router`.
        pairs: which pairs of tasks.

    Returns:
        NaN as mean where there are no such pairs, and as standard error where there are too few.
    """
    raise NotImplementedError


def difference(first: GradientCosines, second: GradientCosines, group: str, pairs: Pairs = "all") -> Interval:
    """The mean cosine of one pool minus that of another on the same tasks, with a 95 % interval by the jackknife.

    Raises:
        DataError: if the tasks are not the same.
    """
    raise NotImplementedError


def recorded_alignment(run: RunCurves) -> dict[str, dict[Pairs, Series]]:
    """The alignment that a run recorded (`--tuning.record-alignment`), by group and pairs; empty where it did not."""
    raise NotImplementedError


def side_by_side(first: RunCurves, second: RunCurves) -> dict[str, dict[Pairs, tuple[Series, Series]]]:
    """The recorded alignment of two runs, such as of low and high sparsity, as far as both have it, at common tasks."""
    raise NotImplementedError
