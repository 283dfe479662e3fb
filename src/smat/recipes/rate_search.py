"""The search for a learning rate as a part of `smat train`: what it shows, and its record in the folder of the run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from smat.backbones import ImageFormat
from smat.domains import Domain
from smat.episodes import EpisodeSource
from smat.errors import CheckpointError
from smat.experts import SparseInterpolatedExperts
from smat.files import write_whole
from smat.metatuning.rate_search import USUAL_TRIALS, Judging, RateSearch, Trial, choose
from smat.metatuning.run_config import TrainConfig
from smat.metatuning.sources import episode_sources
from smat.schema import NotNegative, Number, read_yaml

RECORD = "find_lr.yaml"
"""The file in a run's folder that says which rates were tried, and what came of them."""


def find_rate(
    pool: SparseInterpolatedExperts,
    train: EpisodeSource,
    domains: Sequence[Domain],
    image_format: ImageFormat,
    config: TrainConfig,
    folder: Path,
    fabric: Fabric,
) -> float:
    """The learning rate of the update that short trials find; what an interrupted search found is used.

    Args:
        pool: at its start, as which it is given back.
        train: the training episodes.
        domains: domains of the run.
        image_format: images that the network takes.
        config: settings of the run.
        folder: folder of the run, where the record is kept.
        fabric: devices; launched.

    Raises:
        ConfigError: every rate breaks the network.
        CheckpointError: the record cannot be read.
        KeyboardInterrupt: if it was interrupted.
    """
    validated = replace(config, tuning=replace(config.tuning, validate_every=config.tuning.validate_every or 1))
    _, validation = episode_sources(validated, domains, image_format)  # also of a run without validations
    judging = Judging.of(train, validation, config.tuning)
    view = _View(folder, judging, active=fabric.is_global_zero)
    search = RateSearch(
        pool,
        train,
        judging,
        config.tuning,
        fabric,
        workers=config.workers,
        on_estimate=view.estimate,
        on_task=view.task,
        on_trial=view.trial,
    )
    try:
        with view.start(search.tasks):
            trials = search.run(fabric.broadcast(read_trials(folder)))
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(
            f"the learning rates that were tried until then are kept in {folder}: go on with resume (--resume)"
        ) from interruption
    chosen = choose(trials)
    view.end(trials, chosen)
    return chosen.rate


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a record; none where there is no record.

    Raises:
        CheckpointError: the record cannot be read.
    """
    path, advice = folder / RECORD, "To have the rates tried again, remove it"
    if not path.exists():
        return []
    trials = read_yaml(path, _Record, CheckpointError, advice).trials
    if len({len(trial.accuracies) for trial in trials if not trial.broken}) > 1:
        raise CheckpointError(f"'{path}' cannot be used: its trials are of different episodes. {advice}")
    return trials


@dataclass(frozen=True)
class _Record:
    """The keys of the record."""

    chosen: NotNegative | None
    tasks: Number
    judged_on: str
    trials: list[Trial]


class _View:
    """What a search shows and writes, in the first process only."""

    def __init__(self, folder: Path, judging: Judging, active: bool) -> None:
        self.path, self.judging, self.active = folder / RECORD, judging, active
        self.trials = read_trials(folder)
        self.console = Console(quiet=not active, highlight=False, soft_wrap=True)
        columns = TextColumn("{task.description}"), BarColumn(bar_width=8), MofNCompleteColumn()
        self.bar = Progress(*columns, console=self.console, disable=not active, refresh_per_second=2, transient=True)

    def start(self, tasks: int) -> Progress:
        """Say what is about to be done; the progress bar, to be used as a context."""
        self.tasks = tasks
        self.console.print(f"finding the learning rate: trials of {tasks} tasks, judged on {self.judging}")
        self.row = self.bar.add_task("frozen network", total=tasks)
        return self.bar

    def estimate(self, seconds: float) -> None:
        """Say how long the search will take."""
        time = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
        self.console.print(f"{USUAL_TRIALS} rates, as many as are usually tried, will take about {time}")

    def task(self, rate: float, tasks: int) -> None:
        """Follow a trial."""
        self.bar.update(self.row, description=f"learning rate {rate:g}", completed=tasks)

    def trial(self, trial: Trial) -> None:
        """Keep a trial, so that an interrupted search does not make it again."""
        self.trials.append(trial)
        self._write()

    def end(self, trials: Sequence[Trial], chosen: Trial) -> None:
        """Show the table, and keep the choice."""
        frozen, *tried = sorted(trials, key=lambda trial: trial.rate)
        table = Table("learning rate", "accuracy %", "over frozen", "", title="accuracies with standard errors")
        table.add_row("frozen", _percent(frozen.accuracy.mean, frozen.accuracy.standard_error), "", "")
        for trial in tried:
            if trial.broken:
                table.add_row(f"{trial.rate:g}", "", "", trial.broken)
                continue
            over = trial.difference(frozen)
            accuracy = _percent(trial.accuracy.mean, trial.accuracy.standard_error)
            difference = _percent(over.mean, over.standard_error, "+")
            table.add_row(f"{trial.rate:g}", accuracy, difference, "chosen" if trial is chosen else "")
        self.console.print(table)
        if chosen.difference(frozen).mean <= 0:
            self.console.print(
                "Warning: none of the rates does better than the frozen network in so few tasks", style="yellow"
            )
        self._write(chosen.rate)

    def _write(self, chosen: float | None = None) -> None:
        if self.active:
            trials = [asdict(trial) for trial in self.trials]
            record: dict[str, Any] = {
                "chosen": chosen,
                "tasks": self.tasks,
                "judged_on": str(self.judging),
                "trials": trials,
            }
            write_whole(self.path, yaml.safe_dump(record, sort_keys=False, default_flow_style=None, width=120))


def _percent(mean: float, error: float, sign: str = "") -> str:
    return f"{100 * mean:{sign}.1f} ± {100 * error:.1f}"
