"""Comparisons on the screen: one table where it fits, or else one per kind of number, or lines."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from smat.evaluation.comparison import Comparison
from smat.evaluation.sheet import Column, Field, Sheet, make_sheet

_MOST = 6  # methods that are shown on every domain; of more of them only the averages are


def comparison_table(comparison: Comparison, console: Console) -> Group:
    """All numbers of a comparison, without its title; no wider than the console, and no digit is cut.

    One table with a column for each method and kind of number; where that is too wide, a table for each kind; where one
    of these is too wide or there are too many methods, a block for each domain with a line for each method.
    """
    sheet = make_sheet(comparison, _MOST)
    if len(comparison.methods) <= _MOST:
        headings = [_heading(column, comparison) for column in sheet.columns]
        whole = [_table(sheet, headings, sheet.titles["accuracy"])]
        parts = [_table(part, [c.method for c in part.columns], *part.titles.values()) for part in sheet.parts()]
        for tables in (whole, parts):
            if all(_width(table, console) <= console.width for table in tables):
                return Group(*tables)
    return Group(_blocks(sheet, comparison))


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _heading(column: Column, comparison: Comparison) -> str:
    return {"accuracy": "{method}", "difference": "{method} -\n{against}", "ECE": "ECE\n{method}"}[column.kind].format(
        method=column.method, against=comparison.baselines.get(column.method)
    )


def _table(sheet: Sheet, headings: Sequence[str], caption: str) -> Table:
    """A row for each domain and average, a column for each method."""
    table = _empty(caption)
    names, sections = sheet.grid()
    for name in names:
        table.add_column(name, no_wrap=True)
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for rows, texts in zip(sheet.sections, sections, strict=True):
        for row, fields in zip(rows, texts, strict=True):
            table.add_row(*map(_styled, fields), style="bold" if row.average else "")
        table.add_section()
    return table


def _blocks(sheet: Sheet, comparison: Comparison) -> Table:
    """A block for each domain and average, a line for each method, a column for each kind of number."""
    table = _empty(sheet.titles["accuracy"])
    headings = {"accuracy": "accuracy", "difference": f"- {comparison.baseline}", "ECE": "ECE"}
    table.add_column("method", overflow="fold")
    for kind in sheet.titles:
        table.add_column(Text(headings[kind]), justify="right", overflow="fold")
    for row in (row for rows in sheet.sections for row in rows):
        role = f" ({row.role})" if row.role and not row.average else ""
        table.add_row(Text(f"{row.name}{role}", "bold"))
        for method in comparison.methods:
            fields = [row.fields.get(Column(kind, method), Field()) for kind in sheet.titles]
            if any(field.text for field in fields):
                table.add_row(Text(f"  {method}"), *map(_styled, fields))
        table.add_section()
    return table


def _empty(caption: str) -> Table:
    return Table(caption=Text(caption), box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)


def _styled(field: Field) -> Text:
    return Text(field.text, "bold" if field.best else "")
