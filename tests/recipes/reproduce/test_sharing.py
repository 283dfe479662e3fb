"""Several processes in one folder: the same tables, nothing done twice, and nothing lost with one that dies."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small_comparison import SMALL
from smat.domains.pocket import PocketDomain
from smat.errors import InUseError
from smat.files import locked, shared
from smat.recipes.reproduce.run import reproduce
from smat.recipes.sharing import Sharing

ARGUMENTS: dict[str, Any] = {"methods": ["pretrained", "knn", "pmf", "smat"], "seeds": [0, 1], **SMALL}
TABLES = ("table1.md", "table1.csv", "table1.tex")
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def alone(base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tables that one process makes."""
    out = tmp_path_factory.mktemp("alone")
    reproduce("table1", base, out=str(out), **ARGUMENTS)
    return tables(out)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.recipes.sharing.SPAN", 2)
    monkeypatch.setattr("smat.recipes.sharing._PAUSE", 0.05)
    monkeypatch.setattr("smat.recipes.reproduce.evaluator._BLOCK", 2)


def tables(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in TABLES}


def in_processes(count: int, work: Callable[[], object]) -> list[int | None]:
    """How processes end that all do the same."""
    processes = [FORK.Process(target=work) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def done(folder: Path) -> Counter[tuple[str, int]]:
    """How often each part of the work was done."""
    lines = [json.loads(line) for file in folder.glob("cells*.jsonl") for line in file.read_text().splitlines()]
    return Counter((json.dumps(cell["key"]), cell["first"]) for cell in lines)


def test_four_processes_make_the_table_of_one(base: str, alone: dict[str, str], tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / f"tables-{os.getpid()}").write_text(
            json.dumps((reproduce("table1", base, out=str(tmp_path), join=True, **ARGUMENTS), tables(tmp_path))[1])
        )

    assert in_processes(4, work) == [0] * 4
    assert tables(tmp_path) == alone
    for file in tmp_path.glob("tables-*"):  # each process had the whole table
        assert json.loads(file.read_text()) == alone
    assert set(done(tmp_path).values()) == {1}
    assert sum(done(tmp_path).values()) == (2 + 2 * 2) * 2 * 2  # methods and seeds, domains, parts
    for log in (tmp_path / "training").glob("*/log.jsonl"):
        steps = [row["tasks"] for row in map(json.loads, log.read_text().splitlines()) if "loss" in row]
        assert steps == [2, 4]
    reproduce("table1", base, out=str(tmp_path), **ARGUMENTS)  # alone, from what they left
    assert set(done(tmp_path).values()) == {1}


def test_what_one_that_dies_has_begun_is_taken_over(
    base: str, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce("table1", base, out=str(tmp_path), **ARGUMENTS | {"episodes": 1})  # with trainings

    def die() -> None:
        canvas, seen = PocketDomain.canvas, [0]

        def counted(domain: PocketDomain, row: int, side: int) -> Any:
            seen[0] += 1
            if seen[0] == 3 * (2 + 3) * 2:  # in the second episode
                os.kill(os.getpid(), signal.SIGKILL)
            return canvas(domain, row, side)

        monkeypatch.setattr(PocketDomain, "canvas", counted)
        reproduce("table1", base, out=str(tmp_path), join=True, **ARGUMENTS)

    assert in_processes(1, die) == [-signal.SIGKILL]
    reproduce("table1", base, out=str(tmp_path), join=True, **ARGUMENTS)
    assert tables(tmp_path) == alone


def test_one_for_itself_and_several_together_do_not_mix(base: str, tmp_path: Path) -> None:
    with shared(tmp_path):
        with shared(tmp_path), pytest.raises(InUseError, match="in use by another process"), locked(tmp_path):
            pass
        with pytest.raises(InUseError, match=r"give --join to all of them"):
            reproduce("table1", base, out=str(tmp_path), **ARGUMENTS)
    with locked(tmp_path), pytest.raises(InUseError):
        reproduce("table1", base, out=str(tmp_path), join=True, **ARGUMENTS)


def test_a_part_is_taken_by_one_and_agreed_on_by_all(tmp_path: Path) -> None:
    first, second = Sharing(tmp_path, True), Sharing(tmp_path, True)
    assert first.new_name() != second.new_name()
    with first.lease("a", 1) as mine, second.lease("a", 1) as also, second.lease("a", 2) as other:
        assert (mine, also, other) == (True, False, True)
    with second.lease("a", 1) as free:
        assert free
    assert first.agreed("precision.txt", lambda: "32-true") == "32-true"
    assert second.agreed("precision.txt", lambda: "bf16-mixed") == "32-true"
    own = Sharing(tmp_path, False)
    with own.lease("a", 1) as mine, own.lease("a", 1) as again:
        assert mine
        assert again
    assert (own.new_name(), own.spans(600)) == ("", [(0, 600)])
    assert Sharing(tmp_path, True).spans(5) == [(0, 2), (2, 4), (4, 5)]
