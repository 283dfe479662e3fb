"""Loggers and callbacks: they see what is logged, and a resumed run goes on where it was."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.loggers.logger import Logger

from smat.errors import ConfigError
from smat.metatuning import Callback
from smat.metatuning.callbacks import _SERVICES, callbacks_of
from smat.recipes.train import meta_tune

SETTINGS: dict[str, Any] = {
    "domains": ["pocket:glyphs"],
    "episodes": {"way": 2, "shot": 1, "query": 1},
    "pool": {"experts": 2},
    "workers": 0,
}


def tuning(tasks: int) -> dict[str, Any]:
    optimizers = {"delta": {"lr": 1e-3}}
    return {"tasks": tasks, "meta_batch": 2, "validate_every": 0, "checkpoint_every": 2, "optimizers": optimizers}


class Recorder(Callback):
    """Keeps what it is told.

    Args:
        fail_at: number of tasks at which it fails.
    """

    seen: list[tuple[str, Any]] = []  # noqa: RUF012  (of all objects: settings are read from a file)

    def __init__(self, fail_at: int = -1) -> None:
        self.fail_at = fail_at

    def on_start(self, folder: Path, settings: Mapping[str, Any], tasks: int) -> None:
        self.seen.append(("start", (folder.name, settings["tuning"]["tasks"], tasks)))

    def on_metrics(self, tasks: int, values: Mapping[str, float]) -> None:
        self.seen.append(("metrics", (tasks, "loss" in values)))
        if tasks == self.fail_at:
            raise RuntimeError("no more")

    def on_end(self, finished: bool) -> None:
        self.seen.append(("end", finished))


def test_a_callback_sees_a_run_that_fails_and_goes_on_with_another(tmp_path: Path) -> None:
    Recorder.seen.clear()
    with pytest.raises(RuntimeError, match="no more"):
        meta_tune(SETTINGS, out=tmp_path / "run", tuning=tuning(6), callbacks=[Recorder(fail_at=4)])
    assert Recorder.seen == [("start", ("run", 6, 0)), ("metrics", (2, True)), ("metrics", (4, True)), ("end", False)]
    Recorder.seen.clear()
    meta_tune(SETTINGS, out=tmp_path / "run", tuning=tuning(6), callbacks=[Recorder()], loggers=["csv"], resume=True)
    assert Recorder.seen[0] == ("start", ("run", 6, 2))
    assert Recorder.seen[1:] == [("metrics", (4, True)), ("metrics", (6, True)), ("end", True)]
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [int(row["tasks"]) for row in rows] == [line["tasks"] for line in lines]
    assert float(rows[0]["loss"]) == lines[0]["loss"]


class Service(Logger):
    """Stands for a logger of Lightning."""

    made: list["Service"] = []  # noqa: RUF012

    def __init__(self, run: str | None) -> None:
        self.given, self.run_id, self.metrics, self.status = run, run or "r7", [], ""
        self.made.append(self)

    name = version = property(lambda self: "service")  # type: ignore[assignment]

    def log_hyperparams(self, params: dict[str, Any]) -> None:  # type: ignore[override]
        self.params = params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self.metrics.append((step, metrics["loss"]))

    def finalize(self, status: str) -> None:
        self.status = status


def test_a_service_has_one_run_for_one_that_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(_SERVICES, "mlflow", lambda folder, run: Service(run))
    Service.made.clear()
    with pytest.raises(RuntimeError):
        meta_tune(SETTINGS, out=tmp_path / "run", tuning=tuning(4), loggers=["mlflow"], callbacks=[Recorder(fail_at=2)])
    meta_tune(SETTINGS, out=tmp_path / "run", tuning=tuning(4), loggers=["mlflow"], resume=True)
    first, second = Service.made
    assert (first.given, first.status, second.given, second.status) == (None, "aborted", "r7", "success")
    assert [step for step, _ in first.metrics] == [2]
    assert [step for step, _ in second.metrics] == [2, 4]  # no state was kept before the failure
    assert second.params["tuning"]["tasks"] == 4


def test_a_service_that_is_not_installed_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"loggers has wandb, which is not installed: pip install 'smat-fewshot\[wandb\]'"
    ):
        callbacks_of(["csv", "wandb"], [])
    assert len(callbacks_of(["csv", "csv"], [Recorder()])) == 2
