"""Figures of `smat reproduce`: what they show, not how."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smat.recipes.reproduce.courses import draw_backbones, draw_overfitting, draw_scale, over_orders
from smat.recipes.reproduce.points import LEFT_OUT, TRAINED_ON, Point
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.specialisation import Found, Specialisation, draw_specialisation
from smat.recipes.reproduce.trade_offs import draw_curves, draw_trade_off, pareto_front, shared_labels
from smat.statistics import Interval

FROZEN = [
    Point("pretrained", {"method": "pretrained"}, group, ("a",), Interval(0.5, 0.01), None) for group in ("ID", "OOD")
]


def point(group: str, value: float, **place: Any) -> Point:
    place = {"method": "smat"} | place
    return Point(str(place), place, group, ("a",), Interval(0.5 + value, 0.01), Interval(value, 0.01))


def curve(axes: Axes, label: str) -> list[tuple[float, float]]:
    """The points of the curve of that name."""
    handles, labels = axes.get_legend_handles_labels()
    found = handles[labels.index(label)]
    line = found if hasattr(found, "get_xydata") else found.lines[0]
    return [(x, pytest.approx(y)) for x, y in line.get_xydata().tolist()]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_points_on_one_another_share_a_label() -> None:
    pixels = np.array([[0.0, 0.0], [100.0, 0.0], [108.0, 5.0], [100.0, 40.0], [116.0, 5.0]])
    found = shared_labels(["a", "b", "c", "d", "e"], pixels / 10, pixels)
    assert [label for label, _ in found] == ["a", "b, c, e", "d"]  # e lies near c, not b
    assert [tuple(place) for _, place in found] == [(0, 0), (10, 0), (10, 4)]


def test_on_the_pareto_front_is_what_nothing_is_better_than() -> None:
    positions = [(1.0, 5.0), (2.0, 5.0), (3.0, 4.0), (2.5, 3.0), (4.0, 1.0), (4.0, 0.5), (3.0, 4.0)]
    front = pareto_front(positions)
    assert [positions[n] for n in front] == [(2.0, 5.0), (3.0, 4.0), (4.0, 1.0)]
    assert pareto_front([]) == []


def test_the_trade_off_has_a_colour_for_each_sparsity_and_a_marker_for_each_number_of_experts() -> None:
    points = [
        point(group, value + tau / 10 + m / 100, tau=tau, experts=m)
        for group, value in (("ID", 0.2), ("OOD", 0.1))
        for tau in (0.0, 0.5, 0.9)
        for m in (4, 8)
    ]
    figure = draw_trade_off(FROZEN + points)
    axes, bar = figure.axes
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "0.5", "0.9"]
    markers = [(container.lines[0].get_marker(), container.lines[0].get_color()) for container in axes.containers]
    assert [marker for marker, _ in markers] == ["*"] + ["o", "s"] * 3
    assert len({color for _, color in markers[1:]}) == 3
    (front,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert front.get_xydata().tolist() == [[pytest.approx(77), pytest.approx(87)]], "one is better than all others"
    assert [text.get_text() for text in figure.legends[0].texts] == ["pretrained", "Pareto front", "M = 4", "M = 8"]


def test_curves_of_a_changed_update_go_through_its_amounts() -> None:
    points = [
        point(group, value * amount, change=change, amount=amount)
        for change in ("scale", "keep")
        for amount in (0.0, 1.0)
        for group, value in (("ID", 0.2), ("OOD", 0.1))
    ]
    (axes,) = draw_curves(FROZEN + points).axes
    assert curve(axes, "smat, update times c") == [(50, 50), (60, 70)]
    assert {text.get_text() for text in axes.texts} == {"0", "1"}


def test_scale_has_a_panel_for_each_group_and_the_mean_over_orders() -> None:
    points = [
        point(group, value * count + order / 100, domains=count, order=order, trained_on=())
        for group, value in ((TRAINED_ON, 0.04), (LEFT_OUT, 0.02), ("OOD", -0.01))
        for count in (1, 2)
        for order in (1, 2)
    ]
    points += [point(group, 0.1, domains=3, order=None, trained_on=()) for group in (TRAINED_ON, "OOD")]
    figure = draw_scale([*FROZEN, *points, *over_orders(points)])
    assert titles(figure) == [TRAINED_ON, LEFT_OUT, "OOD"]
    assert curve(figure.axes[0], "smat") == [(1, 5.5), (2, 9.5), (3, 10)]
    assert curve(figure.axes[1], "smat") == [(1, 3.5), (2, 5.5)]
    orders = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xydata()) == 3]
    assert len(orders) == 3, "two orders, both of which end in all domains, and their mean"
    assert draw_scale([*points[:2], *over_orders(points[:2])]).axes[0].get_title() == TRAINED_ON


def test_overfitting_shows_gains_with_their_intervals() -> None:
    points = [point(group, tasks / 1000, tasks=tasks) for group in ("ID", "OOD") for tasks in (100, 0)]
    figure = draw_overfitting(FROZEN + points)
    assert titles(figure) == ["ID", "OOD"]
    assert curve(figure.axes[1], "smat") == [(0, 0), (100, 10)]
    (band,) = figure.axes[0].collections
    assert band.get_datalim(figure.axes[0].transData).height == pytest.approx(10 + 2 * 1.96, abs=0.01)


def test_backbones_lie_by_their_size_with_their_names() -> None:
    sizes = {"small": 10**6, "near": 11 * 10**5, "large": 10**8}
    points = [
        point(group, 0.1 * number, method=method, name=name, parameters=size)
        for group in ("ID", "OOD")
        for method in ("pretrained", "smat")
        for number, (name, size) in enumerate(sizes.items())
    ]
    figure = draw_backbones(points)
    assert curve(figure.axes[0], "smat") == [(10**6, 50), (11 * 10**5, 60), (10**8, 70)]
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert labels == ["small\n1 M", "\n\nnear\n1.1 M", "large\n100 M"], "names of neighbours are not on one another"


def test_what_experts_do_is_the_mean_over_seeds_and_empty_where_there_is_nothing() -> None:
    def found(tau: float, experts: int, seed: int, overlap: float | None) -> Found:
        setting = Setting("", "smat", point={"method": "smat", "tau": tau, "experts": experts})
        return Found(setting, seed, Specialisation(overlap, None, 0.5, None, None, None))

    some = [found(0.9, 4, 0, 0.2), found(0.9, 4, 1, 0.4), found(0.0, 4, 0, 0.8), found(0.0, 1, 0, None)]
    overlap, entropy, alignment = draw_specialisation(some).axes
    assert curve(overlap, "M = 4") == [(0, 0.8), (1, 0.3)]
    assert curve(overlap, "M = 1") == []
    assert curve(entropy, "M = 1") == [(0, 0.5)]
    assert curve(alignment, "M = 4") == []
    assert [label.get_text() for label in overlap.get_xticklabels()] == ["0", "0.9"]
