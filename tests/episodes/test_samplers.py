"""The Meta-Dataset rule against its own bounds and distributions, worked out here from the rule's text."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smat.episodes import EpisodeShape, FixedSampler, SplitClasses, VariableSampler, sampler_settings
from smat.errors import ConfigError, DataError

class_sizes = st.lists(st.integers(2, 1500), min_size=5, max_size=70).map(np.array)


def classes(sizes, names=None, owner="domain 'zoo'"):
    return SplitClasses(owner, names or [f"c{i}" for i in range(len(sizes))], np.asarray(sizes))


def draws(sampler, sizes, count, seed=0):
    rng = np.random.default_rng(seed)
    return [sampler.draw(classes(sizes), rng) for _ in range(count)]


@settings(deadline=None, max_examples=150)
@given(sizes=class_sizes, seed=st.integers(0, 2**32 - 1))
def test_variable_draws_keep_the_rules_bounds(sizes: np.ndarray, seed: int) -> None:
    draw = VariableSampler().draw(classes(sizes), np.random.default_rng(seed))
    chosen, way = sizes[list(draw.classes)], len(draw.classes)
    assert 5 <= way <= min(50, len(sizes))
    assert len(set(draw.classes)) == way
    assert draw.query == min(10, min(chosen) // 2) >= 1
    assert len(draw.shots) == way
    assert all(1 <= shot <= size - draw.query for shot, size in zip(draw.shots, chosen, strict=True))
    assert sum(draw.shots) <= min(500, sum(min(100, size - draw.query) for size in chosen))


@settings(deadline=None, max_examples=60)
@given(sizes=class_sizes, seed=st.integers(0, 2**32 - 1))
def test_variable_shots_follow_from_the_draws_the_rule_names(sizes: np.ndarray, seed: int) -> None:
    """Without random weights the shots are a function of β alone: some β must explain them."""
    sampler = VariableSampler(min_log_weight=0.0, max_log_weight=0.0)
    draw = sampler.draw(classes(sizes), np.random.default_rng(seed))
    chosen = sizes[list(draw.classes)].astype(object)
    way, left = len(chosen), [int(size) - draw.query for size in chosen]
    totals = range(way, min(500, sum(min(100, n) for n in left)) + 1)
    total = int(sum(chosen))

    def shots(support: int) -> tuple[int, ...]:
        pairs = zip(chosen, left, strict=True)
        return tuple(min(int(n) * (support - way) // total + 1, most) for n, most in pairs)

    assert draw.shots in {shots(support) for support in totals}


def test_ways_are_uniform() -> None:
    ways = np.array([len(d.classes) for d in draws(VariableSampler(), [30] * 14, 4000)])
    counts = np.bincount(ways, minlength=15)[5:]
    assert len(counts) == 10
    expected = 400
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # χ² with 9 degrees of freedom: 1 in 1000


def test_ways_end_at_fifty() -> None:
    ways = {len(d.classes) for d in draws(VariableSampler(), [30] * 400, 3000)}
    assert min(ways) == 5
    assert max(ways) == 50


def test_classes_are_uniform() -> None:
    sampler = VariableSampler(max_way=5)
    counts = np.bincount([c for d in draws(sampler, [10, 1000] * 10, 2000) for c in d.classes], minlength=20)
    expected = 2000 * 5 / 20
    # Within an episode classes exclude each other: the sum is smaller than χ²'s, and the bound still holds.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # χ² with 19 degrees of freedom: 1 in 1000


def test_equal_classes_without_weights_share_a_uniform_number() -> None:
    """n_c all equal and a_c = 0: every class gets S/W = ⌈β·m⌉, m = n - q, which is uniform on 1..m."""
    sampler = VariableSampler(max_way=7, max_support=10_000, min_log_weight=0.0, max_log_weight=0.0)
    found = draws(sampler, [30] * 7, 4000)
    assert all(len(set(d.shots)) == 1 for d in found)
    counts = np.bincount([d.shots[0] for d in found], minlength=21)[1:]
    assert len(counts) == 20  # 30 images less 10 queries
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # 19 degrees of freedom


def test_classes_count_for_a_hundred_at_most_in_the_total() -> None:
    sampler = VariableSampler(max_way=5, max_support=10_000, min_log_weight=0.0, max_log_weight=0.0)
    assert max(d.shots[0] for d in draws(sampler, [5000] * 5, 2000)) == 100


def test_the_support_ends_at_five_hundred_and_gets_there() -> None:
    totals = np.array([sum(d.shots) for d in draws(VariableSampler(), [1000] * 50, 1000)])
    assert totals.max() <= 500
    # S - W is handed out rounded down, class by class, so at most W images of S are lost.
    assert totals.max() > 450


def test_weights_are_log_uniform_between_a_half_and_two() -> None:
    """Two classes of one size: the log of their shots' ratio is the difference of two U(ln ½, ln 2)."""
    sampler = VariableSampler(min_way=2, max_way=2, max_support=10**7, max_support_per_class=10**6)
    big = [d for d in draws(sampler, [10**7] * 2, 3000) if min(d.shots) > 2000]
    ratios = np.log([d.shots[0] / d.shots[1] for d in big])
    width = 2 * math.log(2)
    assert np.abs(ratios).max() <= width + 1e-3
    assert np.abs(ratios).max() > 0.9 * width
    assert abs(ratios.mean()) < 4 * width / 6**0.5 / len(ratios) ** 0.5
    assert ratios.std() == pytest.approx(width / 6**0.5, rel=0.06)  # of a triangular distribution on ±width


def test_larger_classes_get_more_in_proportion() -> None:
    sampler = VariableSampler(min_way=2, max_way=2, max_support=10**6, max_support_per_class=10**5)
    found = [d for d in draws(sampler, [10**6, 3 * 10**6], 3000) if min(d.shots) > 200]
    by_class = np.array([np.array(d.shots)[np.argsort(d.classes)] for d in found])
    assert np.log(by_class[:, 1] / by_class[:, 0]).mean() == pytest.approx(math.log(3), abs=0.05)


def test_queries_are_half_of_the_smallest_class() -> None:
    assert {d.query for d in draws(VariableSampler(), [7, 100, 100, 100, 100], 20)} == {3}
    assert {d.query for d in draws(VariableSampler(), [20] * 5, 20)} == {10}
    assert {d.query for d in draws(VariableSampler(max_query=4), [20] * 5, 20)} == {4}


def test_fixed_draws() -> None:
    found = draws(FixedSampler(way=3, shot=2, query=4), [6] * 9, 1800)
    assert all(len(set(d.classes)) == 3 and d.shots == (2, 2, 2) and d.query == 4 for d in found)
    for place in range(3):  # any class may get any label
        counts = np.bincount([d.classes[place] for d in found], minlength=9)
        assert ((counts - 200) ** 2 / 200).sum() < 26.1  # χ² with 8 degrees of freedom: 1 in 1000


def test_too_few_classes_say_what_to_do() -> None:
    dogs = classes([60] * 9, owner="domain 'dogs'")
    with pytest.raises(DataError) as error:
        FixedSampler(way=10).check(dogs)
    assert str(error.value) == (
        "domain 'dogs' has 9 classes; 10-way episodes need at least 10: lower way, or leave the domain out"
    )
    with pytest.raises(DataError, match=r"4 classes; variable .* at least 5: .*VariableSampler with a lower min_way"):
        VariableSampler().check(classes([60] * 4))
    VariableSampler().check(dogs)


def test_too_few_images_name_the_classes_and_counts() -> None:
    zoo = classes([20, 3, 19], ["ant", "bee", "cat"])
    with pytest.raises(DataError, match=r"'bee' \(3\), 'cat' \(19\); lower shot or query") as error:
        FixedSampler(way=2).check(zoo)
    assert "'ant'" not in str(error.value)
    with pytest.raises(DataError, match=r"'b' \(1\)"):
        VariableSampler(min_way=2).check(classes([2, 1], ["a", "b"]))


@pytest.mark.parametrize(
    ("kind", "settings", "field"),
    [
        (FixedSampler, {"way": 1}, "way"),
        (FixedSampler, {"shot": 0}, "shot"),
        (FixedSampler, {"query": 0}, "query"),
        (VariableSampler, {"min_way": 1}, "min_way"),
        (VariableSampler, {"max_way": 4}, "max_way"),
        (VariableSampler, {"max_support": 49}, "max_support"),
        (VariableSampler, {"max_query": 0}, "max_query"),
        (VariableSampler, {"min_log_weight": 1.0}, "min_log_weight"),
    ],
)
def test_settings_that_cannot_work(kind, settings: dict, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} is"):
        kind(**settings)


def test_settings_for_records_make_the_same_sampler_again() -> None:
    for sampler in (FixedSampler(3, 2, 4), VariableSampler(min_way=2, max_way=3, hierarchy=False)):
        settings = sampler_settings(sampler)
        assert settings.pop("name") == type(sampler).__name__
        assert type(sampler)(**settings) == sampler


def test_a_shape_builds_its_sampler() -> None:
    assert EpisodeShape("fixed", 3, 2, 4).build_sampler() == FixedSampler(3, 2, 4)
    assert EpisodeShape("variable", 3, 2, 4, hierarchy=False).build_sampler() == VariableSampler(hierarchy=False)
