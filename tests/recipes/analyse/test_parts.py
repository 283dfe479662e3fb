"""Sentences, tables and figures of an analysis, from numbers made by hand."""

import math

import numpy as np
import pytest

from made_masks import made_contributions, made_layers
from smat.analysis.accuracy import GridCell, PairedAccuracy
from smat.recipes.analyse.capacity_part import Capacities, capacity_part
from smat.recipes.analyse.images_part import accuracy_lines
from smat.recipes.analyse.overlap_part import Agreement, overlap_part
from smat.recipes.analyse.parts import Drawn, Table, enumerated, number_of, percent
from smat.recipes.analyse.writing import csv_of


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0813, "8.1 %"),
        (1.0, "100.0 %"),
        (0.0, "0.0 %"),
        (0.00034, "0.034 %"),
        (-0.02, "-2.0 %"),
        (math.nan, "unknown"),
    ],
)
def test_shares_have_as_many_digits_as_they_need(share: float, text: str) -> None:
    assert percent(share) == text


def test_names_and_counts_in_sentences() -> None:
    assert enumerated(["a"]) == "a"
    assert enumerated(["a", "b", "c"]) == "a, b and c"
    assert [number_of(count, "class", "classes") for count in (1, 2000)] == ["1 class", "2,000 classes"]


def test_a_file_of_numbers_is_whole_and_the_page_has_its_beginning() -> None:
    table = Table("t", "Numbers", ["name", "x"], [["a, b", 1 / 3], ["c", math.nan], *[["d", 1]] * 100])
    assert csv_of(table).splitlines()[:3] == ["name,x", '"a, b",0.3333333333333333', "c,"]
    assert len(csv_of(table).splitlines()) == 103
    grid = table.grid()
    assert grid.rows[:2] == [["a, b", "0.3333"], ["c", ""]]
    assert len(grid.rows) == 60
    assert grid.title == "Numbers (the first 60 of 102 rows; t.csv)"


def shown(drawn: Drawn) -> list[str]:
    drawn.figure.draw_without_rendering()
    return [text.get_text() for axes in drawn.figure.axes for text in axes.get_yticklabels()]


def test_where_experts_are_open_in_words_and_figures() -> None:
    blocks = [("MLP in", str(depth), 10) for depth in range(1, 6)]
    layers = made_layers(("patch embedding", "embedding", 10), *blocks)
    first = np.zeros(60)
    first[40:48] = 1  # of the fourth block alone
    second = np.zeros(60)
    second[[0, 1, 2, 3, 10, 20, 30, 40]] = 1
    part = capacity_part({"pool": Capacities.of(made_contributions(layers, [first, second]))})
    assert part.in_short == ["Each expert is open in 13.3 % of the parameters; all 2 together are open in 25.0 %."]
    most = "is open in 13.3 % of the parameters, most densely in"
    assert part.experts["pool"] == {
        0: f"{most} 'MLP in' layers (16.0 %), half of them in block 4 of 5",
        1: f"{most} 'patch embedding' layers (40.0 %), spread over all blocks",
    }
    by_type = next(drawn for drawn in part.drawn if drawn.name == "capacity-type")
    assert shown(by_type) == ["patch embedding", "MLP in"] * 2
    assert "patch embedding 40.0 %" in by_type.alt


def test_what_experts_share_in_words() -> None:
    layers = made_layers(("MLP in", "1", 8))
    masks = [[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0]]
    part = overlap_part({"pool": Agreement.of(made_contributions(layers, masks))}, ["pool"])
    # |A and B| of two random halves of 8: 0..4 with odds 1, 16, 36, 16, 1 of 70; Jaccard k / (8 - k)
    expected = sum(odds * k / (8 - k) for k, odds in enumerate((1, 16, 36, 16, 1))) / 70
    assert part.in_short[0].startswith("Masks of two experts have a Jaccard index of 0.333 on average; random masks")
    assert part.in_short[0].endswith(f"{expected:.3f}.")
    assert part.in_short[1].endswith("66.7 % are open in one alone, and 33.3 % in all 2.")


def test_a_line_of_accuracies_is_over_the_domains_that_have_all_its_points() -> None:
    def cell(way: int, shot: int, merged: float) -> GridCell:
        return GridCell(way, shot, PairedAccuracy.of([0.5, 0.5], [merged, merged]))

    grid = {"a": [cell(5, 1, 0.6), cell(5, 10, 0.8)], "b": [cell(5, 1, 0.2)], "c": [cell(5, 1, 0.8), cell(5, 10, 1.0)]}
    ((way, domains, shots, frozen, merged),) = accuracy_lines(grid)
    assert (way, domains, shots) == (5, 2, [1, 10])
    assert [each.mean for each in frozen] == [0.5, 0.5]
    assert [each.mean for each in merged] == pytest.approx([0.7, 0.9])
