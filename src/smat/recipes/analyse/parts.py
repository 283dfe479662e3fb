"""The parts of an analysis: figures, tables and what is said of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from smat.recipes.figure_style import COLUMN
from smat.recipes.pages import Card, Counts, Drawing, Grid, Section, svg_address

_SHOWN = 60  # rows of a table on the page, at most

Cell = str | int | float | None
"""Of a table; None and NaN are left empty."""


@dataclass(frozen=True)
class Drawn:
    """A figure.

    Attributes:
        name: name of its files, without their endings.
        figure: made within the style.
        alt: what it shows, with numbers, for those who do not see it.
        caption: how to read it.
    """

    name: str
    figure: Figure
    alt: str
    caption: str

    def drawing(self, svg: bytes) -> Drawing:
        """The figure on the page, from its file."""
        wide = bool(self.figure.get_figwidth() > COLUMN)
        return Drawing(svg_address(svg), self.alt, f"{self.caption} ({self.name})", wide)


@dataclass(frozen=True)
class Table:
    """A table, whole as a file, and its first rows on the page.

    Attributes:
        name: name of its file, without the ending.
        title: what it has.
        columns: heads of the columns.
        rows: cells.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def grid(self) -> Grid:
        """The table on the page."""
        rows = [[_written(cell) for cell in row] for row in self.rows[:_SHOWN]]
        few = f"the first {_SHOWN:,} of {len(self.rows):,} rows; " if len(self.rows) > _SHOWN else ""
        return Grid(f"{self.title} ({few}{self.name}.csv)", self.columns, rows)


@dataclass(frozen=True)
class Part:
    """What belongs under one heading.

    Attributes:
        title: the heading.
        note: what is shown, in a sentence.
        texts: paragraphs on what was found.
        drawn: figures.
        tables: tables.
        counts: tables of counts, such as confusions.
        cards: thumbnails.
        in_short: sentences for the summary.
        experts: by pool and expert, what the summary says of it, after its name.
    """

    title: str
    note: str = ""
    texts: Sequence[str] = ()
    drawn: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    counts: Sequence[Counts] = ()
    cards: Sequence[Card] = ()
    in_short: Sequence[str] = ()
    experts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def section(self, svgs: Mapping[str, bytes]) -> Section:
        """The part on the page, with its figures by their names."""
        return Section(
            title=self.title,
            note=self.note,
            cards=self.cards,
            texts=self.texts,
            drawings=[each.drawing(svgs[each.name]) for each in self.drawn],
            counts=self.counts,
            grids=[table.grid() for table in self.tables],
        )


def enumerated(names: Sequence[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def number_of(count: int, one: str, many: str = "") -> str:
    """A count with its noun: `1 domain`, `2 domains`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def percent(share: float) -> str:
    """A share in 0..1, with as many digits as it needs: `8.1 %`, `0.034 %`."""
    if not math.isfinite(share):
        return "unknown"
    value = 100 * share
    digits = 1 if value == 0 or abs(value) >= 1 else min(6, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f} %"


def _written(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 10_000 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
