"""Meta-Dataset's rule with its hierarchies: the sampler against distributions that are worked out here from the text.

Triantafillou et al. (2020), section 3.2: an episode of Omniglot draws an alphabet and then classes of it; one of ILSVRC
draws a node of the graph that spans 5 to 392 leaves, and takes these leaves, or a random 50 of them; then query images,
support images in all, and support images by class are drawn as for any other source.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import stats

from smat.backbones import ImageFormat
from smat.domains import Domain
from smat.domains.hierarchy import ClassGroups, Hierarchy
from smat.episodes import EpisodeSource, FixedSampler, Sampler, SplitClasses, VariableSampler
from smat.errors import ConfigError, DataError
from smat.rng import numpy_generator

UNLIKELY = 1e-4  # a right sampler's test statistic is more extreme than that once in 10,000 seeds


def groups_of(kind: str, *members: Sequence[int]) -> ClassGroups:
    return ClassGroups(kind, tuple(np.array(m, dtype=np.int64) for m in members))  # type: ignore[arg-type]


def classes(sizes: Sequence[int], groups: ClassGroups | None = None, owner: str = "domain 'scripts'") -> SplitClasses:
    return SplitClasses(owner, [f"c{i}" for i in range(len(sizes))], np.array(sizes), groups)


def draws(sampler: Sampler, sizes: Sequence[int], groups: ClassGroups | None, count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [sampler.draw(classes(sizes, groups), rng) for _ in range(count)]


def assert_distributed(found: Sequence[object], expected: dict[object, Fraction]) -> None:
    """χ² of the counts, with rare values put together, against probabilities."""
    assert sum(expected.values()) == 1
    counts = Counter(found)
    assert set(counts) <= set(expected), f"impossible: {set(counts) - set(expected)}"
    common = [value for value, share in expected.items() if share * len(found) >= 10]
    observed = [counts[value] for value in common]
    shares = [float(expected[value]) for value in common]
    if len(common) < len(expected):
        observed.append(len(found) - sum(observed))
        shares.append(1 - sum(shares))
    assert len(observed) > 1
    assert stats.chisquare(observed, np.array(shares) * len(found)).pvalue > UNLIKELY


# --- exact: every case of small sets enumerated ------------------------------------------------------------------


def class_sets(sizes: Sequence[int], groups: ClassGroups | None, sampler: VariableSampler) -> dict:
    """Probability of every set of classes, from the text."""
    found: dict[frozenset[int], Fraction] = Counter()  # type: ignore[assignment]
    if groups is None:
        families = [list(range(len(sizes)))]
    else:
        most = sampler.max_span if groups.kind == "graph" else math.inf
        families = [m.tolist() for m in groups.members if sampler.min_way <= len(m) <= most]
    for family in families:
        largest = min(sampler.max_way, len(family))
        ways = [largest] if groups and groups.kind == "graph" else range(sampler.min_way, largest + 1)
        for way in ways:
            for chosen in combinations(family, way):
                share = Fraction(1, len(families) * len(ways) * math.comb(len(family), way))
                found[frozenset(chosen)] += share
    return found


def shot_sets(sizes: Sequence[int], groups: ClassGroups | None, sampler: VariableSampler) -> dict:
    """Probability of every set of (class, shots), where all a_c are 0: the shots are then a function of β alone."""
    found: dict[frozenset[tuple[int, int]], Fraction] = Counter()  # type: ignore[assignment]
    for classes, share in class_sets(sizes, groups, sampler).items():
        order = sorted(classes)
        query = min(sampler.max_query, min(sizes[c] for c in order) // 2)
        left = {c: sizes[c] - query for c in order}
        most = {c: min(sampler.max_support_per_class, left[c]) for c in order}
        # ⌈βm⌉ changes where β is a multiple of 1/m: between two neighbours of all these the support is the same.
        steps = sorted({Fraction(k, m) for m in most.values() for k in range(m + 1)})
        for low, high in pairwise(steps):
            support = min(sampler.max_support, sum(math.ceil(high * m) for m in most.values()))
            rest, total = support - len(order), sum(sizes[c] for c in order)
            shots = {c: min(math.floor(Fraction(sizes[c], total) * rest) + 1, left[c]) for c in order}
            found[frozenset(shots.items())] += share * (high - low)
    return found


SIZES = [12, 3, 20, 7, 9, 5, 14, 8]
SPECS = {
    "flat": None,
    "groups": groups_of("groups", [0, 1, 2, 3], [4, 5], [6, 7, 3], [5]),
    "graph": groups_of("graph", [0, 1, 2, 3], [4, 5], [0, 1, 2, 3, 4, 5, 6], [4, 5], [2, 6], range(8), [1]),
}
SMALL = {"min_way": 2, "max_way": 3, "max_query": 4, "max_support": 30, "max_support_per_class": 10, "max_span": 7}


@pytest.mark.parametrize("spec", SPECS)
def test_classes_are_distributed_as_the_text_says(spec: str) -> None:
    sampler = VariableSampler(**SMALL)
    found = draws(sampler, SIZES, SPECS[spec], 4000)
    assert_distributed([frozenset(d.classes) for d in found], class_sets(SIZES, SPECS[spec], sampler))


@pytest.mark.parametrize("spec", SPECS)
def test_shots_are_distributed_as_the_text_says(spec: str) -> None:
    sampler = VariableSampler(**SMALL, min_log_weight=0.0, max_log_weight=0.0)
    found = draws(sampler, SIZES, SPECS[spec], 4000, seed=1)
    shots = [frozenset(zip(d.classes, d.shots, strict=True)) for d in found]
    assert_distributed(shots, shot_sets(SIZES, SPECS[spec], sampler))


@pytest.mark.parametrize("spec", SPECS)
def test_classes_come_in_random_order(spec: str) -> None:
    """Labels are places in the episode: in each, any class of the episode is as likely as any other."""
    found = draws(VariableSampler(**SMALL), SIZES, SPECS[spec], 4000, seed=2)
    triples = [tuple(np.argsort(d.classes).tolist()) for d in found if len(d.classes) == 3]
    assert len(triples) > 500
    assert_distributed(triples, {order: Fraction(1, 6) for order in set(triples)})
    assert len(set(triples)) == 6


def test_imbalance_of_two_classes_is_distributed_as_the_text_says() -> None:
    """With two classes R_1/R_2 = (n_1/n_2)·exp(a_1 - a_2), where a_1 - a_2 has a triangular distribution."""
    sizes, sampler = [60, 90], VariableSampler(min_way=2, max_way=2)
    left = [60 - 10, 90 - 10]
    width = math.log(2) - math.log(0.5)
    triangle = stats.triang(c=0.5, loc=-width, scale=2 * width)
    expected: dict[object, float] = Counter()  # type: ignore[assignment]
    steps = sorted({Fraction(k, m) for m in left for k in range(m + 1)})
    for low, high in pairwise(steps):
        rest = sum(math.ceil(high * m) for m in left) - 2
        edges = np.arange(rest + 2)  # ⌊R_1·rest⌋ is k where R_1·rest lies in [k, k + 1), and R_1 < 1
        odds = np.where(edges < max(rest, 1), edges / np.maximum(rest - edges, 1), np.inf)
        below = triangle.cdf(np.log(np.maximum(odds, 1e-9) * sizes[1] / sizes[0]))
        for more, share in enumerate(np.diff(below).tolist()):
            expected[min(more + 1, left[0])] += float(high - low) * share
    assert sum(expected.values()) == pytest.approx(1)
    found = [dict(zip(d.classes, d.shots, strict=True))[0] for d in draws(sampler, sizes, None, 5000, seed=3)]
    values = sorted(expected)
    observed = np.array([found.count(value) for value in values])
    shares = np.array([expected[value] for value in values]) * len(found)
    common = shares >= 10
    assert observed[~common].sum() < shares[~common].sum() + 6 * math.sqrt(shares[~common].sum() + 1)
    scaled = shares[common] * observed[common].sum() / shares[common].sum()
    assert stats.chisquare(observed[common], scaled).pvalue > UNLIKELY


# --- at full size: against the text carried out step by step with another generator ------------------------------


Episode = tuple[Sequence[int], Sequence[int], int]
"""Classes, shots, queries."""


def by_the_text(
    sizes: Sequence[int], groups: ClassGroups | None, dice: random.Random
) -> tuple[list[int], list[int], int]:
    """One episode by section 3.2, in plain Python."""
    if groups is None:
        classes = dice.sample(range(len(sizes)), dice.randint(5, min(50, len(sizes))))
    elif groups.kind == "groups":
        alphabet = dice.choice([m.tolist() for m in groups.members if len(m) >= 5])
        classes = dice.sample(alphabet, dice.randint(5, min(50, len(alphabet))))
    else:
        leaves = dice.choice([m.tolist() for m in groups.members if 5 <= len(m) <= 392])
        classes = dice.sample(leaves, min(50, len(leaves)))
    query = min(10, min(sizes[c] for c in classes) // 2)
    beta = 1 - dice.random()
    support = min(500, sum(math.ceil(beta * min(100, sizes[c] - query)) for c in classes))
    weights = [math.exp(dice.uniform(math.log(0.5), math.log(2))) * sizes[c] for c in classes]
    shares = [weight / sum(weights) for weight in weights]
    shots = [
        min(int(share * (support - len(classes))) + 1, sizes[c] - query)
        for share, c in zip(shares, classes, strict=True)
    ]
    return classes, shots, query


def omniglot_like() -> tuple[list[int], ClassGroups]:
    lengths = [14, 26, 47, 20, 55, 17, 3, 40, 22, 41]
    starts = np.cumsum([0, *lengths])
    return [20] * sum(lengths), groups_of("groups", *(range(a, b) for a, b in pairwise(starts)))


def ilsvrc_like() -> tuple[list[int], ClassGroups]:
    """A random binary graph over 500 leaves; its root, and no other node, spans too many."""
    dice, nodes = random.Random(5), []
    heap = [[leaf] for leaf in range(500)]
    while len(heap) > 1:
        first, second = (heap.pop(dice.randrange(len(heap))) for _ in range(2))
        nodes.append(first + second)
        heap.append(first + second)
    return [dice.randint(700, 1300) for _ in range(500)], groups_of("graph", *nodes)


def quickdraw_like() -> tuple[list[int], None]:
    dice = random.Random(6)
    return [dice.choice([6, 15, 30, 80, 400, 2000]) for _ in range(70)], None


STATISTICS: dict[str, Callable[[Sequence[int], Sequence[int], int], float]] = {
    "way": lambda classes, shots, query: len(classes),
    "support": lambda classes, shots, query: sum(shots),
    "most shots": lambda classes, shots, query: max(shots),
    "fewest shots": lambda classes, shots, query: min(shots),
    "imbalance": lambda classes, shots, query: float(np.std(np.log(shots))),
    "queries": lambda classes, shots, query: query,
    "mean class": lambda classes, shots, query: float(np.mean(classes)),
    "spread of classes": lambda classes, shots, query: float(np.ptp(classes)),
}


@pytest.mark.parametrize("make", [quickdraw_like, omniglot_like, ilsvrc_like])
def test_episodes_are_those_of_the_text(make: Callable) -> None:
    sizes, groups = make()
    dice = random.Random(7)
    expected = [by_the_text(sizes, groups, dice) for _ in range(2000)]
    found = [(d.classes, d.shots, d.query) for d in draws(VariableSampler(), sizes, groups, 2000, seed=8)]
    for name, statistic in STATISTICS.items():
        ours, theirs = ([statistic(*episode) for episode in some] for some in (found, expected))
        assert stats.ks_2samp(ours, theirs).pvalue > UNLIKELY, name
    if groups:
        for kind in (found, expected):
            flat = [(d.classes, d.shots, d.query) for d in draws(VariableSampler(hierarchy=False), sizes, groups, 500)]
            spread = STATISTICS["spread of classes"]
            ours, theirs = ([spread(*episode) for episode in some] for some in (kind, flat))
            assert stats.ks_2samp(ours, theirs).pvalue < UNLIKELY  # the comparison can fail


def test_a_graphs_bounds() -> None:
    sizes = [1000] * 600
    graph = groups_of("graph", range(4), range(4, 397), range(100, 105), range(200, 592), range(120, 171))
    found = draws(VariableSampler(), sizes, graph, 600)
    by_node = {low: [d.classes for d in found if min(d.classes) // 20 * 20 == low] for low in (100, 120)}
    by_node[200] = [d.classes for d in found if min(d.classes) >= 200]
    assert sum(map(len, by_node.values())) == 600  # nodes of 4 and of 393 leaves are never drawn
    assert {tuple(sorted(classes)) for classes in by_node[100]} == {tuple(range(100, 105))}
    assert {len(classes) for classes in by_node[120] + by_node[200]} == {50}
    assert set().union(*by_node[120]) == set(range(120, 171))
    assert set().union(*by_node[200]) == set(range(200, 592))
    assert stats.chisquare([len(some) for some in by_node.values()]).pvalue > UNLIKELY


def test_flat_draws_are_what_they_were() -> None:
    """Results are kept by seeds: these were drawn before there were hierarchies."""
    flat = classes([30, 8, 500, 21, 64, 12, 90, 300, 17])
    draw = VariableSampler().draw(flat, np.random.default_rng(0))
    assert (draw.classes, draw.shots, draw.query) == FLAT_VARIABLE
    draw = FixedSampler(way=3, shot=1, query=2).draw(flat, np.random.default_rng(0))
    assert (draw.classes, draw.shots, draw.query) == FLAT_FIXED


FLAT_VARIABLE = ((0, 1, 2, 4, 8, 3, 6, 5, 7), (1, 1, 14, 1, 1, 1, 3, 1, 4), 4)
FLAT_FIXED = ((7, 4, 5), (1, 1, 1), 2)


def test_a_fixed_way_takes_any_classes() -> None:
    sampler = FixedSampler(way=3, shot=1, query=1)
    assert draws(sampler, SIZES, SPECS["groups"], 20) == draws(sampler, SIZES, None, 20)


def test_without_the_hierarchy_draws_are_flat() -> None:
    sampler = VariableSampler(hierarchy=False)
    assert draws(sampler, SIZES, SPECS["groups"], 50) == draws(VariableSampler(), SIZES, None, 50)


def test_groups_that_are_too_small_say_what_to_do() -> None:
    scripts = classes(SIZES, SPECS["groups"])
    with pytest.raises(DataError) as error:
        VariableSampler().check(scripts)
    assert str(error.value) == (
        "domain 'scripts' has 4 groups of classes, of which none has at least 5 (they have: 1, 2, 3, 4): set "
        "hierarchy to false to draw from all its classes, or give the sampler as smat.episodes.VariableSampler with a "
        "lower min_way"
    )
    graph = groups_of("graph", range(4), range(8))
    with pytest.raises(DataError, match=r"2 nodes .* none spans 5 to 6 of them \(they have: 4, 8\)"):
        VariableSampler(max_span=6, max_way=6).check(classes(SIZES, graph))
    VariableSampler(hierarchy=False).check(scripts)
    FixedSampler(way=5, shot=1, query=1).check(scripts)
    with pytest.raises(ConfigError, match="max_span is 4; give 5 or more"):
        VariableSampler(max_span=4)


def test_groups_within_a_split() -> None:
    hierarchy = Hierarchy(
        "graph",
        {
            "train": {"animal": ("cat", "dog", "cow"), "pet": ("cat", "dog"), "tame": ("dog", "cat")},
            "test": {"animal": ("hen", "owl"), "bird": ("owl", "hen")},
        },
    )
    train = hierarchy.within(("cow", "dog", "cat"))
    assert train.kind == "graph"
    assert [m.tolist() for m in train.members] == [[2, 1, 0], [2, 1], [1, 2]]  # two nodes of the same leaves both count
    assert [m.tolist() for m in hierarchy.within(("hen", "owl")).members] == [[0, 1], [1, 0]]
    without = hierarchy.within(("cow", "dog"))  # cat has no images
    assert [m.tolist() for m in without.members] == [[1, 0], [1], [1]]
    joined = hierarchy.within(("owl", "cat", "dog"))  # divided otherwise: an animal is an animal
    assert [m.tolist() for m in joined.members] == [[1, 2, 0], [1, 2], [2, 1], [0]]


# --- episodes of a domain -----------------------------------------------------------------------------------------

TRACK = 30  # frames of one sign in Traffic Sign; they are stored one after another


class Frames(Domain):
    """40 classes of 300 rows that lie together, as in files written class by class; no images."""

    def __init__(self, groups: Hierarchy | None = None) -> None:
        super().__init__("frames", {"train": ["none"], "test": [f"c{i:02d}" for i in range(40)]}, flip=False)
        self._hierarchy = groups

    fingerprint = ""

    def hierarchy(self, split: str) -> ClassGroups | None:
        return self._hierarchy.within(self.classes(split)) if self._hierarchy else None

    def rows(self, class_name: str) -> np.ndarray:
        return 300 * int(class_name[1:]) + np.arange(300, dtype=np.int64)

    def image(self, row: int):
        raise AssertionError("nothing here reads images")


def plans_of(domain: Domain, sampler: VariableSampler | FixedSampler, count: int):
    source = EpisodeSource([domain], "test", sampler, image_format=ImageFormat(8))
    return [source.plan(n) for n in range(count)]


def shuffling(plans) -> dict[str, float]:
    """p-values of what holds of shuffled images: one row of a class says nothing of which other one is drawn."""
    pairs: list[tuple[int, int]] = []
    across: list[tuple[int, int]] = []
    for plan in plans:
        for label in range(plan.way):
            support = [row for row, of in zip(plan.support_rows, plan.support_labels, strict=True) if of == label]
            query = [row for row, of in zip(plan.query_rows, plan.query_labels, strict=True) if of == label]
            pairs.append((support[0], support[1]) if len(support) > 1 else (query[0], query[1]))
            across.append((support[0], query[0]))
    one_track = (TRACK - 1) / (300 - 1)

    def together(pairs: list[tuple[int, int]]) -> float:
        return stats.binomtest(sum(a // TRACK == b // TRACK for a, b in pairs), len(pairs), one_track).pvalue

    return {
        "tracks within support": together(pairs),
        "tracks across": together(across),
        "order within support": stats.binomtest(sum(a < b for a, b in pairs), len(pairs)).pvalue,
        "order across": stats.binomtest(sum(a < b for a, b in across), len(across)).pvalue,
        "first row": stats.chisquare(np.bincount([a % 300 // TRACK for a, _ in across], minlength=10)).pvalue,
    }


@pytest.mark.parametrize("sampler", [VariableSampler(), FixedSampler(way=5, shot=5, query=15)])
def test_images_are_shuffled_within_a_class(sampler) -> None:
    """Traffic Sign's classic mistake: read in the order of its files, support and query are frames of one sign."""
    plans = plans_of(Frames(), sampler, 150)
    assert min(shuffling(plans).values()) > UNLIKELY


def test_the_test_of_shuffling_fails_for_images_that_are_not_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake made on purpose: a class's images taken as they lie, from anywhere on."""
    monkeypatch.setattr("smat.episodes.source.numpy_generator", consecutive)
    found = shuffling(plans_of(Frames(), FixedSampler(way=5, shot=5, query=15), 150))
    assert max(found.values()) < UNLIKELY


class _Consecutive(np.random.Generator):
    """A generator whose `choice` of a class's rows takes neighbours."""

    def choice(self, items, *arguments, **options):  # type: ignore[override]
        if np.shape(items) != (300,):
            return super().choice(items, *arguments, **options)
        start = self.integers(300 - arguments[0], endpoint=True)
        return items[start : start + arguments[0]]


def consecutive(*arguments) -> np.random.Generator:
    return _Consecutive(numpy_generator(*arguments).bit_generator)


def test_an_episode_keeps_to_one_group_of_its_domain() -> None:
    names = [f"c{i:02d}" for i in range(40)]
    scripts = {"greek": tuple(names[:10]), "latin": tuple(names[10:30]), "runes": tuple(names[30:34])}
    plans = plans_of(Frames(Hierarchy("groups", {"test": scripts})), VariableSampler(), 300)
    owners = Counter(next(s for s, members in scripts.items() if set(plan.classes) <= set(members)) for plan in plans)
    assert set(owners) == {"greek", "latin"}
    assert stats.binomtest(owners["greek"], 300).pvalue > UNLIKELY
    assert max(plan.way for plan in plans) > 15
    places = [plan.classes.index(min(plan.classes)) / (plan.way - 1) for plan in plans]
    assert stats.ttest_1samp(places, 0.5).pvalue > UNLIKELY  # the first class in name gets any label
    with pytest.raises(DataError, match="the test split of domain 'frames' has 1 groups of classes, of which none has"):
        plans_of(Frames(Hierarchy("groups", {"test": {"runes": tuple(names[30:34])}})), VariableSampler(), 1)
