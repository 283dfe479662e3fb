"""Comparisons, against closed forms."""

import math
from dataclasses import replace

import pytest

from smat.errors import DataError
from smat.evaluation import Cell, Comparison, compare, role_lines
from smat.evaluation.tables import comparison_markdown
from smat.statistics import average, interval, paired_difference
from tiny_cells import BASE, make_cell, two_methods


def comparison(**more: object) -> Comparison:
    return compare(two_methods(), **({"against": "pretrained", "title": "a_title"} | more))  # type: ignore[arg-type]


def test_a_domain_is_averaged_over_seeds_episode_by_episode() -> None:
    found = comparison()
    assert [line.name for line in found.lines] == ["cars", "birds", "fashion_mnist"]  # ID first
    assert [line.episodes for line in [*found.lines, *found.averages]] == [3, 3, 3, 6, 9]
    birds = found.lines[1].entries
    episodes = [0.3, 0.5, 0.8]
    assert birds["smat"].accuracy.mean == pytest.approx(interval(episodes).mean)
    assert birds["smat"].accuracy.half_width == pytest.approx(interval(episodes).half_width)
    expected = paired_difference(episodes, BASE["birds"])
    assert birds["smat"].difference is not None
    assert birds["smat"].difference.half_width == pytest.approx(expected.half_width)
    assert birds["smat"].spread == pytest.approx((0.6 - 1.4 / 3) / math.sqrt(2))  # of two values
    assert birds["pretrained"].difference is None
    assert birds["pretrained"].spread is None


def test_averages_count_domains_alike_and_spread_is_that_of_the_seeds_averages() -> None:
    found = comparison()
    mean = found.averages[0]
    assert (mean.name, mean.role) == ("ID average", "id")
    smat = mean.entries["smat"]
    parts = [line.entries["smat"].accuracy for line in found.lines[:2]]
    assert smat.accuracy == average(parts)
    seeds = [(0.6 + 0.6) / 2, (1.4 / 3 + 0.8) / 2]
    assert smat.by_seed == pytest.approx(seeds)
    assert smat.spread == pytest.approx(abs(seeds[0] - seeds[1]) / math.sqrt(2))
    names = {"id": "ID average", "ood": "fashion_mnist", "all": "ID+OOD average"}
    assert {role: line.name for role, line in role_lines(found).items()} == names


def test_a_difference_is_sure_once_it_is_for_all_domains_together() -> None:
    close = {name: [a + 0.1 + 0.01 * k for k, a in enumerate(BASE[name])] for name in BASE}
    cells = [make_cell("pretrained", n, BASE[n]) for n in BASE] + [make_cell("smat", n, close[n]) for n in BASE]
    found = compare(cells, against="pretrained")
    entries = [line.entries["smat"] for line in found.lines]
    alone = entries[0].difference.p_value  # type: ignore[union-attr]
    assert [entry.p_value for entry in entries] == pytest.approx([3 * alone] * 3)
    assert [line.entries["pretrained"].p_value for line in found.lines] == [None] * 3
    assert found.averages[0].entries["smat"].p_value is None  # no claim about a domain
    assert "+11.0 ± 2.5*" in comparison_markdown(found)
    assert "* not 0" not in comparison_markdown(comparison())  # nothing is sure there


def test_ranks_are_means_over_domains_and_ties_share_theirs() -> None:
    assert comparison().ranks == {"pretrained": pytest.approx(5 / 3), "smat": pytest.approx(4 / 3)}
    tied = compare([make_cell(m, "birds", [0.5]) for m in "ab"] + [make_cell("c", "birds", [0.1])])
    assert tied.ranks == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert tied.lines[0].best == ["a", "b"]


def test_results_of_different_episodes_are_not_compared() -> None:
    for few in ([0.1], [0.1] * 4):
        with pytest.raises(DataError, match="'cars' are not of the same episodes"):
            compare([*two_methods(), *(make_cell("pmf", name, few) for name in BASE)])
    with pytest.raises(DataError, match="smat: not the same training seeds"):
        compare([*two_methods(), make_cell("smat", "cars", [0.1] * 3, seed=2)])
    with pytest.raises(DataError, match="b: not the same"):
        compare([make_cell("a", "birds", [1]), make_cell("a", "cars", [1]), make_cell("b", "cars", [1])])
    with pytest.raises(DataError, match="no results"):
        compare([])


def test_the_average_of_id_and_ood_counts_every_domain_alike() -> None:
    found = comparison()
    overall = found.averages[-1]
    assert (overall.name, overall.role, overall.episodes) == ("ID+OOD average", "all", 9)
    for method, entry in overall.entries.items():
        parts = [line.entries[method] for line in found.lines]
        assert entry.accuracy == average([part.accuracy for part in parts])
        assert entry.by_seed == pytest.approx([sum(seed) / 3 for seed in zip(*(p.by_seed for p in parts), strict=True)])
    differences = [line.entries["smat"].difference for line in found.lines]
    assert overall.entries["smat"].difference == average([difference for difference in differences if difference])
    ids = compare([cell for cell in two_methods() if cell.role == "id"])
    assert [line.name for line in ids.averages] == ["ID average"], "there is nothing to average ID with"


def tuned(method: str, adapt: str, shift: float) -> list[Cell]:
    cells = [make_cell(method, name, [a / 2 + shift for a in BASE[name]]) for name in BASE]
    return [replace(cell, key=replace(cell.key, adapt=adapt)) for cell in cells]


def test_each_kind_of_fine_tuning_has_columns_with_differences_among_themselves() -> None:
    plain = tuned("pretrained", "none", 0.0) + tuned("knn", "none", 0.1) + tuned("smat", "none", 0.2)
    full = tuned("pretrained", "full", 0.3) + tuned("smat", "full", 0.4)
    found = compare(plain + full, against="pretrained", paper={"birds": {"smat": 0.8, "smat + full": 0.9, "pmf": 0.1}})
    assert found.methods == ["pretrained", "knn", "smat", "pretrained + full", "smat + full"]
    assert found.baselines == {"knn": "pretrained", "smat": "pretrained", "smat + full": "pretrained + full"}
    assert found.baseline == "pretrained with the same fine-tuning"
    for line in [*found.lines, *found.averages]:
        means = {m: entry.difference and entry.difference.mean for m, entry in line.entries.items()}
        assert means == {
            "pretrained": None,
            "knn": pytest.approx(0.1),
            "smat": pytest.approx(0.2),
            "pretrained + full": None,
            "smat + full": pytest.approx(0.1),
        }
    assert found.paper == {"birds": {"smat": 0.8, "smat + full": 0.9}}

    alone = compare(full, against="pretrained", paper={"birds": {"smat": 0.8, "smat + full": 0.9}})
    assert (alone.methods, alone.baseline) == (["pretrained", "smat"], "pretrained"), "one kind needs no name"
    assert alone.paper == {"birds": {"smat": 0.9}}


def test_without_the_method_compared_against_a_kind_has_no_differences() -> None:
    found = compare(
        tuned("smat", "none", 0.2) + tuned("pretrained", "none", 0.1) + tuned("smat", "gates", 0.3),
        against="pretrained",
    )
    assert found.baselines == {"smat": "pretrained"}
