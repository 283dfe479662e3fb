"""How figures look, and their files."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from smat.recipes.figure_style import COLUMN, heat_map, look, styled, write_figure


def drawn() -> Figure:
    with styled():
        figure = Figure(figsize=(COLUMN, 2))
        axes = figure.subplots()
        for index in range(3):
            axes.plot([0, 1], [index, 1], label=f"expert {index}", **look(index).line)
        axes.legend()
        return figure


def test_a_figure_is_written_in_three_formats_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = (write_figure(drawn(), tmp_path / name) for name in ("first", "second"))
    assert [file.suffix for file in first] == [".png", ".svg", ".pdf"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    with Image.open(first[0]) as picture:
        assert picture.size == (660, 400)


def test_settings_of_the_users_own_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (before, *_) = write_figure(drawn(), tmp_path / "before")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 20)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    (after, *_) = write_figure(drawn(), tmp_path / "after")
    assert before.read_bytes() == after.read_bytes()


def test_series_differ_without_their_colours_too() -> None:
    looks = [look(index) for index in range(88)]
    assert len(set(looks)) == 88
    assert len({(str(each.linestyle), each.marker) for each in looks[:8]}) == 8
    assert len({each.hatch for each in looks[:8]}) == 8


@pytest.mark.parametrize("columns", [2, 20])
def test_a_heat_map_has_its_numbers_where_there_is_room(columns: int) -> None:
    with styled():
        axes = Figure().subplots()
        values = np.full((3, columns), 0.25)
        values[0, 0] = np.nan
        heat_map(axes, values.tolist(), ["a", "b", "c"], [str(n) for n in range(columns)], label="share")
    assert [text.get_text() for text in axes.texts] == (["0.25"] * 5 if columns == 2 else [])
