"""The course of runs: what their logs say, and how the gates move between the pools that were kept on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Series:
    """A number in the course of a run.

    Attributes:
        tasks: training tasks done at each point, `[n]`, increasing.
        values: the number there, `[n]`.
    """

    tasks: np.ndarray
    values: np.ndarray

    def smoothed(self, tasks: float) -> "Series":
        """A centred moving average over a window of so many tasks, narrower at both ends."""
        raise NotImplementedError

    def on(self, grid: np.ndarray) -> np.ndarray:
        """The values at other numbers of tasks, linear between points; NaN beyond the first and the last one."""
        raise NotImplementedError


@dataclass(frozen=True)
class RunCurves:
    """What the log of a run says.

    Attributes:
        folder: folder of the run.
        series: every number of the log by its name there, as `accuracy`, `accuracy/frozen`, `loss/distillation`,
            `sparsity/0`, `gradient_norm/gates`, `routing_entropy`, `validation/birds`, `alignment/delta/within`.
        planned: number of tasks of the whole run by its settings; None where they are missing.
        warnings: what the run warned of, each with the number of tasks done.
        left_out: number of lines that were not whole.
    """

    folder: Path
    series: dict[str, Series]
    planned: int | None
    warnings: tuple[tuple[int, str], ...]
    left_out: int = 0

    @property
    def tasks(self) -> int:
        """Number of tasks that the log reaches."""
        raise NotImplementedError

    @property
    def best(self) -> tuple[int, float] | None:
        """Tasks and accuracy of the best validation, the first of equal ones; None without validations."""
        raise NotImplementedError

    def family(self, name: str) -> dict[str, Series]:
        """The series whose names begin with `name/`, by what follows: of `sparsity` by expert, of `loss` by term."""
        raise NotImplementedError


@dataclass(frozen=True)
class Band:
    """A number in the course of several runs, such as of several seeds.

    Attributes:
        tasks: `[n]`, from where all runs have begun to where the first one ends.
        mean: mean over the runs, `[n]`.
        low: lower end of the 95 % interval of the mean by Student's t, `[n]`; NaN of a single run.
        high: upper end, `[n]`.
        runs: number of runs.
    """

    tasks: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int


@dataclass(frozen=True)
class GateCourse:
    """How the gates of a run's kept pools move; shares are of each expert's parameters.

    A gate crosses zero where it becomes closed (0) or open (above 0).

    Attributes:
        tasks: training tasks done at each kept pool, `[kept]`.
        closed: share of gates that are 0, `[kept, experts]`.
        fractional: share of gates strictly between 0 and 1, `[kept, experts]`.
        full: share of gates that are 1, `[kept, experts]`.
        became_closed: share of gates that became closed since the kept pool before, `[kept, experts]`; 0 in the first.
        became_open: share of gates that became open since then, likewise.
        moved_since_start: share of gates that are closed now and were not in the first kept pool, or the other way
            round, `[kept, experts]`.
        ever_crossed: share of gates that have crossed zero at least once between kept pools so far, `[kept, experts]`.
    """

    tasks: np.ndarray
    closed: np.ndarray
    fractional: np.ndarray
    full: np.ndarray
    became_closed: np.ndarray
    became_open: np.ndarray
    moved_since_start: np.ndarray
    ever_crossed: np.ndarray


def read_curves(folder: str | Path) -> RunCurves:
    """What the log of a run says, as far as it goes.

    Args:
        folder: folder of the run.

    Raises:
        DataError: it has no log, or one without a whole line.
    """
    raise NotImplementedError


def band(series: Sequence[Series], points: int = 200, smoothing: float = 0) -> Band:
    """The mean of several runs on a common grid, with its 95 % interval.

    Args:
        series: the same number in each run.
        points: largest number of points of the grid.
        smoothing: tasks of the window that each run is smoothed over first; 0: none.

    Raises:
        DataError: no series, or runs that have no tasks in common.
    """
    raise NotImplementedError


def kept_pools(folder: str | Path) -> dict[int, Path]:
    """The pools that a run kept on the way (`--tuning.keep-every`), by number of tasks; none where it kept none."""
    raise NotImplementedError


def gate_course(folder: str | Path, allow_imports: Sequence[str] = ()) -> GateCourse:
    """How the gates move between the pools that a run kept.

    Args:
        folder: folder of the run.
        allow_imports: packages whose code may be imported where the pools were made with classes of one's own.

    Raises:
        DataError: fewer than two pools were kept, or they have no gates.
        CheckpointError: a pool is damaged.
    """
    raise NotImplementedError
