"""Figures of accuracies as functions of a number: of training domains, of tasks, of parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from smat.evaluation import percent
from smat.recipes.figure_style import COLUMN, INK, PAGE, SOFT, Look, look, styled
from smat.recipes.reproduce.points import LEFT_OUT, ROLES, TRAINED_ON, Point
from smat.statistics import interval

FROZEN = "pretrained"
_GAIN = "gain over the frozen\nnetwork, points"
_MEAN = "mean"
_CLOSE = 0.16  # of an axis: labels nearer to each other than that stand on lines of their own


def looks_of(points: Sequence[Point]) -> dict[str, Look]:
    """How the curve of each method looks; the frozen network is black, in each figure."""
    methods = list(dict.fromkeys(point.place["method"] for point in points if point.place["method"] != FROZEN))
    return {FROZEN: Look(INK, ":", "*", "")} | {method: look(index) for index, method in enumerate(methods)}


def over_orders(points: Sequence[Point]) -> list[Point]:
    """Means over the orders in which training domains were added, with intervals of the choice of orders.

    All domains together are alike in every order: they have no such interval.
    """
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in points:
        if point.gain:
            groups.setdefault((point.place["method"], point.place["domains"], point.group), []).append(point)
    return [
        Point(
            f"{method}, mean over orders",
            {"method": method, "domains": count, "order": _MEAN},
            group,
            tuple(dict.fromkeys(name for point in members for name in point.domains)),
            interval([point.accuracy.mean for point in members]),
            interval([point.gain.mean for point in members if point.gain]),
        )
        for (method, count, group), members in groups.items()
    ]


def gains_table(points: Sequence[Point]) -> str:
    """A table in Markdown of gains over the frozen network by method and number of training domains, in points.

    Args:
        points: means over orders.
    """
    groups = _groups(points, (TRAINED_ON, LEFT_OUT, ROLES["ood"]))
    found = {(p.place["method"], p.place["domains"], p.group): p.gain for p in points if p.gain}
    rows = [["method", "training domains", *groups], ["---", "---:", *["---:"] * len(groups)]]
    for method, count in dict.fromkeys((method, count) for method, count, _ in found):
        gains = [found.get((method, count, group)) for group in groups]
        rows.append([method, str(count), *(percent(gain, signed=True) if gain else "" for gain in gains)])
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"Gain over the frozen network, points; 95 % intervals over the orders in which domains are added:\n\n{text}"


def draw_scale(points: Sequence[Point]) -> Figure:
    """Draw gains over the frozen network against the number of training domains: each order thin, their mean thick."""
    looks, groups = looks_of(points), _groups(points, (TRAINED_ON, LEFT_OUT, ROLES["ood"]))
    orders = sorted({p.place["order"] for p in points if isinstance(p.place.get("order"), int)})
    with styled():
        figure, panels = _panels(groups, upright=False)
        for group, axes in panels.items():
            for method in [method for method in looks if method != FROZEN]:
                own = [p for p in points if (p.group, p.place["method"]) == (group, method)]
                for order in orders:
                    x, y = _gains([p for p in own if p.place["order"] in (order, None)], "domains")
                    axes.plot(x, y, linewidth=0.5, alpha=0.5, **looks[method].line)
                x, y = _gains([p for p in own if p.place["order"] == _MEAN], "domains")
                axes.plot(x, y, marker=looks[method].marker, label=method, **looks[method].line)
            axes.axhline(0, color=SOFT, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _labelled(figure, panels, "training domains", _GAIN.replace("\n", " "))
    return figure


def draw_overfitting(points: Sequence[Point]) -> Figure:
    """Draw gains over the frozen network against the number of training tasks, with paired 95 % intervals."""
    looks, groups = looks_of(points), _groups(points, tuple(ROLES.values()))
    with styled():
        figure, panels = _panels(groups, upright=True)
        for group, axes in panels.items():
            for method in [method for method in looks if method != FROZEN]:
                own = [p for p in points if (p.group, p.place["method"]) == (group, method)]
                x, y = _gains(own, "tasks")
                width = 100 * np.nan_to_num([p.gain.half_width for p in _sorted(own, "tasks") if p.gain])
                axes.fill_between(x, y - width, y + width, color=looks[method].color, alpha=0.15, linewidth=0)
                axes.plot(x, y, marker=looks[method].marker, label=method, **looks[method].line)
            axes.axhline(0, color=SOFT, linewidth=0.6)
        _labelled(figure, panels, "training tasks", _GAIN)
    return figure


def draw_backbones(points: Sequence[Point]) -> Figure:
    """Draw accuracies against the number of parameters of the backbone, with 95 % intervals over episodes."""
    looks, groups = looks_of(points), _groups(points, tuple(ROLES.values()))
    with styled():
        figure, panels = _panels(groups, upright=True)
        for group, axes in panels.items():
            for method in dict.fromkeys(p.place["method"] for p in points):
                own = _sorted([p for p in points if (p.group, p.place["method"]) == (group, method)], "parameters")
                axes.errorbar(
                    [p.place["parameters"] for p in own],
                    [100 * p.accuracy.mean for p in own],
                    yerr=[100 * np.nan_to_num(p.accuracy.half_width) for p in own],
                    marker=looks[method].marker,
                    markersize=6 if method == FROZEN else None,
                    label=method,
                    elinewidth=0.6,
                    **looks[method].line,
                )
        _name_sizes(panels[groups[-1]], {p.place["parameters"]: p.place["name"] for p in points})
        _labelled(figure, panels, "parameters of the backbone", "accuracy, per cent")
    return figure


def _name_sizes(axes: Axes, names: dict[int, str]) -> None:
    """A logarithmic axis of sizes, with the backbones' names; names of neighbours stand on lines of their own."""
    axes.set_xscale("log")
    sizes = sorted(names)
    low, high = np.log(sizes[0]), np.log(sizes[-1])
    margin = 0.12 * max(high - low, 1.0)
    axes.set_xlim(np.exp(low - margin), np.exp(high + margin))
    labels, lines, before = [], 0, -np.inf
    for size in sizes:
        where = (np.log(size) - low + margin) / (high - low + 2 * margin)
        lines = lines + 2 if where - before < _CLOSE else 0
        labels.append("\n" * lines + f"{names[size]}\n{_amount(size)}")
        before = where
    axes.set_xticks(sizes, labels)
    axes.xaxis.set_minor_locator(NullLocator())


def _amount(size: int) -> str:
    for unit, name in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return str(size)


def _groups(points: Sequence[Point], known: Sequence[str]) -> list[str]:
    """The groups that there are points of."""
    there = {point.group for point in points if point.place["method"] != FROZEN}
    return [group for group in known if group in there]


def _panels(groups: Sequence[str], *, upright: bool) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each group: below one another in a column, or beside one another on a page."""
    size = (COLUMN, 0.5 + 1.5 * len(groups)) if upright else (COLUMN if len(groups) == 1 else PAGE, 2.3)
    figure = Figure(figsize=size)
    shape = (len(groups), 1) if upright else (1, len(groups))
    axes = np.atleast_1d(figure.subplots(*shape, sharex=True)).tolist()
    return figure, dict(zip(groups, axes, strict=True))


def _labelled(figure: Figure, panels: dict[str, Axes], x: str, y: str) -> None:
    """Titles, labels at the outer axes, and one legend for all panels."""
    for group, axes in panels.items():
        grid = axes.get_subplotspec()
        assert grid, "it was made by subplots"
        axes.set(title=group, xlabel=x if grid.is_last_row() else "", ylabel=y if grid.is_first_col() else "")
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))


def _sorted(points: Sequence[Point], name: str) -> list[Point]:
    return sorted(points, key=lambda point: point.place[name])


def _gains(points: Sequence[Point], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and gains in points, from left to right."""
    shown = [point for point in _sorted(points, name) if point.gain]
    return np.array([p.place[name] for p in shown]), np.array([100 * p.gain.mean for p in shown if p.gain])
