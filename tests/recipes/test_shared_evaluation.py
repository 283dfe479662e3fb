"""Several processes evaluate together: the results of one."""

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from smat.errors import CheckpointError
from smat.recipes.evaluate import Evaluation, evaluate
from smat.recipes.sharing import Sharing
from tiny_checkpoint import save_checkpoint

SETTINGS: dict[str, Any] = {"domains": ["pocket:glyphs", "pocket:polygons"], "episodes": 7, "workers": 0}
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.recipes.shared_evaluation._SPAN", 2)
    monkeypatch.setattr("smat.recipes.sharing._PAUSE", 0.05)


def results(report: Path) -> dict[str, Any]:
    found = json.loads(report.read_text())
    return {name: found[name] for name in ("summary", "averages", "rows", "complete")}


@pytest.mark.parametrize("tuned", [{}, {"adapt": "full", "steps": 1, "grid": [0.0, 1e-3], "episodes": 3}])
def test_three_processes_find_what_one_does(tuned: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "pool")
    alone = evaluate(checkpoint, **SETTINGS | tuned, output=str(tmp_path / "alone.json"))

    def work() -> None:
        report = tmp_path / f"{os.getpid()}.json"
        evaluate(checkpoint, **SETTINGS | tuned, output=str(report), join=str(tmp_path / "shared"))

    processes = [FORK.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 3
    for process in processes:
        assert results(tmp_path / f"{process.pid}.json") == results(tmp_path / "alone.json")
    found = evaluate(checkpoint, **SETTINGS | tuned, join=str(tmp_path / "shared"))  # from the files alone
    assert untimed(found) == untimed(alone)


def untimed(found: Evaluation) -> list[Any]:
    return [(cell.key, cell.accuracies, cell.calibration, cell.rates) for cell in found.cells]


def test_other_settings_are_other_episodes(tmp_path: Path) -> None:
    checkpoint, folder = save_checkpoint(tmp_path / "pool"), tmp_path / "shared"
    evaluate(checkpoint, **SETTINGS, head="prototype", join=str(folder))
    before = set((folder / "parts").iterdir())
    assert len(before) == 2 * 4
    evaluate(checkpoint, **SETTINGS, head="ridge", join=str(folder))
    assert len(set((folder / "parts").iterdir()) - before) == 2 * 4


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    checkpoint, folder = save_checkpoint(tmp_path / "pool"), tmp_path / "shared"
    evaluate(checkpoint, **SETTINGS, join=str(folder))
    part = min((folder / "parts").iterdir())
    part.write_text(part.read_text()[:-20])
    with pytest.raises(CheckpointError, match=r"glyphs-0-.*Remove it, and its episodes are evaluated again"):
        evaluate(checkpoint, **SETTINGS, join=str(folder))


def test_others_are_not_waited_for_before_all_else_is_done(tmp_path: Path) -> None:
    checkpoint, folder = save_checkpoint(tmp_path / "pool"), tmp_path / "shared"
    before = evaluate(checkpoint, **SETTINGS, join=str(folder))
    parts = set((folder / "parts").iterdir())
    first = min(part for part in parts if part.name.startswith("glyphs"))
    for part in parts:
        part.unlink()

    def work() -> None:
        assert untimed(evaluate(checkpoint, **SETTINGS, join=str(folder))) == untimed(before)

    process = FORK.Process(target=work)
    with Sharing(folder, True).lease(first.name) as mine:
        assert mine
        process.start()
        end = time.monotonic() + 120
        while set((folder / "parts").iterdir()) != parts - {first}:
            assert process.is_alive()
            assert time.monotonic() < end
            time.sleep(0.05)
    process.join(120)
    assert process.exitcode == 0
    assert first.exists()
