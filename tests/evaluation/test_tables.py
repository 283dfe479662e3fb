"""Comparisons as pages, LaTeX and CSV, and on screens of any width."""

import csv
import math
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from smat.errors import ConfigError
from smat.evaluation import (
    Comparison,
    compare,
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    comparison_table,
    write_tables,
)
from smat.evaluation.sheet import percent
from smat.statistics import Interval
from tiny_cells import ROLES, make_cell, two_methods


def comparison(**more: object) -> Comparison:
    return compare(two_methods(), **({"against": "pretrained", "title": "a_title"} | more))  # type: ignore[arg-type]


def test_percentages() -> None:
    assert percent(Interval(0.71349, 0.0081 / 1.95996)) == "71.3 ± 0.8"
    assert percent(Interval(-0.0204, 0.004 / 1.95996), signed=True) == "-2.0 ± 0.4"
    assert percent(Interval(0.02, math.nan, math.nan), signed=True) == "+2.0"


def test_markdown_has_accuracies_differences_and_calibration() -> None:
    lines = comparison_markdown(
        comparison(paper={"ID average": {"smat": 0.8514, "pmf": 0.8}, "birds": {"smat": 0.9}})
    ).splitlines()
    accuracies = lines.index("| domain | role | pretrained | smat |")
    assert "over training seeds; the numbers of the paper" in lines[accuracies - 2]
    assert lines[accuracies + 1 : accuracies + 10] == [
        "| --- | --- | ---: | ---: |",
        "| cars | ID | 60.0 ± 43.0 | **70.0 ± 24.8 (14.1)** |",
        "| birds | ID | 40.0 ± 49.7 | **53.3 ± 62.5 (9.4)** |",
        "| birds (paper) |  |  | 90.00 |",
        "| ID average | ID | 50.0 ± 21.4 | **61.7 ± 27.1 (2.4)** |",
        "| ID average (paper) |  |  | 85.14 |",
        "| fashion_mnist | OOD | **70.0 ± 49.7** | 56.7 ± 37.9 (9.4) |",
        "| ID+OOD average |  | 56.7 ± 15.7 | **60.0 ± 16.6 (4.7)** |",
        "| rank |  | 1.7 | **1.3** |",
    ]
    differences = lines.index("| domain | role | smat |")
    assert lines[differences - 2] == "Difference to pretrained, paired on the same episodes:"
    assert lines[differences + 2] == "| cars | ID | +10.0 ± 49.7 |"
    assert lines[differences + 5] == "| fashion_mnist | OOD | -13.3 ± 14.3 |"
    assert lines[-6].startswith("| --- ")
    rows = ("cars | ID", "birds | ID", "ID average | ID", "fashion_mnist | OOD", "ID+OOD average | ")
    assert lines[-5:] == [f"| {name} | 10.0 | 10.0 |" for name in rows]
    assert "Difference" not in comparison_markdown(comparison(against=None))


def test_one_method_is_not_ranked_and_domains_without_roles_have_no_column_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ROLES, "cars", "")
    page = comparison_markdown(compare([make_cell("a|b", "cars", [0.5, 1.0])])).splitlines()
    assert page[4:7] == [r"| domain | a\|b |", "| --- | ---: |", "| cars | 75.0 ± 317.7 |"]
    assert not any("rank" in line for line in page)


def test_latex_has_the_same_tables_and_escapes_names() -> None:
    text = comparison_latex(comparison())
    assert r"fashion\_mnist & OOD & \textbf{70.0 $\pm$ 49.7} & " in text
    assert r"cars & ID & +10.0 $\pm$ 49.7 \\" in text
    tables = text.split(r"\begin{tabular}")[1:]
    assert [table[: table.index("\n")] for table in tables] == ["{llrr}", "{llr}", "{llrr}"]
    for table in tables:
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {row.count("&") for row in rows} == {
            table[: table.index("}")].count("l") + table[: table.index("}")].count("r") - 1
        }


def test_csv_has_every_number() -> None:
    rows = list(csv.DictReader(StringIO(comparison_csv([comparison(), comparison(against=None)]))))
    assert len(rows) == 2 * 5 * 2
    birds = next(row for row in rows if (row["row"], row["method"]) == ("birds", "smat"))
    assert float(birds["accuracy"]) == pytest.approx(1.6 / 3)
    assert float(birds["difference"]) == pytest.approx(0.4 / 3)
    assert (birds["against"], birds["seeds"], birds["episodes"]) == ("pretrained", "2", "3")
    assert rows[-1]["difference"] == ""


def test_files_of_all_forms(tmp_path: Path) -> None:
    paths = write_tables([comparison(), comparison(against=None, title="another")], tmp_path / "new" / "table1.v2")
    assert [path.name for path in paths] == ["table1.v2.md", "table1.v2.csv", "table1.v2.tex"]
    page, rows, latex = (path.read_text() for path in paths)
    assert re.findall(r"^### (.*)$", page, re.MULTILINE) == ["a_title", "another"]
    assert rows.count("\n") == 1 + 20
    assert latex.count(r"\toprule") == 3 + 2
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(ConfigError, match=r"x\.csv' is a folder"):
        write_tables([comparison()], tmp_path / "x")


def screen(comparison: Comparison, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(comparison_table(comparison, console))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [" ".join(line.split()) for line in lines]


def test_the_papers_average_is_there_for_a_role_with_one_domain() -> None:
    lines = comparison_markdown(comparison(paper={"OOD average": {"smat": 0.6727}})).splitlines()
    assert lines[lines.index("| OOD average (paper) |  |  | 67.27 |") - 1].startswith("| fashion_mnist | OOD |")


def test_a_screen_of_80_columns_has_two_methods_in_one_table() -> None:
    lines = screen(compare([c for c in two_methods() if not c.key.seed], against="pretrained"))
    assert "smat - ECE ECE" in lines
    assert "domain role pretrained smat pretrained pretrained smat" in lines
    assert "birds ID 40.0 ± 49.7 60.0 ± 65.7 +20.0 ± 24.8 10.0 10.0" in lines
    assert "rank 1.5 1.5" in lines


def many(methods: list[str], seeds: int = 1, against: str | None = None) -> Comparison:
    cells = [
        make_cell(method, name, [(n + 7 * seed) % 23 / 23, n / 50 + 0.1], seed=seed)
        for n, method in enumerate(methods)
        for seed in range(seeds)
        for name in ROLES
    ]
    return compare(cells, against=against)


def test_what_is_too_wide_becomes_a_table_for_each_kind_of_number() -> None:
    lines = screen(many(["a", "b", "c", "d"], against="a"))
    assert "domain role a b c d" in lines
    assert "domain role b c d" in lines
    assert [line for line in lines if line.startswith("birds ID 10.0 10.0 10.0 10.0")]


@pytest.mark.parametrize(
    ("methods", "seeds"),
    [
        (["pretrained", "logistic", "knn", "pmf", "softmerge", "smat"], 3),
        (["pretrained", "my-method-of-thirty-characters"], 3),
        (["pretrained" + "y" * 60, "smat" + "x" * 90], 1),
        ([f"smat-tau0.{n}-m16" for n in range(24)], 3),
    ],
)
def test_no_digit_is_cut_whatever_the_number_of_methods_and_the_length_of_names(methods: list[str], seeds: int) -> None:
    found = many(methods, seeds, methods[0])
    text = " ".join(screen(found))
    lines = found.lines if len(methods) <= 6 else [line for line in found.lines if line.role == "ood"]
    for line in [*lines, *found.averages]:
        for entry in line.entries.values():
            spread = "" if entry.spread is None else f" ({100 * entry.spread:.1f})"
            assert f" {percent(entry.accuracy)}{spread} " in text
            assert not entry.difference or f" {percent(entry.difference, signed=True)} " in text.replace("*", " ")
    for name in methods:
        assert name in text.replace(" ", "") or len(name) > 30  # longer ones go on below


def test_blocks_of_lines() -> None:
    cells = [*two_methods(), *(make_cell("knn", name, [0.1, 0.2, 0.3]) for name in ROLES)]
    lines = screen(compare(cells, against="pretrained"), 60)
    start = lines.index("cars (ID)")
    assert lines[start + 1 : start + 4] == [
        "pretrained 60.0 ± 43.0 10.0",
        "smat 70.0 ± 24.8 (14.1) +10.0 ± 49.7 10.0",
        "knn 20.0 ± 24.8 -40.0 ± 24.8 10.0",
    ]
    assert lines[lines.index("rank") + 1 :][:3] == ["pretrained 1.7", "smat 1.3", "knn 3.0"]
    ours = screen(compare(cells, paper={"ID average": {"smat": 0.8514}}), 60)
    assert ours[ours.index("ID average (paper)") + 1] == "smat 85.14"


def test_a_very_narrow_screen_still_has_every_number() -> None:
    words = " ".join(screen(comparison(), 40)).split()
    assert {"70.0", "24.8", "(14.1)", "+10.0", "49.7", "1.3"} <= set(words)


def test_on_a_page_many_methods_become_rows_with_averages_only() -> None:
    cells = [make_cell(f"m{n}", name, [n / 20]) for n in range(17) for name in ROLES]
    page = comparison_markdown(compare(cells, against="m0")).splitlines()
    assert page[4] == "| method | ID average | fashion_mnist | ID+OOD average | rank |"
    assert "| m16 | **80.0** | **80.0** | **80.0** | **1.0** |" in page
    assert "| m16 | +80.0 | +80.0 | +80.0 |" in page
    assert page[-1] == "| m16 | 10.0 | 10.0 | 10.0 |"
