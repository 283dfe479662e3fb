"""Figures of ID against OOD accuracy."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from smat.recipes.figure_style import COLUMN, INK, SOFT, look, styled
from smat.recipes.reproduce.courses import FROZEN
from smat.recipes.reproduce.points import ROLES, Point

_CLOSE = 14  # pixels
_CHANGES = {"scale": "update times c", "keep": "largest share c of the update"}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_FILLS = ("full", "none", "left", "bottom")
_PALEST = 0.9  # of the colour map: paler is lost on white


class Pair(NamedTuple):
    """A setting in such a figure, in per cent."""

    place: dict[str, Any]
    ood: float
    id: float
    ood_width: float
    id_width: float

    def draw(self, axes: Axes, **style: Any) -> None:
        """Draw it with its 95 % intervals over episodes."""
        bars = {"xerr": np.nan_to_num(self.ood_width), "yerr": np.nan_to_num(self.id_width)}
        drawn = axes.errorbar(self.ood, self.id, **bars, linestyle="", elinewidth=0.5, **style)
        for bar in drawn.lines[2]:
            bar.set_alpha(0.35)


def pairs_of(points: Sequence[Point]) -> Iterator[Pair]:
    """The settings that have both accuracies."""
    found = {(point.setting, point.group): point for point in points}
    for name in dict.fromkeys(point.setting for point in points):
        one, other = (found.get((name, ROLES[role])) for role in ("ood", "id"))
        if one and other:
            ood, own = one.accuracy, other.accuracy
            yield Pair(one.place, *(100 * x for x in (ood.mean, own.mean, ood.half_width, own.half_width)))


def pareto_front(positions: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the positions that no other is better than, by the first number upwards.

    One is better than another if neither of its numbers is smaller, and one is larger.
    """
    order = sorted(range(len(positions)), key=lambda n: positions[n], reverse=True)
    front: list[int] = []
    for n in order:
        if not front or positions[n][1] > positions[front[-1]][1]:
            front.append(n)
    return front[::-1]


def draw_trade_off(points: Sequence[Point]) -> Figure:
    """Draw ID against OOD accuracy of each target sparsity (colour) and number of experts (marker)."""
    pairs = list(pairs_of(points))
    swept = [pair for pair in pairs if "tau" in pair.place]
    taus, experts, methods = (list(_values(swept, name)) for name in ("tau", "experts", "method"))
    colours = [colormaps["cividis"](x) for x in np.linspace(0, _PALEST, len(taus))]
    with styled():
        figure = Figure(figsize=(COLUMN, 3.1))
        axes = figure.subplots()
        front = [pairs[n] for n in pareto_front([(pair.ood, pair.id) for pair in pairs])]
        axes.plot([p.ood for p in front], [p.id for p in front], color=SOFT, linestyle="--", linewidth=0.8, zorder=1)
        for pair in pairs:
            if pair.place["method"] == FROZEN:
                pair.draw(axes, marker="*", markersize=9, color=INK)
                continue
            marker = _cycled(_MARKERS, experts.index(pair.place["experts"]))
            fill = _cycled(_FILLS, methods.index(pair.place["method"]))
            colour = colours[taus.index(pair.place["tau"])]
            pair.draw(axes, marker=marker, fillstyle=fill, color=colour, markersize=4.5)
        _label_axes(axes)
        _key(figure, axes, experts, methods)
        norm = BoundaryNorm(np.arange(len(taus) + 1) - 0.5, max(len(taus), 1))
        bar = figure.colorbar(ScalarMappable(norm, ListedColormap(colours)), ax=axes, ticks=range(len(taus)))
        bar.ax.set_yticklabels([f"{tau:g}" for tau in taus])
        bar.ax.tick_params(length=0)
        bar.set_label("target sparsity τ")
    return figure


def _key(figure: Figure, axes: Axes, experts: Sequence[int], methods: Sequence[str]) -> None:
    """The legend of markers and lines, above the axes."""
    plain = {"linestyle": "", "color": SOFT, "markersize": 4.5}
    keys = [(Line2D([], [], marker="*", linestyle="", color=INK, markersize=8), FROZEN)]
    keys += [(Line2D([], [], color=SOFT, linestyle="--", linewidth=0.8), "Pareto front")]
    keys += [(Line2D([], [], marker=_cycled(_MARKERS, i), **plain), f"M = {n}") for i, n in enumerate(experts)]
    if len(methods) > 1:
        fills = (_cycled(_FILLS, index) for index in range(len(methods)))
        keys += [
            (Line2D([], [], marker="o", fillstyle=fill, **plain), method)
            for fill, method in zip(fills, methods, strict=True)
        ]
    figure.legend(*zip(*keys, strict=True), loc="outside upper center", ncols=3, handlelength=1.6)


def draw_curves(points: Sequence[Point]) -> Figure:
    """Draw ID against OOD accuracy, one curve per method and way in which its update is changed."""
    pairs = list(pairs_of(points))
    changed = [pair for pair in pairs if "change" in pair.place]
    curves = list(dict.fromkeys((pair.place["method"], pair.place["change"]) for pair in changed))
    with styled():
        figure = Figure(figsize=(COLUMN, 3.1))
        axes = figure.subplots()
        labelled = []
        for index, (method, change) in enumerate(curves):
            own = [pair for pair in changed if (pair.place["method"], pair.place["change"]) == (method, change)]
            style = look(index)
            axes.plot([p.ood for p in own], [p.id for p in own], label=f"{method}, {_CHANGES[change]}", **style.line)
            for pair in own:
                pair.draw(axes, marker=style.marker, color=style.color)
            positions = np.array([(pair.ood, pair.id) for pair in own])
            labelled.append(([f"{pair.place['amount']:g}" for pair in own], positions, style.color))
        for pair in (pair for pair in pairs if pair.place["method"] == FROZEN):
            pair.draw(axes, marker="*", markersize=9, color=INK, label=FROZEN)
        _label_axes(axes)
        figure.legend(loc="outside upper center", ncols=1)
        figure.draw_without_rendering()  # only now is known where on the picture a point lies
        for number, (labels, positions, colour) in enumerate(labelled):
            x, y, ha, va = (-4, -2, "right", "top") if number % 2 else (4, 2, "left", "baseline")
            for label, position in shared_labels(labels, positions, axes.transData.transform(positions)):
                axes.annotate(
                    label,
                    (position[0], position[1]),
                    xytext=(x, y),
                    textcoords="offset points",
                    ha=ha,
                    va=va,
                    fontsize=6,
                    color=colour,
                )
    return figure


def _label_axes(axes: Axes) -> None:
    axes.set_xlabel("accuracy OOD, per cent")
    axes.set_ylabel("accuracy ID, per cent")


def _cycled(values: Sequence[Any], index: int) -> Any:
    return values[index % len(values)]


def _values(pairs: Sequence[Pair], name: str) -> dict[Any, None]:
    return dict.fromkeys(pair.place[name] for pair in pairs)


def shared_labels(labels: Sequence[str], positions: np.ndarray, pixels: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Labels and positions: one label for points that are so close to each other that theirs would overlap."""
    groups: list[list[int]] = []
    for n in range(len(labels)):
        near = (group for group in groups if np.abs(pixels[group] - pixels[n]).max(axis=1).min() < _CLOSE)
        group = next(near, None)
        if group is None:
            groups.append([n])
        else:
            group.append(n)
    return [(", ".join(labels[n] for n in group), positions[group[0]]) for group in groups]
