"""Points of figures: groups of domains, means over orders, and their file."""

import csv
from pathlib import Path
from typing import Any

import pytest

from smat.evaluation import compare
from smat.recipes.reproduce.courses import gains_table, over_orders
from smat.recipes.reproduce.points import LEFT_OUT, TRAINED_ON, Point, by_role, by_training, points_of, write_points
from smat.recipes.reproduce.setting import Setting
from smat.statistics import Interval
from tiny_cells import BASE, FIRST, make_cell


def scaled(*trained_on: str, order: int | None = 1) -> Setting:
    """smat, trained on some domains."""
    point: dict[str, Any] = {"method": "smat", "domains": len(trained_on), "order": order, "trained_on": trained_on}
    return Setting(f"smat-on-{'+'.join(trained_on)}", "smat", point=point)


def gain(domain: str) -> float:
    return sum(FIRST[domain]) / 3 - sum(BASE[domain]) / 3


def test_a_domain_is_in_the_group_that_the_setting_gives_it() -> None:
    settings = [Setting("pretrained", "pretrained"), scaled("birds"), scaled("birds", "cars", order=None)]
    accuracies = [BASE, FIRST, FIRST]
    cells = [make_cell(s.name, d, found[d]) for s, found in zip(settings, accuracies, strict=True) for d in BASE]
    comparison = compare(cells, against="pretrained")
    found = {(p.setting, p.group): p for p in points_of(comparison, settings, by_training(settings))}
    part, whole = settings[1].name, settings[2].name
    assert found[part, TRAINED_ON].domains == ("birds",)
    assert found[part, LEFT_OUT].domains == ("cars",)
    assert found[part, "OOD"].domains == ("fashion_mnist",)
    assert found[whole, TRAINED_ON].domains == ("birds", "cars")
    assert (whole, LEFT_OUT) not in found
    for key, domains in [((part, LEFT_OUT), ["cars"]), ((whole, TRAINED_ON), ["birds", "cars"])]:
        point = found[key]
        assert point.gain
        assert point.gain.mean == pytest.approx(sum(map(gain, domains)) / len(domains))
    roles = {(p.setting, p.group): p.domains for p in points_of(comparison, settings, by_role)}
    assert roles[part, "ID"] == roles[whole, "ID"] == ("birds", "cars")
    assert found["pretrained", LEFT_OUT].gain is None


def test_gains_are_those_over_the_frozen_network_only() -> None:
    settings = [Setting("pretrained", "pretrained"), scaled("birds")]
    cells = [make_cell(s.name, d, BASE[d]) for s in settings for d in BASE]
    comparison = compare(cells, against=settings[1].name)
    assert all(point.gain is None for point in points_of(comparison, settings, by_role))
    without = compare([cell for cell in cells if cell.key.method != "pretrained"], against="pretrained")
    assert {point.setting for point in points_of(without, settings, by_role)} == {settings[1].name}


def point(order: int | None, value: float, count: int = 1) -> Point:
    place = {"method": "smat", "domains": count, "order": order, "trained_on": ("birds",)}
    return Point(f"smat {order}", place, TRAINED_ON, ("birds",), Interval(value, 0.1), Interval(value / 2, 0.1))


def test_means_over_orders_have_the_interval_of_the_orders() -> None:
    some, every = over_orders([point(1, 0.2), point(2, 0.4), point(3, 0.9), point(None, 0.6, count=2)])
    assert some.gain
    assert (some.accuracy.mean, some.gain.mean) == (pytest.approx(0.5), pytest.approx(0.25))
    assert some.accuracy.dof == 2
    assert some.accuracy.standard_error == pytest.approx((0.26 / 2 / 3) ** 0.5)
    assert (every.accuracy.mean, every.place["domains"]) == (0.6, 2)
    assert every.accuracy.half_width != every.accuracy.half_width, "all domains are alike in every order"
    table = gains_table([some, every]).splitlines()
    assert table[2] == "| method | training domains | trained on |"
    assert table[-1] == "| smat | 2 | +30.0 |"


def test_points_are_rows_with_what_each_has(tmp_path: Path) -> None:
    frozen = Point("pretrained", {"method": "pretrained"}, "OOD", ("a", "b"), Interval(0.5, 0.0), None)
    with write_points([frozen, point(2, 0.5)], tmp_path / "points.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["setting"], first["order"], first["gain"], first["averaged_over"]) == ("pretrained", "", "", "a; b")
    assert (second["order"], second["domains"], second["trained_on"]) == ("2", "1", "birds")
    assert (float(second["accuracy"]), float(second["gain"])) == (0.5, 0.25)
