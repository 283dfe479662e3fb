"""What several figures have in common: panels side by side, one per pool, and marks of experts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from smat.recipes.figure_style import COLUMN, INK, PAGE, SOFT, look

TOLD_APART = 8
"""Experts that a figure tells apart, at most; of more it shows the range."""

_LETTERS, _HANDLE = 18, 9  # letters of a legend in an inch, and what the mark before a label takes of them


def panels(
    titles: Sequence[str], height: float, *, rows: int = 1, sharex: bool = False, sharey: bool = True
) -> tuple[Figure, np.ndarray]:
    """A figure of one panel per pool next to each other, `[rows, pools]`; one pool alone needs no title.

    Args:
        titles: names of the pools.
        height: height of the figure in inches.
        rows: number of panels below each other.
        sharex: whether all have the same range of x.
        sharey: whether those next to each other have the same range of y.
    """
    figure = Figure(figsize=(PAGE if len(titles) > 1 else COLUMN, height))
    grid = figure.subplots(rows, len(titles), squeeze=False, sharex=sharex, sharey="row" if sharey else False)
    for axes, title in zip(grid[0], titles, strict=True):
        if len(titles) > 1:
            axes.set_title(title)
    return figure, grid


def draw_experts(axes: Axes, places: np.ndarray, values: np.ndarray, *, across: bool = False) -> None:
    """Draw a number of each expert at several places, `[experts, places]`: lines, or with `across` marks on rows."""
    if len(values) > TOLD_APART:
        _draw_range(axes, places, values, across)
        return
    for expert, row in enumerate(values):
        own, label = look(expert), f"expert {expert}" if len(values) > 1 else "the expert"
        if across:
            axes.plot(row, places, own.marker, color=own.color, label=label, markeredgewidth=0.4, markeredgecolor=INK)
        else:
            axes.plot(places, row, marker=own.marker, label=label, **own.line)


def _draw_range(axes: Axes, places: np.ndarray, values: np.ndarray, across: bool) -> None:
    middle, low, high = np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
    label = f"median and range of {len(values)} experts"
    errors = np.stack([middle - low, high - middle])
    if across:
        axes.errorbar(middle, places, xerr=errors, fmt="o", color=look(0).color, label=label)
    else:
        axes.errorbar(places, middle, yerr=errors, fmt="o-", color=look(0).color, label=label, elinewidth=0.7)


def in_percent(axis: Axis, ticks: int = 5) -> None:
    """Show shares in 0..1 as numbers per cent, which the label says, at a few places."""
    axis.set_major_locator(MaxNLocator(ticks, steps=(1, 2, 5, 10)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def from_zero(axes: Axes) -> None:
    """Let y begin at 0; after everything is drawn, also in panels that share it."""
    axes.set_ylim(0, 1.04 * axes.get_ylim()[1])


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows at 0, 1, ... from top to bottom, with room for marks in the first and the last."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def legend_below(figure: Figure, panels: np.ndarray) -> None:
    """One legend of what is drawn in panels, below all of them, in as many columns as there is room for."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if found:
        columns = int(_LETTERS * figure.get_figwidth() / (max(map(len, found)) + _HANDLE))
        place = "outside lower center"
        figure.legend(list(found.values()), list(found), loc=place, ncols=max(1, min(columns, len(found))))


def say_empty(axes: Axes, why: str) -> None:
    """Write why a panel has nothing to show."""
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color=SOFT)
