"""Results on disk: there for good, and an interruption costs no more than its own line."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from smat.errors import CheckpointError, ConfigError
from smat.evaluation import Store
from tiny_cells import make_cell

CELLS = [make_cell("smat", "birds", [0.1, 1 / 3]), make_cell("smat", "cars", [0.2, 0.7]), make_cell("pmf", "cars", [0])]


def filled(path: Path) -> Store:
    store = Store(path)
    for cell in CELLS:
        store.add(cell)
    return store


def test_cells_come_back_as_they_were_and_only_by_their_own_key(tmp_path: Path) -> None:
    filled(tmp_path / "new" / "cells.jsonl")
    again = Store(tmp_path / "new" / "cells.jsonl")
    assert len(again) == 3
    assert list(again) == [cell.key for cell in CELLS]
    for cell in CELLS:
        assert again.find(cell.key, 2) == cell
    for other in ({"checkpoint": "other"}, {"seed": 1}, {"data": "other"}, {"protocol": {"way": 3}}):
        assert again.find(replace(CELLS[0].key, **other), 2) is None


def test_cells_of_episodes_that_follow_one_another_are_found_as_one(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "cells.jsonl"), tmp_path / "cells.jsonl"
    accuracies = [[0.0, 0.1], [0.2, 0.3], [0.4]]
    for first, part in zip((2, 0, 4), (accuracies[1], accuracies[0], accuracies[2]), strict=True):
        store.add(make_cell("smat", "birds", part, first=first))
    store.add(make_cell("smat", "birds", [0.9], first=6))  # episode 5 is missing
    store.add(make_cell("smat", "birds", [0.7], first=2))  # a smaller part of what there is
    whole = [0.0, 0.1, 0.2, 0.3, 0.4]
    for found in (store, Store(path)):
        assert len(found) == 1
        for most, expected in ((1, None), (2, whole[:2]), (3, [0.0, 0.1, 0.7]), (4, whole[:4]), (5, whole), (9, whole)):
            cell = found.find(CELLS[0].key, most)
            assert (cell and cell.accuracies) == expected
    assert cell is not None
    assert (cell.first, cell.seconds) == (0, 4.5)
    assert cell.calibration == [[10.0, 5.0, pytest.approx(6.0)], [0.0, 0.0, 0.0]]


def test_the_last_of_two_cells_of_one_key_counts(tmp_path: Path) -> None:
    store = filled(tmp_path / "cells.jsonl")
    store.add(replace(CELLS[0], accuracies=[0.5, 0.5]))
    for found in (store, Store(tmp_path / "cells.jsonl")):
        cell = found.find(CELLS[0].key, 2)
        assert cell is not None
        assert cell.accuracies == [0.5, 0.5]


@pytest.mark.parametrize("lost", [1, 20])
def test_a_torn_last_line_is_dropped_with_a_note(tmp_path: Path, lost: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cells.jsonl"
    filled(path)
    path.write_bytes(path.read_bytes()[:-lost])
    with caplog.at_level(logging.WARNING):
        store = Store(path)
    assert "ends within a line" in caplog.text
    assert [store.find(cell.key, 2) for cell in CELLS] == [CELLS[0], CELLS[1], None]
    store.add(CELLS[2])
    assert Store(path).find(CELLS[2].key, 2) == CELLS[2]


def test_a_line_damaged_in_the_middle_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    filled(path)
    lines = path.read_text().splitlines()
    for damaged in (lines[1][:50], "", '{"key": 3}', "[]"):
        path.write_text("\n".join([lines[0], damaged, lines[2]]) + "\n")
        before = path.read_bytes()
        with pytest.raises(CheckpointError, match=r"line 2 of .*damaged.*delete that line"):
            Store(path)
        assert path.read_bytes() == before


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        Store(tmp_path)


def test_several_processes_have_files_of_their_own_that_are_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    first, second = Store(path, "a"), Store(path, "b")
    first.add(CELLS[0])
    second.add(CELLS[1])
    assert first.find(CELLS[1].key, 2) is None
    for store in (first, second):
        store.refresh()
        assert [store.find(cell.key, 2) for cell in CELLS[:2]] == CELLS[:2]
    first.add(CELLS[2])
    half = (tmp_path / "cells-b.jsonl").read_bytes()
    (tmp_path / "cells-b.jsonl").write_bytes(half + half[:30])  # being written
    first.refresh()
    assert len(Store(path)) == 3
    assert not path.exists()
