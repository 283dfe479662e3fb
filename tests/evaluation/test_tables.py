"""Tables for the screen and for pages."""

import math
from io import StringIO

import pytest
from rich.console import Console

from smat.errors import DataError
from smat.evaluation import Summary, markdown_table, results_table
from smat.evaluation.tables import percent
from smat.statistics import Interval


def summary(name: str, role: str, pretrained: float, smat: float) -> Summary:
    return Summary(
        name,
        role,
        600,
        {"smat": Interval(smat, 0.008), "pretrained": Interval(pretrained, 0.006)},
        {"smat": Interval(smat - pretrained, 0.004)},
        {"smat": 0.05, "pretrained": 0.1},
    )


RESULTS = [
    summary("birds", "id", 0.6, 0.7),
    summary("cars", "id", 0.4, 0.6),
    summary("fashion_mnist", "ood", 0.5, 0.49),
]


def test_percentages() -> None:
    assert percent(Interval(0.71349, 0.0081)) == "71.3 ± 0.8"
    assert percent(Interval(-0.0204, 0.004), signed=True) == "-2.0 ± 0.4"
    assert percent(Interval(0.02, math.nan), signed=True) == "+2.0"


def test_markdown_has_domains_differences_and_averages() -> None:
    lines = markdown_table(RESULTS).splitlines()
    assert lines[0] == "| domain | role | smat | pretrained | smat - pretrained | ECE smat | ECE pretrained |"
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[2] == "| birds | ID | 70.0 ± 0.8 | 60.0 ± 0.6 | +10.0 ± 0.4 | 5.0 | 10.0 |"
    assert lines[4] == "| fashion_mnist | OOD | 49.0 ± 0.8 | 50.0 ± 0.6 | -1.0 ± 0.4 | 5.0 | 10.0 |"
    assert lines[5].startswith("| **ID average** | **ID** | **65.0 ± 0.6** | **50.0 ± 0.4** | **+15.0 ± 0.3** |")
    assert len(lines) == 6


def test_screen_shows_what_the_page_shows_within_80_columns() -> None:
    screen = StringIO()
    Console(file=screen, width=80).print(results_table(RESULTS))
    words = screen.getvalue().split()
    for line in markdown_table(RESULTS).splitlines()[2:]:
        cells = " ".join(cell.strip("*") for cell in line.strip("| ").split(" | ")).split()
        assert any(words[i : i + len(cells)] == cells for i in range(len(words)))
    assert {"smat", "pretrained", "ECE"} <= set(words)


def test_no_results_is_an_error() -> None:
    with pytest.raises(DataError, match="no results"):
        markdown_table([])
