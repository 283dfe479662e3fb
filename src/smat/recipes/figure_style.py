"""How the project's figures look, and their files: for a paper's column, the colour-blind, and printing in grey."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from smat.files import write_whole

COLUMN, PAGE = 3.3, 6.9
"""Widths of figures in inches: one column of a paper, and two."""

FORMATS = ("png", "svg", "pdf")

# Okabe & Ito (2008), whose colours those with any colour vision tell apart; yellow is last, since it is pale on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "++++")

INK, SOFT, PALE = "#18181b", "#71717a", "#d4d4d8"
HEAT = LinearSegmentedColormap.from_list("amounts", colormaps["Blues"](np.linspace(0.08, 1, 64)))
"""The colour map of amounts: dark is much, in grey too, and even nothing is told from an empty cell."""

_SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.constrained_layout.use": True,
    "font.size": 7.5,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "svg.hashsalt": "smat",
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}
_UNDATED: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def styled() -> Iterator[None]:
    """Within the block, or a function that it decorates, figures are made in the style, not in the user's own."""
    with matplotlib.style.context(_SETTINGS, after_reset=True):
        yield


@dataclass(frozen=True)
class Look:
    """What tells one series from another: colour, and beside it what remains in grey."""

    color: str
    linestyle: Any
    marker: str
    hatch: str

    @property
    def line(self) -> dict[str, Any]:
        """For `Axes.plot`."""
        return {"color": self.color, "linestyle": self.linestyle}

    @property
    def bar(self) -> dict[str, Any]:
        """For `Axes.bar`."""
        return {"facecolor": self.color, "hatch": self.hatch, "edgecolor": "white", "linewidth": 0.4}


def look(index: int) -> Look:
    """The look of the series of an index, from 0 on: no two of the first 88 are alike."""

    def of(cycle: Sequence[Any]) -> Any:
        return cycle[index % len(cycle)]

    return Look(of(COLOURS), of(_LINES), of(_MARKERS), of(_HATCHES))


def write_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, the same bytes each time.

    Args:
        figure: made within `styled`.
        path: file without its ending.

    Returns:
        The files.
    """
    files = [path.with_name(f"{path.name}.{kind}") for kind in FORMATS]
    for file, kind in zip(files, FORMATS, strict=True):
        write_whole(file, lambda to, kind=kind: _save(figure, to, kind), keep=True)
    return files


def _save(figure: Figure, to: Path, kind: str) -> None:
    with styled():
        figure.savefig(to, format=kind, metadata=_UNDATED[kind])


def heat_map(
    axes: Axes,
    values: Sequence[Sequence[float]] | np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    form: str = "{:z.2f}",
    top: float | None = None,
    bottom: float = 0.0,
    numbers: bool = True,
) -> None:
    """Draw a table of amounts as colours, with the numbers in the cells where there is room, or else a scale.

    Args:
        axes: where.
        values: `[rows, columns]`; NaN is left empty.
        rows: names of the rows.
        columns: names of the columns; long ones stand upright.
        label: what the amounts are, beside their scale; empty: no scale, where a figure has it elsewhere.
        form: how a number is written.
        top: the amount of the darkest colour; by default the largest.
        bottom: the amount of the lightest.
        numbers: whether the cells have their numbers, where there are at most 12 columns.
    """
    amounts = np.asarray(values, dtype=float)
    top = float(np.nanmax(amounts, initial=bottom)) if top is None else top
    image = axes.pcolormesh(amounts, cmap=HEAT, vmin=bottom, vmax=top, edgecolors="white", linewidth=0.4)
    axes.set_xticks([x + 0.5 for x in range(len(columns))], columns)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], rows)
    axes.set_ylim(len(rows), 0)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if max(map(len, columns), default=0) * len(columns) > 34:
        axes.tick_params("x", labelrotation=90)
    numbered = numbers and len(columns) <= 12
    if numbered:
        for y, x in np.argwhere(np.isfinite(amounts)):
            ink = "white" if amounts[y, x] - bottom > 0.55 * (top - bottom) else INK
            text = form.format(amounts[y, x])
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=6, color=ink)
    if numbered or not label:
        return
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.06, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)
