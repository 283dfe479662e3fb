"""How many classes and images an episode has, and which classes: fixed, or the Meta-Dataset rule."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from smat.domains.hierarchy import ClassGroups
from smat.episodes.tracks import most_support
from smat.errors import ConfigError, DataError
from smat.plugins import Plugin, describe
from smat.schema import Count, Finite, checked

SamplerKind = Literal["fixed", "variable"]
"""`fixed`: always the same ways and shots; `variable`: by Meta-Dataset's rule."""


@dataclass(frozen=True)
class Draw:
    """The make-up of an episode.

    Attributes:
        classes: indices of its classes among those of the split, two or more, each once; their order gives the labels.
        shots: number of support images of each, 1 or more.
        query: number of query images per class, 1 or more.
    """

    classes: tuple[int, ...]
    shots: tuple[int, ...]
    query: int


@dataclass(frozen=True)
class SplitClasses:
    """What episodes of one split of a domain are drawn from.

    Attributes:
        owner: the split and the domain, as an error names them.
        names: class names.
        sizes: number of images of each.
        groups: which of the classes lie together; None where there is no hierarchy.
        tracks: number of images of each track of each class, where support and query must have no track in common; None
            where they may have any images.
    """

    owner: str
    names: Sequence[str]
    sizes: Int[np.ndarray, " classes"]
    groups: ClassGroups | None = None
    tracks: Sequence[Sequence[int]] | None = None

    def most_support(self, index: int, query: int) -> int:
        """Largest number of support images that a class can have beside so many query images, 1 or more."""
        if self.tracks is None:
            return max(0, int(self.sizes[index]) - query)
        return most_support(self.tracks[index], query)


class Sampler(Plugin, ABC):
    """Draws the make-up of an episode from the classes there are.

    A sampler of your own is a class that inherits from this one. Its settings are the arguments of its constructor,
    kept as attributes of the same name.
    """

    def check(self, classes: SplitClasses) -> None:
        """Raise a `DataError` if some episode could not be drawn from these classes."""

    @abstractmethod
    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        """One episode's make-up.

        Args:
            classes: what to draw from; it has passed `check`.
            rng: the only source of randomness, so that the episode can be drawn again.
        """


@dataclass(frozen=True)
@checked()
class FixedSampler(Sampler):
    """The same number of classes and images in every episode.

    Any classes of the split may meet, also where a domain's classes lie in groups: in Meta-Dataset a fixed number of
    ways goes with no hierarchy either.

    Attributes:
        way: number of classes.
        shot: number of support images per class.
        query: number of query images per class.
    """

    way: Count = 5
    shot: Count = 5
    query: Count = 15

    def __post_init__(self) -> None:
        _at_least(2, way=self.way)
        _at_least(1, shot=self.shot, query=self.query)

    def check(self, classes: SplitClasses) -> None:
        """Raise a `DataError` for fewer than `way` classes, or one of too few images, or tracks, for shot and query."""
        _check_count(self.way, f"{self.way}-way episodes", "lower way", classes)
        reason = f"{self.shot} support and {self.query} query images"
        _check_sizes(self.shot + self.query, reason, "lower shot or query", classes)
        _check_tracks(self.shot, self.query, "lower shot or query", classes)

    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        """`way` classes, each set of them as likely as any other."""
        chosen = rng.choice(len(classes.sizes), self.way, replace=False)
        return Draw(tuple(chosen.tolist()), (self.shot,) * self.way, self.query)


@dataclass(frozen=True)
@checked()
class VariableSampler(Sampler):
    """Episodes of varying, unbalanced make-up by the Meta-Dataset rule.

    The classes are, in random order,

    - of a domain without a hierarchy: any, their number (the way) uniform in `min_way`..min(`max_way`, classes);
    - of one whose classes lie in groups (Omniglot: alphabets): those of one group, each group of at least `min_way`
      classes as likely as any other, the way uniform in `min_way`..min(`max_way`, classes of the group);
    - of one with a graph of classes (ILSVRC: WordNet): all those that one node spans, or any `max_way` of them if
      there are more; each node that spans `min_way`..`max_span` is as likely as any other.

    With n_c images in chosen class c:

    - queries per class: q = min(`max_query`, ⌊½ min_c n_c⌋);
    - support in all: S = min(`max_support`, Σ_c ⌈β·min(`max_support_per_class`, n_c - q)⌉), with β ~ U(0, 1];
    - support of class c: min(⌊R_c·(S - way)⌋ + 1, n_c - q), with R_c ∝ n_c·exp(a_c) and
      a_c ~ U(`min_log_weight`, `max_log_weight`), ΣR_c = 1.

    Where tracks are kept apart, which is not part of the rule, n_c - q is the largest support that leaves q queries of
    other tracks, and q is at most what one support image leaves.

    Triantafillou et al. (2020), "Meta-Dataset", section 3.2 and appendix; `max_span` is the smallest number with which
    every class of ILSVRC can be drawn.

    Attributes:
        min_way: smallest number of classes.
        max_way: largest number of classes.
        max_query: largest number of query images per class.
        max_support: largest number of support images of an episode.
        max_support_per_class: largest number of support images that a class counts for in the total; it may get more.
        min_log_weight: lower bound of a_c.
        max_log_weight: upper bound of a_c.
        hierarchy: whether to draw by a domain's groups or graph of classes, where it has one.
        max_span: largest number of classes that a node of a graph may span.
    """

    min_way: Count = 5
    max_way: Count = 50
    max_query: Count = 10
    max_support: Count = 500
    max_support_per_class: Count = 100
    min_log_weight: Finite = math.log(0.5)
    max_log_weight: Finite = math.log(2)
    hierarchy: bool = True
    max_span: Count = 392

    def __post_init__(self) -> None:
        _at_least(2, min_way=self.min_way)
        _at_least(1, max_query=self.max_query, max_support_per_class=self.max_support_per_class)
        _at_least(self.min_way, max_way=self.max_way, max_span=self.max_span)
        _at_least(self.max_way, max_support=self.max_support)
        if self.min_log_weight > self.max_log_weight:
            raise ConfigError(
                f"min_log_weight is {self.min_log_weight}; give at most max_log_weight, {self.max_log_weight}"
            )

    def check(self, classes: SplitClasses) -> None:
        """Raise a `DataError` for too few classes, or no large enough group, or a class of fewer than 2 images."""
        lower = "give the sampler as smat.episodes.VariableSampler with a lower min_way"
        _check_count(self.min_way, "variable episodes", lower, classes)
        _check_sizes(2, "a support and a query image", "add images", classes)
        _check_tracks(1, 1, "add images of other tracks", classes)
        groups = self._groups(classes)
        if groups and not self._eligible(groups):
            what, need = (
                ("nodes above its classes", f"spans {self.min_way} to {self.max_span} of them")
                if groups.kind == "graph"
                else ("groups of classes", f"has at least {self.min_way}")
            )
            counts = ", ".join(str(n) for n in sorted({len(members) for members in groups.members})) or "none"
            raise DataError(
                f"{classes.owner} has {len(groups.members)} {what}, of which none {need} (they have: {counts}): set "
                f"hierarchy to false to draw from all its classes, or {lower}"
            )

    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        """One episode's make-up by the rule above."""
        chosen = self._classes(len(classes.sizes), rng, self._groups(classes))
        way, sizes = len(chosen), classes.sizes[chosen]
        query = min(self.max_query, int(sizes.min()) // 2, *(classes.most_support(i, 1) for i in chosen.tolist()))
        left = np.array([classes.most_support(i, query) for i in chosen.tolist()])
        beta = 1 - rng.random()  # NumPy draws from [0, 1), the rule from (0, 1]: 0 would give no support at all
        support = min(self.max_support, int(np.ceil(beta * np.minimum(self.max_support_per_class, left)).sum()))
        weights = sizes * np.exp(rng.uniform(self.min_log_weight, self.max_log_weight, way))
        # Dividing last keeps whole numbers whole: equal weights share the support exactly. The 1 that is added is taken
        # from the total first, so that every class has a support image and the total is not exceeded.
        shots = np.minimum(np.floor(weights * (support - way) / weights.sum()).astype(np.int64) + 1, left)
        return Draw(tuple(chosen.tolist()), tuple(shots.tolist()), query)

    def _groups(self, classes: SplitClasses) -> ClassGroups | None:
        return classes.groups if self.hierarchy else None

    def _classes(self, count: int, rng: np.random.Generator, groups: ClassGroups | None) -> Int[np.ndarray, " way"]:
        members = np.arange(count)
        if groups:
            eligible = self._eligible(groups)
            members = eligible[rng.integers(len(eligible))]
        way = min(self.max_way, len(members))
        if not groups or groups.kind == "groups":  # of a graph's node all classes: the choice of the node set the way
            way = int(rng.integers(self.min_way, way, endpoint=True))
        return rng.choice(members, way, replace=False)

    def _eligible(self, groups: ClassGroups) -> list[Int[np.ndarray, "_"]]:
        most = self.max_span if groups.kind == "graph" else math.inf
        return [members for members in groups.members if self.min_way <= len(members) <= most]


class RecordedSampler(Sampler):
    """A sampler from outside smat as a file of episodes names it, without its code, which reading does not import.

    It stands for the episodes in the file and draws no others.

    Args:
        name: import path of the sampler.
        settings: settings of the sampler, by name.
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.name = name
        self.settings = settings

    def check(self, classes: SplitClasses) -> None:
        """Raises a `DataError`, whatever the classes."""
        raise DataError(
            f"episodes of {classes.owner} cannot be drawn: of their sampler, {self.name}, only the name and the "
            "settings are known, from a file of episodes. Use those of the file"
        )

    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        """Not to be reached: nothing passes `check`."""
        raise NotImplementedError


def sampler_settings(sampler: Sampler) -> dict[str, Any]:
    """Name and settings of a sampler, for records; one from outside smat is named by its import path."""
    if isinstance(sampler, RecordedSampler):
        return {"name": sampler.name, "settings": sampler.settings}
    if type(sampler) in (FixedSampler, VariableSampler):
        return {"name": type(sampler).__name__, **vars(sampler)}
    described = describe(sampler)
    return {"name": described["class_path"], "settings": described["init_args"]}


def _at_least(least: int, **settings: int) -> None:
    for name, value in settings.items():
        if value < least:
            raise ConfigError(f"{name} is {value}; give {least} or more")


def _check_count(least: int, what: str, advice: str, classes: SplitClasses) -> None:
    count = len(classes.names)
    if count < least:
        raise DataError(
            f"{classes.owner} has {count} classes; {what} need at least {least}: {advice}, or leave the domain out"
        )


def _check_sizes(least: int, reason: str, advice: str, classes: SplitClasses) -> None:
    pairs = zip(classes.names, classes.sizes, strict=True)
    small = [f"'{name}' ({size})" for name, size in pairs if size < least]
    if small:
        raise DataError(
            f"{classes.owner} has classes of fewer than {least} images ({reason}): {', '.join(small)}; "
            f"{advice}, or leave these classes out of the split, as min_images does (--min-images {least})"
        )


def _check_tracks(shot: int, query: int, advice: str, classes: SplitClasses) -> None:
    few = [
        f"'{name}' ({len(sizes)} {'track' if len(sizes) == 1 else 'tracks'} of {sum(sizes)} images)"
        for index, (name, sizes) in enumerate(zip(classes.names, classes.tracks or (), strict=bool(classes.tracks)))
        if classes.most_support(index, query) < shot
    ]
    if few:
        raise DataError(
            f"{classes.owner} has classes with too few tracks for {shot} support and {query} query images of different "
            f"tracks: {', '.join(few)}; {advice}, leave these classes out of the split, or let support and query have "
            "images of one track (--tracks ignore)"
        )
