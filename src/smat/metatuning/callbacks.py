"""What follows a training from outside: an extension point, and the loggers of labs."""

import csv
import importlib.util
import io
import json
import os
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import Logger

from smat.errors import CheckpointError, ConfigError
from smat.files import write_whole
from smat.metatuning.run_log import LOG, read_log
from smat.plugins import Plugin
from smat.schema import read_json

LoggerName = Literal["csv", "wandb", "mlflow"]

_RUNS = "loggers.json"  # of the folder: by which name each service knows the run
_ANEW = "Remove it, and the run becomes a new one there"


class Callback(Plugin, ABC):
    """Follows a training, in its first process; nothing that it does may change a number of the run.

    The constructor takes settings only and keeps each as an attribute of its name. Whatever a method raises ends the
    run, which can be resumed.
    """

    def on_start(self, folder: Path, settings: Mapping[str, Any], tasks: int) -> None:
        """Called before the first step.

        Args:
            folder: folder of the run.
            settings: of the run, as plain data.
            tasks: number of training tasks that are done: above 0 where the run goes on.
        """

    def on_metrics(self, tasks: int, values: Mapping[str, float]) -> None:
        """Called after each optimizer step, validation and record of alignment, with what `log.jsonl` then gets.

        Args:
            tasks: number of training tasks so far.
            values: numbers by name, such as `loss`, `accuracy` or `validation/DOMAIN`.
        """

    def on_end(self, finished: bool) -> None:
        """Called at the end, also of a run that is stopped or fails: `finished` says whether it came to its end."""


class CsvLog(Callback):
    """Writes `log.csv` at the end of a run, or where it stops: the lines of `log.jsonl`, a column for each name."""

    def on_start(self, folder: Path, settings: Mapping[str, Any], tasks: int) -> None:
        """Remember the folder."""
        self._folder = folder

    def on_end(self, finished: bool) -> None:
        """Write the file."""
        rows, _ = read_log(self._folder / LOG)
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, names)
        table.writeheader()
        table.writerows(rows)
        write_whole(self._folder / "log.csv", text.getvalue())


class ServiceLog(Callback):
    """Sends what is logged to a service, through Lightning's logger of it. A run that is resumed is one run there.

    Args:
        service: `wandb` (Weights & Biases) or `mlflow`.
    """

    def __init__(self, service: Literal["wandb", "mlflow"]) -> None:
        self.service = service
        if importlib.util.find_spec(service) is None:
            raise ConfigError(
                f"loggers has {service}, which is not installed: pip install 'smat-fewshot[{service}]', or leave it out"
            )

    def on_start(self, folder: Path, settings: Mapping[str, Any], tasks: int) -> None:
        """Open the run, or the one that the folder's run began as."""
        known = read_json(folder / _RUNS, dict, CheckpointError, _ANEW) if (folder / _RUNS).exists() else {}
        self._logger = _SERVICES[self.service](folder, known.get(self.service))
        self._logger.log_hyperparams(dict(settings))
        write_whole(folder / _RUNS, json.dumps(known | {self.service: _run_of(self._logger)}) + "\n")

    def on_metrics(self, tasks: int, values: Mapping[str, float]) -> None:
        """Send the numbers, at the number of tasks as the step."""
        self._logger.log_metrics(dict(values), step=tasks)

    def on_end(self, finished: bool) -> None:
        """Close the run."""
        self._logger.finalize("success" if finished else "aborted")


def _wandb(folder: Path, run: str | None) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    project = os.environ.get("WANDB_PROJECT", "smat")
    return WandbLogger(name=folder.name, save_dir=folder, project=project, id=run, resume="allow")


def _mlflow(folder: Path, run: str | None) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "smat")
    return MLFlowLogger(
        experiment, run_name=folder.name, run_id=run, tracking_uri=os.environ.get("MLFLOW_TRACKING_URI")
    )


_SERVICES: dict[str, Callable[[Path, str | None], Logger]] = {"wandb": _wandb, "mlflow": _mlflow}


def _run_of(logger: Any) -> str:
    """The name by which a service knows a run."""
    return str(getattr(logger, "run_id", None) or logger.experiment.id)


def callbacks_of(names: Sequence[LoggerName], own: Sequence[Callback]) -> list[Callback]:
    """The callbacks of a run: those of loggers by name, then one's own.

    Raises:
        ConfigError: a logger whose package is not installed.
    """
    named: list[Callback] = [CsvLog() if name == "csv" else ServiceLog(name) for name in dict.fromkeys(names)]
    return named + list(own)
