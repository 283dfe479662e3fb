"""The files of an analysis: tables, figures and the page that has them all."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from smat.files import write_folder, write_whole
from smat.recipes.analyse.parts import Cell, Part, Table
from smat.recipes.figure_style import write_figure
from smat.recipes.pages import page

PAGE = "report.html"
"""The page, by which the folder of an earlier analysis is known."""


def write_analysis(
    folder: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    parts: Sequence[Part],
    on_figure: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Write `tables/*.csv`, `figures/` and `report.html`, in the place of an earlier analysis, if there is one.

    Args:
        folder: the folder; it is whole or not there.
        title: heading of the page.
        facts: what is known in short, by name, below the heading.
        parts: what was found.
        on_figure: called after each figure.

    Returns:
        The files, the page first.

    Raises:
        ConfigError: the folder has other files in it, or cannot be written.
    """
    tables = {f"tables/{table.name}.csv": csv_of(table) for part in parts for table in part.tables}

    def fill(new: Path) -> None:
        for name in ("tables", "figures"):
            (new / name).mkdir()
        for name, content in tables.items():
            write_whole(new / name, content)
        svgs = {}
        for drawn in (drawn for part in parts for drawn in part.drawn):
            files = write_figure(drawn.figure, new / "figures" / drawn.name)
            svgs[drawn.name] = next(file for file in files if file.suffix == ".svg").read_bytes()
            on_figure()
        write_whole(new / PAGE, page(title, facts, [part.section(svgs) for part in parts]))

    write_folder(folder, fill, PAGE, "out")
    return [folder / PAGE, *sorted((folder / "tables").iterdir()), *sorted((folder / "figures").iterdir())]


def csv_of(table: Table) -> str:
    """A table as CSV: numbers in full, and nothing where there is none."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_plain(cell) for cell in row] for row in table.rows)
    return content.getvalue()


def _plain(cell: Cell) -> str | int | float:
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else cell
