"""Comparisons, against closed forms, and how they look."""

import csv
import json
import math
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from smat.errors import ConfigError, DataError
from smat.evaluation import (
    Cell,
    Comparison,
    compare,
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    comparison_table,
    paper_averages,
    role_lines,
)
from smat.statistics import average, interval, paired_difference
from tiny_cells import make_cell

BASE = {"birds": [0.2, 0.4, 0.6], "cars": [0.5, 0.5, 0.8], "fashion_mnist": [0.9, 0.7, 0.5]}
FIRST = {"birds": [0.4, 0.5, 0.9], "cars": [0.5, 0.7, 0.6], "fashion_mnist": [0.6, 0.6, 0.3]}
SECOND = {"birds": [0.2, 0.5, 0.7], "cars": [0.7, 0.9, 0.8], "fashion_mnist": [0.8, 0.6, 0.5]}


def cells() -> list[Cell]:
    """`fashion_mnist`, which is OOD, comes first."""
    order = list(BASE)[::-1]
    return (
        [make_cell("pretrained", name, BASE[name]) for name in order]
        + [make_cell("smat", name, FIRST[name]) for name in order]
        + [make_cell("smat", name, SECOND[name], seed=1) for name in order]
    )


def comparison(**more: object) -> Comparison:
    return compare(cells(), **({"against": "pretrained", "title": "a_title"} | more))  # type: ignore[arg-type]


def test_a_domain_is_averaged_over_seeds_episode_by_episode() -> None:
    found = comparison()
    assert [line.name for line in found.lines] == ["cars", "birds", "fashion_mnist"]  # ID first
    birds = found.lines[1].entries
    episodes = [0.3, 0.5, 0.8]
    assert birds["smat"].accuracy.mean == pytest.approx(interval(episodes).mean)
    assert birds["smat"].accuracy.half_width == pytest.approx(interval(episodes).half_width)
    expected = paired_difference(episodes, BASE["birds"])
    assert birds["smat"].difference is not None
    assert birds["smat"].difference.half_width == pytest.approx(expected.half_width)
    assert birds["smat"].spread == pytest.approx((0.6 - 1.4 / 3) / math.sqrt(2))  # of two values
    assert birds["pretrained"].difference is None
    assert birds["pretrained"].spread is None


def test_averages_count_domains_alike_and_spread_is_that_of_the_seeds_averages() -> None:
    found = comparison()
    (mean,) = found.averages
    assert (mean.name, mean.role) == ("ID average", "id")
    smat = mean.entries["smat"]
    parts = [line.entries["smat"].accuracy for line in found.lines[:2]]
    assert smat.accuracy == average(parts)
    seeds = [(0.6 + 0.6) / 2, (1.4 / 3 + 0.8) / 2]
    assert smat.by_seed == pytest.approx(seeds)
    assert smat.spread == pytest.approx(abs(seeds[0] - seeds[1]) / math.sqrt(2))
    assert {role: line.name for role, line in role_lines(found).items()} == {"id": "ID average", "ood": "fashion_mnist"}


def test_ranks_are_means_over_domains_and_ties_share_theirs() -> None:
    assert comparison().ranks == {"pretrained": pytest.approx(5 / 3), "smat": pytest.approx(4 / 3)}
    tied = compare([make_cell(m, "birds", [0.5]) for m in "ab"] + [make_cell("c", "birds", [0.1])])
    assert tied.ranks == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert tied.lines[0].best == ["a", "b"]


def test_results_of_different_episodes_are_not_compared() -> None:
    for few in ([0.1], [0.1] * 4):
        with pytest.raises(DataError, match="'cars' are not of the same episodes"):
            compare([*cells(), *(make_cell("pmf", name, few) for name in BASE)])
    with pytest.raises(DataError, match="smat: not the same training seeds"):
        compare([*cells(), make_cell("smat", "cars", [0.1] * 3, seed=2)])
    with pytest.raises(DataError, match="b: not the same"):
        compare([make_cell("a", "birds", [1]), make_cell("a", "cars", [1]), make_cell("b", "cars", [1])])
    with pytest.raises(DataError, match="no results"):
        compare([])


def test_markdown_has_the_best_in_bold_the_papers_averages_and_the_differences() -> None:
    lines = comparison_markdown(comparison(paper={"id": {"smat": 0.8514, "pmf": 0.8}})).splitlines()
    assert lines[2:6] == [
        "| domain | pretrained | smat |",
        "| --- | ---: | ---: |",
        "| cars | 60.0 ± 43.0 | **70.0 ± 24.8 (14.1)** |",
        "| birds | 40.0 ± 49.7 | **53.3 ± 62.5 (9.4)** |",
    ]
    assert lines[7] == "| ID average (paper) |  | 85.1 |"
    assert lines[8].startswith("| fashion_mnist | **70.0")
    assert lines[9] == "| rank | 1.7 | **1.3** |"
    assert "over training seeds; the paper's averages" in lines[11]
    differences = lines.index("| domain | smat |")
    assert lines[differences + 2] == "| cars | +10.0 ± 49.7 |"
    assert lines[-1] == "| fashion_mnist | -13.3 ± 14.3 |"
    assert "Difference" not in comparison_markdown(comparison(against=None))


def test_latex_escapes_names() -> None:
    text = comparison_latex(comparison())
    assert r"fashion\_mnist & \textbf{70.0 $\pm$ 49.7} & " in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {row.count("&") for row in rows} == {2}
    assert text.count(r"\midrule") == 3


def test_csv_has_every_number() -> None:
    rows = list(csv.DictReader(StringIO(comparison_csv([comparison(), comparison(against=None)]))))
    assert len(rows) == 2 * 4 * 2
    birds = next(row for row in rows if (row["row"], row["method"]) == ("birds", "smat"))
    assert float(birds["accuracy"]) == pytest.approx(1.6 / 3)
    assert float(birds["difference"]) == pytest.approx(0.4 / 3)
    assert (birds["against"], birds["seeds"]) == ("pretrained", "2")
    assert rows[-1]["difference"] == ""


@pytest.mark.parametrize("width", [40, 100])
def test_the_screen_shows_every_number_whatever_its_width(width: int) -> None:
    console = Console(file=StringIO(), width=width)
    console.print(comparison_table(comparison(), console))
    assert isinstance(console.file, StringIO)
    words = console.file.getvalue().split()
    assert {"fashion_mnist", "pretrained", "70.0", "±24.8", "(14.1)", "1.3"} <= set(words)
    assert max(map(len, console.file.getvalue().splitlines())) <= width


def test_many_methods_become_rows() -> None:
    many = [make_cell(f"m{n}", name, [n / 20]) for n in range(13) for name in BASE]
    console = Console(file=StringIO(), width=60)
    console.print(comparison_table(compare(many), console))
    assert isinstance(console.file, StringIO)
    last = next(line for line in console.file.getvalue().splitlines() if "m12" in line)
    assert last.split() == ["m12", "60.0", "60.0", "1.0"]
    page = comparison_markdown(compare(many, against="m0")).splitlines()
    assert page[2] == "| method | ID average | fashion_mnist | rank |"
    assert page[-1] == "| m12 | +60.0 | +60.0 |"


def test_the_papers_averages(tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    rows = {"ID Avg": {"smat": 85.0, "smat+full": 86.0}, "OOD Avg": {"smat": 67.0, "smat+full": 75.0}}
    path.write_text(json.dumps({"table1": rows, "table2": [{"method": "smat", "id": 85.0, "ood": 67.0}]}))
    assert paper_averages(path, "table1", "none") == {"id": {"smat": 0.85}, "ood": {"smat": 0.67}}
    assert paper_averages(path, "table1", "full") == {"id": {"smat": 0.86}, "ood": {"smat": 0.75}}
    assert paper_averages(path, "table2", "none") == {"id": {"smat": 0.85}, "ood": {"smat": 0.67}}
    assert paper_averages(path, "table2", "lora") == {}
    assert paper_averages(path, "sparsity", "none") == {}
    for text in ("{}", "no json", "[]"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"paper_tables\.json"):
            paper_averages(path, "table1", "none")
    with pytest.raises(ConfigError, match="absent"):
        paper_averages(tmp_path / "absent", "table1", "none")
