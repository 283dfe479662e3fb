"""The course of runs: what their logs say, and how the gates move between the pools that they kept on the way."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smat.backbones import Backbone
from smat.errors import DataError
from smat.experts import SparseInterpolatedExperts
from smat.left_out import leave_out
from smat.metatuning.kept import kept_pools
from smat.metatuning.run_log import LOG, read_log
from smat.schema import Count, read_yaml
from smat.statistics import interval

_SETTINGS = "config.yaml"


@dataclass(frozen=True)
class Series:
    """A number in the course of a run.

    Attributes:
        tasks: training tasks done at each point, `[n]`, increasing.
        values: the number there, `[n]`.
    """

    tasks: np.ndarray
    values: np.ndarray

    def smoothed(self, window: int | float) -> "Series":
        """A centred moving average: at each point the mean of all points within `window / 2` tasks of it.

        At both ends the window is cut off where the series ends. Values that are not finite do not count.
        """
        half = window / 2
        first = np.searchsorted(self.tasks, self.tasks - half, side="left")
        last = np.searchsorted(self.tasks, self.tasks + half, side="right")
        finite = np.isfinite(self.values)
        sums = np.concatenate([[0.0], np.cumsum(np.where(finite, self.values, 0.0))])
        counts = np.concatenate([[0], np.cumsum(finite)])
        with np.errstate(invalid="ignore"):
            return Series(self.tasks, (sums[last] - sums[first]) / (counts[last] - counts[first]))

    def on(self, grid: np.ndarray) -> np.ndarray:
        """The values at other numbers of tasks, linear between points; NaN before the first and beyond the last one."""
        return np.interp(grid, self.tasks, self.values, left=np.nan, right=np.nan)


@dataclass(frozen=True)
class RunCurves:
    """What the log of a run says.

    Attributes:
        folder: folder of the run.
        series: every number of the log by its name there, as `accuracy`, `accuracy/frozen`, `loss/distillation`,
            `sparsity/0`, `gradient_norm/gates`, `routing_entropy`, `validation/birds`, `alignment/delta/within`. Logs
            of older versions lack some of them.
        planned: number of tasks of the whole run by its settings; None where they are missing.
        warnings: what the run warned of, each with the number of tasks done.
        left_out: number of lines that are not whole.
    """

    folder: Path
    series: dict[str, Series]
    planned: int | None
    warnings: tuple[tuple[int, str], ...] = ()
    left_out: int = 0

    @property
    def tasks(self) -> int:
        """Number of training tasks that the log reaches."""
        return max(int(series.tasks[-1]) for series in self.series.values())

    @property
    def best(self) -> tuple[int, float] | None:
        """Tasks and accuracy of the best validation, the first of equal ones; None without validations."""
        validation = self.series.get("validation")
        if validation is None:
            return None
        place = int(np.argmax(np.nan_to_num(validation.values, nan=-np.inf)))
        return int(validation.tasks[place]), float(validation.values[place])

    def family(self, name: str) -> dict[str, Series]:
        """The series whose names begin with `name/`, by what follows: of `sparsity` by expert, of `loss` by term."""
        start = f"{name}/"
        return {key.removeprefix(start): series for key, series in self.series.items() if key.startswith(start)}


@dataclass(frozen=True)
class Band:
    """A number in the course of several runs, such as of several seeds.

    Attributes:
        tasks: `[n]`, from the first task of any run to the last one.
        mean: mean over the runs that reach there, `[n]`.
        low: lower end of the 95 % interval of the mean, by Student's t over runs, `[n]`; NaN where one run is alone.
        high: upper end, likewise.
        runs: number of runs that reach there, `[n]`; where it changes, the mean may jump.
    """

    tasks: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: np.ndarray


@dataclass(frozen=True)
class GateCourse:
    """How the gates of a run's kept pools move; all shares are of an expert's parameters, 0..1, `[kept, experts]`.

    A gate crosses zero where it becomes closed (0) or open (above 0). Gates are those of use, without noise.

    Attributes:
        tasks: training tasks done at each kept pool, `[kept]`.
        closed: share of gates that are 0.
        fractional: share of gates strictly between 0 and 1.
        full: share of gates that are 1.
        became_closed: share of gates that are closed and were open in the kept pool before; 0 in the first one.
        became_open: share of gates that are open and were closed in the kept pool before; 0 in the first one.
        moved_since_start: share of gates that are closed and were open in the first kept pool, or the other way round.
        ever_crossed: share of gates that have crossed zero at least once between kept pools so far.
    """

    tasks: np.ndarray
    closed: np.ndarray
    fractional: np.ndarray
    full: np.ndarray
    became_closed: np.ndarray
    became_open: np.ndarray
    moved_since_start: np.ndarray
    ever_crossed: np.ndarray


@dataclass(frozen=True)
class _Tuning:
    tasks: Count


@dataclass(frozen=True)
class _Settings:
    """What the course of a run needs to know of its settings."""

    tuning: _Tuning


def read_curves(folder: str | Path) -> RunCurves:
    """What the log of a run says, as far as it goes; lines that are not whole are left out, with a word.

    Args:
        folder: folder of the run.

    Raises:
        DataError: it has no log, or one without a whole line, or its settings are damaged.
    """
    folder = Path(folder)
    path, settings = folder / LOG, folder / _SETTINGS
    try:
        rows, broken = read_log(path)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from error
    numbers = _numbers(rows)
    if not numbers:
        found = f"has no whole line among {len(broken)}" if broken else "is empty" if path.exists() else "is not there"
        raise DataError(f"'{path}' {found}: give the folder of a run that has begun to train (smat train --out)")
    leave_out("line", "it is not whole, as a kill leaves it", [f"{path}, line {number}" for number in broken])
    planned = None
    if settings.exists():
        advice = f"Remove the file if the number of tasks that were planned in {folder} does not matter"
        planned = read_yaml(settings, _Settings, DataError, advice, extra="ignore").tuning.tasks
    warnings = [(row["tasks"], row["warning"]) for row in rows if isinstance(row.get("warning"), str)]
    return RunCurves(folder, numbers, planned, tuple(warnings), len(broken))


def _numbers(rows: Sequence[dict[str, Any]]) -> dict[str, Series]:
    """The numbers of lines by name; of several with one number of tasks, the last one counts."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "tasks" and (type(value) is float or (type(value) is int and abs(value) < 2**63)):
                found.setdefault(name, {})[row["tasks"]] = float(value)
    return {
        name: Series(np.array(sorted(points)), np.array([points[tasks] for tasks in sorted(points)]))
        for name, points in found.items()
    }


def band(series: Sequence[Series], *, points: int = 200, smoothing: int | float = 0) -> Band:
    """The mean of several runs on a common grid, with its 95 % interval.

    The grid has the points of the runs where these are the same and few enough; otherwise `points` evenly spaced ones,
    between which each run is taken to be linear. Smooth runs that are logged more often than that.

    Args:
        series: the same number in each run.
        points: largest number of points of the grid, 2 or more.
        smoothing: window in tasks by which each run is smoothed first (`Series.smoothed`); 0: none.

    Raises:
        DataError: there are no series.
    """
    if not series:
        raise DataError("there are no runs to take a mean of; give at least one")
    if smoothing:
        series = [each.smoothed(smoothing) for each in series]
    longest = max(series, key=lambda each: len(each.tasks)).tasks
    grid = longest
    if len(longest) > points or not all(np.isin(each.tasks, longest).all() for each in series):
        ends = [each.tasks[[0, -1]] for each in series]
        grid = np.linspace(min(first for first, _ in ends), max(last for _, last in ends), points)
    columns = [column[~np.isnan(column)] for column in np.stack([each.on(grid) for each in series]).T]
    grid, columns = grid[[len(c) > 0 for c in columns]], [column for column in columns if len(column)]
    found = [interval(column) for column in columns]
    mean, half = np.array([i.mean for i in found]), np.array([i.half_width for i in found])
    return Band(grid, mean, mean - half, mean + half, np.array([len(column) for column in columns]))


def gate_course(
    folder: str | Path, allow_imports: Collection[str] = (), *, backbone: Backbone | None = None
) -> GateCourse:
    """How the gates move between the pools that a run kept (`tuning.keep_every`); one pool is in memory at a time.

    Args:
        folder: folder of the run.
        allow_imports: packages whose code may be imported where the pools were made with classes of one's own.
        backbone: needed where the pools were made around a module of yours; its parameters are overwritten.

    Raises:
        DataError: fewer than two pools were kept, or they have no gates.
        CheckpointError: a pool is damaged.
    """
    kept = kept_pools(folder)
    if len(kept) < 2:
        raise DataError(
            f"'{folder}' has kept {len(kept)} of its pools on the way, and two or more are needed to see gates move: "
            "train with --tuning.keep-every"
        )
    rows: list[dict[str, np.ndarray]] = []
    start = before = crossed = torch.empty(0)
    for path in kept.values():
        z = SparseInterpolatedExperts.from_pretrained(path, backbone=backbone, allow_imports=allow_imports).gates()
        if z is None:
            raise DataError(f"the pool in '{path}' has no gates that could move: it has no experts")
        closed = z == 0
        if not rows:
            start = before = closed
            crossed = torch.zeros_like(closed)
        crossed |= closed ^ before
        full = z == 1
        states = {"closed": closed, "fractional": ~(closed | full), "full": full}
        moves = {"became_closed": closed & ~before, "became_open": before & ~closed}
        rows.append(_shares(states | moves | {"moved_since_start": closed ^ start, "ever_crossed": crossed}))
        before = closed
    return GateCourse(np.array(list(kept)), **{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def _shares(masks: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The share of each row of masks `[experts, params]` that is true, in float64."""
    return {name: (mask.sum(1).double() / mask.shape[1]).cpu().numpy() for name, mask in masks.items()}
