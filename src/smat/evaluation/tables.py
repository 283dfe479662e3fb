"""Results as a table, for the screen and for Markdown pages."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from smat.errors import DataError
from smat.evaluation.summaries import BASELINE, Summary, averages
from smat.statistics import Interval

_ROLES = {"id": "ID", "ood": "OOD", "validation": "validation", "": ""}


def results_table(summaries: Sequence[Summary]) -> Table:
    """Domains and averages as a rich table, in per cent with 95 % intervals.

    Args:
        summaries: one a domain, all of the same methods; at least one.

    Raises:
        DataError: no summaries.
    """
    header, domains, means = _cells(summaries)
    table = Table(caption="per cent, with 95 % intervals", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for place, name in enumerate(header):
        lines = name.replace("ECE ", "ECE\n").replace(" - ", " -\n")  # for terminals of 80 columns
        table.add_column(lines, justify="left" if place < 2 else "right", no_wrap=True)
    for cells in domains:
        table.add_row(*cells)
    table.add_section()
    for cells in means:
        table.add_row(*cells, style="bold")
    return table


def markdown_table(summaries: Sequence[Summary]) -> str:
    """The same as a Markdown table, averages last and in bold; raises as `results_table`."""
    header, domains, means = _cells(summaries)
    marks = ["---" if place < 2 else "---:" for place in range(len(header))]
    bold = [[f"**{cell}**" if cell else "" for cell in cells] for cells in means]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, marks, *domains, *bold])


def _cells(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """The header, a row a domain, a row an average."""
    if not summaries:
        raise DataError("there are no results to show; evaluate at least one domain")
    methods, compared = list(summaries[0].accuracy), list(summaries[0].difference)
    header = ["domain", "role", *methods]
    header += [f"{method} - {BASELINE}" for method in compared]
    header += ["ECE" if len(methods) == 1 else f"ECE {method}" for method in methods]

    def row(summary: Summary) -> list[str]:
        return [
            summary.name,
            _ROLES[summary.role],
            *(percent(summary.accuracy[method]) for method in methods),
            *(percent(summary.difference[method], signed=True) for method in compared),
            *(f"{100 * summary.calibration_error[method]:.1f}" for method in methods),
        ]

    return header, [row(s) for s in summaries], [row(s) for s in averages(summaries)]


def percent(value: Interval, *, signed: bool = False) -> str:
    """`"71.3 ± 0.8"`, signed `"+2.0 ± 0.4"`; without the second part where there is no interval."""
    mean = f"{100 * value.mean:{'+' if signed else ''}.1f}"
    return mean if value.half_width != value.half_width else f"{mean} ± {100 * value.half_width:.1f}"
