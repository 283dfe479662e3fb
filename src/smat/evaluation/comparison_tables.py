"""A comparison as a table: for the screen, Markdown, LaTeX, and as a list of numbers in CSV."""

import csv
import io
from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from smat.evaluation.comparison import AVERAGES, Comparison, Entry, Line, role_lines
from smat.evaluation.tables import percent

_ON_SCREEN, _ON_PAGE = 6, 12  # methods that have columns; more of them become rows, with averages only
NOTE = "per cent, with 95 % intervals over episodes"
_SPREAD = "; in brackets the standard deviation over training seeds"
_PAPER = "; the paper's averages are over its own domains, by its own network"
_Marks = tuple[Callable[[str], str], str]  # how to set the best in bold, and the plus-minus sign with its spaces


def comparison_table(comparison: Comparison, console: Console) -> Table:
    """A rich table, without its title: domains, averages, ranks; the best of each row in bold.

    Where the console is too narrow, intervals stand below their numbers.
    """
    table = _table(comparison, " ")
    fits = console.measure(table, options=console.options.update(max_width=1000)).maximum <= console.width
    return table if fits else _table(comparison, "\n")


def _table(comparison: Comparison, gap: str) -> Table:
    header, sections = _sections(comparison, (lambda text: f"[bold]{text}[/]", f"{gap}±"), _ON_SCREEN)
    table = Table(caption=note(comparison), box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(header):
        justify = "right" if place else "left"
        table.add_column(name.replace("-", f"-{gap.strip(' ')}", 1), justify=justify, no_wrap=True)
    for rows in sections:
        for row in rows:
            table.add_row(*(cell.replace(" (", f"{gap}(") for cell in row))
        table.add_section()
    return table


def comparison_markdown(comparison: Comparison) -> str:
    """The same in Markdown, and a second table of the paired differences."""
    header, sections = _sections(comparison, (lambda text: f"**{text}**", " ± "), _ON_PAGE)
    text = f"### {comparison.title}\n\n{_markdown(header, [row for rows in sections for row in rows])}"
    text += f"\n{note(comparison).capitalize()}.\n"
    others = [method for method in comparison.methods if method != comparison.against]
    if comparison.against and others:
        lines = [line for group in _by_role(comparison, _ON_PAGE) for line in group]
        header, sections = _turned(
            ["domain", *others], [[_differences(line, others) for line in lines]], len(comparison.methods) > _ON_PAGE
        )
        text += f"\nDifference to {comparison.against}, pair by pair on the same episodes:\n\n"
        text += _markdown(header, sections[0])
    return text


def _differences(line: Line, methods: Sequence[str]) -> list[str]:
    found = [line.entries[method].difference for method in methods]
    return [line.name, *(percent(difference, signed=True) if difference else "" for difference in found)]


def comparison_latex(comparison: Comparison) -> str:
    """A tabular for the package booktabs."""
    header, sections = _sections(comparison, (lambda text: rf"\textbf{{{text}}}", r" $\pm$ "), _ON_PAGE)
    body = "\\midrule\n".join("".join(_latex_row(row) for row in rows) for rows in sections)
    return (
        f"% {comparison.title}: {note(comparison)}\n\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule\n"
        f"{_latex_row(header)}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


CSV_HEADER = (
    "table",
    "row",
    "role",
    "method",
    "accuracy",
    "half_width",
    "seeds",
    "spread",
    "against",
    "difference",
    "difference_half_width",
    "calibration_error",
)


def comparison_csv(comparisons: Sequence[Comparison]) -> str:
    """Every number, a line a row and method; shares, not per cent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for comparison in comparisons:
        for line in [*comparison.lines, *comparison.averages]:
            for method, entry in line.entries.items():
                difference = entry.difference
                writer.writerow(
                    (
                        comparison.title,
                        line.name,
                        line.role,
                        method,
                        entry.accuracy.mean,
                        entry.accuracy.half_width,
                        len(entry.by_seed),
                        "" if entry.spread is None else entry.spread,
                        comparison.against if difference else "",
                        difference.mean if difference else "",
                        difference.half_width if difference else "",
                        entry.calibration_error,
                    )
                )
    return text.getvalue()


def note(comparison: Comparison) -> str:
    """What the table's numbers are."""
    several = any(entry.spread is not None for line in comparison.lines for entry in line.entries.values())
    return NOTE + (_SPREAD if several else "") + (_PAPER if comparison.paper else "")


def _by_role(comparison: Comparison, most: int) -> list[list[Line]]:
    """The domains of each role and their average; the averages only where there are more methods than columns."""
    shown = role_lines(comparison)
    if len(comparison.methods) > most:
        return [[line] for line in shown.values()]
    groups = {role: [line for line in comparison.lines if line.role == role] for role in shown}
    return [[*group, shown[role]] if len(group) > 1 else group for role, group in groups.items()]


def _sections(comparison: Comparison, marks: _Marks, most: int) -> tuple[list[str], list[list[list[str]]]]:
    """The header, and rows in sections: those of each role, then ranks."""
    sections = [_rows(lines, comparison, marks) for lines in _by_role(comparison, most)]
    return _turned(
        ["domain", *comparison.methods], [*sections, [_ranks(comparison, marks)]], len(comparison.methods) > most
    )


def _turned(header: list[str], sections: list[list[list[str]]], turn: bool) -> tuple[list[str], list[list[list[str]]]]:
    """Rows as columns, if `turn`."""
    if not turn:
        return header, sections
    (_, *names), *rows = zip(header, *(row for rows in sections for row in rows), strict=True)
    return ["method", *names], [[list(row) for row in rows]]


def _rows(lines: Sequence[Line], comparison: Comparison, marks: _Marks) -> list[list[str]]:
    """Lines of one role, and the paper's average of it where it is to be shown."""
    bold, sign = marks
    rows = []
    for line in lines:
        cells = {method: _cell(line.entries[method]).replace(" ± ", sign) for method in comparison.methods}
        rows.append([line.name, *(bold(text) if m in line.best else text for m, text in cells.items())])
    theirs = comparison.paper.get(lines[0].role, {})
    if any(method in theirs for method in comparison.methods):
        shown = [f"{100 * theirs[m]:.1f}" if m in theirs else "" for m in comparison.methods]
        rows.append([f"{AVERAGES[lines[0].role]} (paper)", *shown])
    return rows


def _ranks(comparison: Comparison, marks: _Marks) -> list[str]:
    best = min(comparison.ranks.values())
    return ["rank", *(marks[0](f"{r:.1f}") if r == best else f"{r:.1f}" for r in comparison.ranks.values())]


def _cell(entry: Entry) -> str:
    return percent(entry.accuracy) + ("" if entry.spread is None else f" ({100 * entry.spread:.1f})")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---" if not place else "---:" for place in range(len(header))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, marks, *rows])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells).replace("_", r"\_").replace("%", r"\%") + " \\\\\n"
