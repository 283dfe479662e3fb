"""Episodes of domains with tracks: none of them on both sides, wherever that can be had."""

import json
import pickle
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smat.backbones import ImageFormat
from smat.domains import ImageDomain, open_domain
from smat.domains.pocket import pocket_domains
from smat.episodes import (
    Draw,
    EpisodePlan,
    EpisodeSource,
    FixedSampler,
    Sampler,
    SplitClasses,
    VariableSampler,
    episode_lines,
    read_episodes,
)
from smat.episodes.tracks import draw_apart, most_support, track_rule
from smat.errors import ConfigError, DataError
from smat.rng import numpy_generator
from tracked import write_signs

FORMAT = ImageFormat(8)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=7)


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> ImageDomain:
    """5 classes of 3 tracks of 4 images."""
    return open_domain(write_signs(tmp_path_factory.mktemp("signs") / "signs.parquet", [[4, 4, 4]] * 5))


def source(domain, sampler: Sampler | None = None, **options) -> EpisodeSource:
    return EpisodeSource([domain], "test", sampler or FixedSampler(3, 2, 3), image_format=FORMAT, **options)


def tracks_by_class(domain, plan: EpisodePlan) -> list[tuple[set[int], set[int]]]:
    """Tracks of each class's support and query."""
    track = {row: t for name in plan.classes for row, t in zip(domain.rows(name), domain.tracks(name), strict=True)}
    sides = (plan.support_rows, plan.support_labels), (plan.query_rows, plan.query_labels)
    found = [{(label, track[row]) for row, label in zip(rows, labels, strict=True)} for rows, labels in sides]
    return [tuple({t for of, t in side if of == label} for side in found) for label in range(plan.way)]


@given(SIZES, st.integers(1, 20))
def test_the_largest_support_is_that_of_the_best_choice_of_tracks(sizes: list[int], query: int) -> None:
    choices = (chosen for count in range(len(sizes) + 1) for chosen in combinations(sizes, count))
    best = max((sum(chosen) for chosen in choices if sum(sizes) - sum(chosen) >= query), default=0)
    assert most_support(sizes, query) == best


@given(SIZES, st.data())
def test_both_sides_are_found_whenever_they_can_be(sizes: list[int], data: st.DataObject) -> None:
    feasible = [(most, query) for query in range(1, sum(sizes)) if (most := most_support(sizes, query))]
    if not feasible:
        assert len(sizes) == 1
        return
    most, query = data.draw(st.sampled_from(feasible))
    shot, seed = data.draw(st.integers(1, most)), data.draw(st.integers(0, 2**32))
    tracks = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    support, queries = draw_apart(tracks, shot, query, numpy_generator(seed, "test"))
    again = draw_apart(tracks, shot, query, numpy_generator(seed, "test"))
    assert np.array_equal(np.concatenate(again), np.concatenate([support, queries]))
    assert (len(set(support.tolist())), len(set(queries.tolist()))) == (shot, query)
    assert not set(tracks[support]) & set(tracks[queries])


def test_where_queries_leave_room_the_support_is_a_random_choice_of_images() -> None:
    """Of 6 tracks of 10 images the first 3 images can always be taken: each image and pair is as likely as another."""
    tracks, rng = np.repeat(np.arange(6), 10), np.random.default_rng(0)
    draws = [draw_apart(tracks, 3, 10, rng) for _ in range(1200)]
    counts = np.bincount(np.concatenate([support for support, _ in draws]), minlength=60)
    assert ((counts - 60) ** 2 / 60).sum() < 98.3  # χ² with 59 degrees of freedom: 1 in 1000
    different = np.mean([len(set(tracks[support])) == 3 for support, _ in draws])
    expected = (50 * 40) / (59 * 58)
    assert abs(different - expected) < 4 * (expected * (1 - expected) / 1200) ** 0.5
    queries = np.bincount(np.concatenate([query for _, query in draws]), minlength=60)
    assert ((queries - 200) ** 2 / 200).sum() < 98.3


def test_no_track_is_in_support_and_query(signs: ImageDomain) -> None:
    apart, before = source(signs, seed=2), source(signs, seed=2, tracks="ignore")
    assert (apart.tracks_apart, before.tracks_apart) == (("signs",), ())
    shared = 0
    for n in range(30):
        plan = apart.plan(n)
        assert plan.id == f"signs/test/2/{n}"
        assert all(not support & query for support, query in tracks_by_class(signs, plan))
        assert Counter(plan.support_labels) == dict.fromkeys(range(3), 2)
        assert Counter(plan.query_labels) == dict.fromkeys(range(3), 3)
        for row, label in zip(
            plan.support_rows + plan.query_rows, plan.support_labels + plan.query_labels, strict=True
        ):
            assert row in signs.rows(plan.classes[label])
        assert before.plan(n).classes == plan.classes
        shared += any(support & query for support, query in tracks_by_class(signs, before.plan(n)))
    assert shared > 20
    assert pickle.loads(pickle.dumps(apart)).plan(7) == source(signs, seed=2, tracks="keep-apart").plan(7)


def test_golden_plans(signs: ImageDomain) -> None:
    """Those that ignore tracks are of the version before there were any."""
    ignoring, apart = source(signs, seed=3, tracks="ignore").plan(7), source(signs, seed=3).plan(7)
    assert ignoring.classes == apart.classes == ("c2", "c0", "c1")
    assert ignoring.support_rows == (33, 28, 5, 6, 13, 20)
    assert ignoring.query_rows == (35, 32, 31, 11, 2, 0, 16, 14, 19)
    assert apart.support_rows == (33, 24, 9, 2, 12, 20)
    assert apart.query_rows == (29, 28, 31, 10, 4, 1, 22, 13, 16)
    variable = source(signs, VariableSampler(), seed=3).plan(7)  # the rule of Meta-Dataset, which knows no tracks
    assert variable.support_rows == (8, 0, 12, 56, 29, 41)
    assert variable.query_rows[:12] == (4, 7, 10, 3, 2, 1, 20, 23, 15, 18, 17, 19)


def test_a_domain_without_tracks_has_the_episodes_that_it_had() -> None:
    polygons = next(domain for domain in pocket_domains(image_size=16) if domain.name == "polygons")
    default, ignoring = source(polygons), source(polygons, tracks="ignore")
    assert default.tracks_apart == ()
    assert [default.plan(n) for n in range(5)] == [ignoring.plan(n) for n in range(5)]


def test_classes_with_too_few_tracks_are_named(tmp_path: Path) -> None:
    domain = open_domain(write_signs(tmp_path / "s.parquet", [[4, 4, 4], [9, 3], [12]]))
    message = (
        r"domain 's' has classes with too few tracks for 4 support and 4 query images of different tracks: "
        r"'c1' \(2 tracks of 12 images\), 'c2' \(1 track of 12 images\); lower shot or query, .*--tracks ignore"
    )
    with pytest.raises(DataError, match=message):
        source(domain, FixedSampler(2, 4, 4))
    assert source(domain, FixedSampler(2, 4, 4), tracks="ignore").plan(0).way == 2
    with pytest.raises(DataError, match=r"'c2' \(1 track of 12 images\); add images of other tracks"):
        source(domain, VariableSampler(min_way=2), tracks="keep-apart")


def test_the_tightest_episode_that_there_is(tmp_path: Path) -> None:
    """Of tracks of 6, 2 and 3 images, 5 and 6 can be had in one way only."""
    domain = open_domain(write_signs(tmp_path / "s.parquet", [[6, 2, 3]] * 2))
    for n in range(20):
        sides = tracks_by_class(domain, source(domain, FixedSampler(2, 5, 6)).plan(n))
        assert [(len(support), len(query)) for support, query in sides] == [(2, 1)] * 2
    with pytest.raises(DataError, match="too few tracks for 4 support and 9 query"):
        source(open_domain(write_signs(tmp_path / "t.parquet", [[7, 5, 1]] * 2)), FixedSampler(2, 4, 9))


def test_the_variable_sampler_can_keep_tracks_apart(tmp_path: Path) -> None:
    domain = open_domain(write_signs(tmp_path / "s.parquet", [[8, 2], [2, 2, 2], [1, 1, 9, 9], [5, 5]]))
    apart = source(domain, VariableSampler(min_way=2, max_way=4), tracks="keep-apart")
    for plan in (apart.plan(n) for n in range(40)):
        assert all(support and query and not support & query for support, query in tracks_by_class(domain, plan))
        assert len(set(Counter(plan.query_labels).values())) == 1


class Greedy(Sampler):
    """As many support images as there are, and one query image."""

    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        return Draw((0, 1), tuple(classes.sizes[:2].tolist()), 1)


class Even(Greedy):
    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        return Draw((0, 1), (8, 8), 4)


def test_samplers_of_ones_own_ignore_tracks_unless_they_are_told(signs: ImageDomain) -> None:
    assert source(signs, Even()).tracks_apart == ()
    told = source(signs, Even(), tracks="keep-apart")
    assert all(not support & query for support, query in tracks_by_class(signs, told.plan(0)))
    with pytest.raises(ConfigError, match=r"in different tracks \(otherwise set tracks to ignore\)"):
        source(signs, Greedy(), tracks="keep-apart").plan(0)


def test_episodes_whose_support_is_their_query_ignore_tracks(signs: ImageDomain) -> None:
    joined, before = source(signs, joined=True), source(signs, tracks="ignore")
    assert joined.tracks_apart == ()
    assert joined.plan(0) == before.plan(0)


def test_rules_and_domains_that_cannot_be(signs: ImageDomain) -> None:
    with pytest.raises(ConfigError, match="tracks is 'apart'; choose one of keep-apart, ignore"):
        track_rule("apart", "ignore")

    class Half(ImageDomain):
        def tracks(self, class_name: str) -> np.ndarray | None:
            return None if class_name == "c0" else super().tracks(class_name)

    half = Half(signs._table, "half", signs.splits, flip=False)
    with pytest.raises(ConfigError, match="domain 'half' gives tracks for 4 of its 5 test classes"):
        source(half)


def test_a_file_of_episodes_says_that_tracks_are_apart(signs: ImageDomain, tmp_path: Path) -> None:
    path = tmp_path / "e"
    for rule, header in (("keep-apart", {"tracks": "keep-apart"}), ("ignore", {})):
        drawn = source(signs, tracks=rule)
        path.write_text("".join(episode_lines([drawn], 2)))
        first = json.loads(path.read_text().splitlines()[0])
        assert {key: value for key, value in first.items() if key == "tracks"} == header
        written = read_episodes(path, [signs])
        assert written.tracks == rule
        assert written.plans["signs"] == (drawn.plan(0), drawn.plan(1))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(lines[0]) | {"tracks": "some"}) + "\n" + "".join(lines[1:]))
    with pytest.raises(DataError, match=r"line 1 .*tracks is 'some'; expected 'keep-apart' or 'ignore'"):
        read_episodes(path, [signs])
