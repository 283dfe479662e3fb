"""Comparisons whose processes are started elsewhere."""

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from small_comparison import SMALL
from smat.errors import ConfigError
from smat.recipes.reproduce import backends
from smat.recipes.reproduce.backends import Jobs
from smat.recipes.reproduce.run import reproduce

ARGUMENTS: dict[str, Any] = {"methods": ["pretrained", "smat"], **SMALL}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


class Failed(Exception):
    """What stands for an error of Ray."""


def stand_in(monkeypatch: pytest.MonkeyPatch, failing: int) -> dict[str, Any]:
    """A module in the place of Ray, whose first processes fail; gives what it was asked for."""
    asked: dict[str, Any] = {"started": 0}

    def remote(**resources: Any) -> Callable[[Callable[[Any], object]], Any]:
        asked.update(resources)

        def of(do: Callable[[Any], object]) -> Any:
            def begin(work: Callable[[], object]) -> Callable[[], object]:
                asked["started"] += 1
                return broken if asked["started"] <= failing else lambda: do(work)

            return SimpleNamespace(remote=begin)

        return of

    def broken() -> None:
        raise Failed("the machine is gone")

    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **_: None,
        shutdown=lambda: asked.update(ended=True),
        remote=remote,
        get=lambda work: work(),
        exceptions=SimpleNamespace(RayError=Failed),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    return asked


def test_processes_share_the_work_and_this_one_makes_the_tables(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = stand_in(monkeypatch, failing=1)
    reproduce("table1", base, out=str(tmp_path / "alone"), **ARGUMENTS)
    reproduce("table1", base, out=str(tmp_path / "ray"), jobs=Jobs("ray", 2, job_cpus=3, job_gpus=0.5), **ARGUMENTS)
    assert asked == {"started": 2, "num_cpus": 3, "num_gpus": 0.5, "max_retries": 2, "ended": True}
    assert "a process of ray failed: the machine is gone" in caplog.text
    assert (tmp_path / "ray" / "table1.md").read_text() == (tmp_path / "alone" / "table1.md").read_text()
    assert list((tmp_path / "ray").glob("cells-*.jsonl"))


def test_where_all_processes_fail_that_is_an_error(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, failing=2)
    with pytest.raises(ConfigError, match="all processes of ray failed: the machine is gone"):
        reproduce("table1", base, out=str(tmp_path), jobs=Jobs("ray"), **ARGUMENTS)


@pytest.mark.parametrize(("backend", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_what_is_not_installed_is_named(backend: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"--backend {backend} needs {module}.*'smat-fewshot\[{backend}\]'"):
        Jobs(backend).run(lambda: None, Path(), Console())


@pytest.mark.slow
@needs("ray")
def test_on_a_ray_cluster_with_one_killed(base: str, tmp_path: Path) -> None:
    reproduce("table1", base, out=str(tmp_path / "alone"), **ARGUMENTS)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    at_work = b"ray::_do" in (process / "cmdline").read_bytes()
                    busy = at_work and list((tmp_path / "ray" / "training").glob("*/state"))
                except OSError:
                    continue
                if busy:
                    os.kill(int(process.name), signal.SIGKILL)
                    killed.append(int(process.name))
                    return
            time.sleep(0.05)

    threading.Thread(target=kill, daemon=True).start()
    reproduce("table1", base, out=str(tmp_path / "ray"), jobs=Jobs("ray", 2), **ARGUMENTS)
    assert killed
    assert (tmp_path / "ray" / "table1.md").read_text() == (tmp_path / "alone" / "table1.md").read_text()


@pytest.mark.slow
@needs("submitit")
def test_as_jobs(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no SLURM here"):
        reproduce("table1", base, out=str(tmp_path / "jobs"), jobs=Jobs("slurm", 2), **ARGUMENTS)
    monkeypatch.setattr(backends, "_CLUSTER", "local")
    reproduce("table1", base, out=str(tmp_path / "alone"), **ARGUMENTS)
    options = {"timeout_min": 10}
    reproduce("table1", base, out=str(tmp_path / "jobs"), jobs=Jobs("slurm", 2, slurm=options), **ARGUMENTS)
    assert (tmp_path / "jobs" / "table1.md").read_text() == (tmp_path / "alone" / "table1.md").read_text()
    with pytest.raises(ConfigError, match=r"--slurm is \{'colour': 'red'\}"):
        reproduce("table1", base, out=str(tmp_path / "more"), jobs=Jobs("slurm", slurm={"colour": "red"}), **ARGUMENTS)
