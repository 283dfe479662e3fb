"""What a training run shows and keeps: progress bar, JSON lines, TensorBoard."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from smat.files import write_whole, writing
from smat.metatuning import Callback, StepReport, TuningConfig
from smat.metatuning.constraint import targets
from smat.metatuning.run_log import LOG, read_log
from smat.metatuning.shortfall import shortfall

_log = logging.getLogger(__name__)

_SMOOTHING = 0.98  # share of the previous value in each number of the progress bar


class TrainingLog:
    """Follows a run, which calls `step` and `validation`; the rest is for the recipe.

    Args:
        folder: folder of `log.jsonl` and `tensorboard/`.
        tasks: number of tasks of the whole run.
        active: whether anything is shown and written: in the first process only.
        callbacks: what else follows the run.
    """

    def __init__(self, folder: Path, tasks: int, *, active: bool = True, callbacks: Sequence[Callback] = ()) -> None:
        self.folder, self.tasks, self.active = folder, tasks, active
        self._callbacks, self._started = callbacks, list[Callback]()
        self.path = folder / LOG
        self._smooth: dict[str, float] = {}
        self._bar = Progress(
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(compact=True),
            console=Console(),
            disable=not active,
            refresh_per_second=2,
        )

    def __enter__(self) -> "TrainingLog":
        return self

    def start(self, done: int, settings: Mapping[str, Any] | None = None) -> None:
        """Begin after so many tasks; lines that a stopped run wrote beyond them are dropped, to be written again.

        Args:
            done: number of tasks.
            settings: of the run, as plain data, for callbacks.
        """
        self._begun, self._first, self._tasks = time.monotonic(), done, done
        self._row = self._bar.add_task("", total=self.tasks, completed=done, status="")
        if not self.active:
            return
        kept = [row for row in self._rows() if row["tasks"] <= done]
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._lines = self.path.open("a")
        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=done + 1 if done else None)
        for callback in self._callbacks:
            callback.on_start(self.folder, settings or {}, done)
            self._started.append(callback)
        self._bar.start()

    def step(self, report: StepReport) -> None:
        """Log an optimizer step."""
        rate = (report.tasks - self._first) / max(1e-9, time.monotonic() - self._begun)
        for key in ("loss", "accuracy", "accuracy/frozen"):
            value = report.values[key]
            before = self._smooth.get(key, value)
            self._smooth[key] = before * _SMOOTHING + value * (1 - _SMOOTHING)
        sparsity = " ".join(f"{100 * s:.0f}" for s in report.sparsity)
        status = (
            f"{100 * self._smooth['accuracy']:.1f} %, frozen {100 * self._smooth['accuracy/frozen']:.1f} % "
            f"loss {self._smooth['loss']:.2f} "
            f"sparse {sparsity} % {rate:.1f} tasks/s"
        )
        self._bar.update(self._row, completed=report.tasks, status=status)
        self._tasks = report.tasks
        self._write(report.tasks, report.values)

    def validation(self, tasks: int, accuracies: dict[str, float]) -> None:
        """Log a validation: accuracies in 0..1 by domain."""
        mean = sum(accuracies.values()) / len(accuracies)
        each = ", ".join(f"{name} {100 * value:.1f}" for name, value in accuracies.items())
        self._bar.console.print(f"{tasks:>7} tasks: validation {100 * mean:.1f} %  ({each})")
        self._write(tasks, {"validation": mean} | {f"validation/{k}": v for k, v in accuracies.items()})

    def alignment(self, tasks: int, values: dict[str, float]) -> None:
        """Log a record of alignment: mean cosines between tasks' gradients."""
        self._write(tasks, values)

    def warning(self, text: str) -> None:
        """Show a warning above the progress bar, and keep it in the log."""
        self._bar.console.print(f"Warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        self._write_line({"tasks": self._tasks, "warning": text})

    def end(self, config: TuningConfig) -> None:
        """Say what a finished run lacks of its sparsity, by all of its log."""
        if not self.active or config.target_sparsity is None:
            return
        rows = self._rows()
        steps = [row for row in rows if "loss" in row]
        if not steps:
            return
        sparsity, multipliers = (
            [[value for key, value in row.items() if key.startswith(what)] for row in steps]
            for what in ("sparsity/", "multiplier/")
        )
        wanted = targets(config.target_sparsity, config.sparsity_budget, len(sparsity[0]), len(multipliers[0]))
        if config.sparsity_budget == "pool":
            sparsity = [[sum(values) / len(values)] for values in sparsity]
        lack = shortfall([row["tasks"] for row in steps], sparsity, multipliers, wanted)
        if lack and rows[-1].get("warning") != lack.text(config):  # a finished run that is resumed has said it
            self.warning(lack.text(config))

    def _write(self, tasks: int, values: dict[str, float]) -> None:
        self._write_line({"tasks": tasks, **values})
        with writing(self.folder / "tensorboard"):
            for key, value in values.items():
                self._board.add_scalar(key, value, tasks)
        for callback in self._callbacks:
            callback.on_metrics(tasks, values)

    def _write_line(self, row: dict[str, Any]) -> None:
        with writing(self.path):
            self._lines.write(json.dumps(row) + "\n")
            self._lines.flush()

    def _rows(self) -> list[dict[str, Any]]:
        """The lines of the log; what a kill or a loss of power left of a line is dropped, with a word."""
        rows, broken = read_log(self.path)
        for number in broken:
            _log.warning("line %d of %s is not whole: it is dropped", number, self.path)
        return rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self.active and hasattr(self, "_lines"):
            with suppress(OSError) if error else writing(self.path):  # the first error says more
                try:
                    self._lines.close()
                finally:
                    self._board.close()
        for callback in self._started:
            callback.on_end(finished=error is None)
