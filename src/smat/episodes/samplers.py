"""How many classes and images an episode has, and which classes: fixed, or the Meta-Dataset rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from smat.errors import ConfigError, DataError


@dataclass(frozen=True)
class Draw:
    """The make-up of an episode.

    Attributes:
        classes: places of its classes among those of the split; the order gives the labels.
        shots: support images of each.
        query: query images of each, the same for all.
    """

    classes: tuple[int, ...]
    shots: tuple[int, ...]
    query: int


@runtime_checkable
class Sampler(Protocol):
    """Draws the make-up of an episode from the sizes of the classes there are."""

    def check(self, names: Sequence[str], sizes: Int[np.ndarray, " classes"], domain: str) -> None:
        """Raise a `DataError` if some episode could not be drawn from classes of these names and sizes."""
        ...

    def draw(self, sizes: Int[np.ndarray, " classes"], rng: np.random.Generator) -> Draw:
        """One episode's make-up, for `sizes` that `check` has passed."""
        ...


@dataclass(frozen=True)
class FixedSampler:
    """The same number of classes and images in every episode.

    Attributes:
        way: classes.
        shot: support images of each class.
        query: query images of each class.
    """

    way: int = 5
    shot: int = 5
    query: int = 15

    def __post_init__(self) -> None:
        _at_least(2, way=self.way)
        _at_least(1, shot=self.shot, query=self.query)

    def check(self, names: Sequence[str], sizes: Int[np.ndarray, " classes"], domain: str) -> None:
        """Raise a `DataError` for fewer than `way` classes, or one of fewer than `shot + query` images."""
        _check_classes(self.way, len(names), domain)
        reason = f"{self.shot} support and {self.query} query images"
        _check_sizes(self.shot + self.query, reason, "lower sampler.shot or sampler.query", names, sizes, domain)

    def draw(self, sizes: Int[np.ndarray, " classes"], rng: np.random.Generator) -> Draw:
        """`way` classes, each set of them as likely as any other."""
        classes = rng.choice(len(sizes), self.way, replace=False)
        return Draw(tuple(classes.tolist()), (self.shot,) * self.way, self.query)


@dataclass(frozen=True)
class VariableSampler:
    """Episodes of varying, unbalanced make-up by the Meta-Dataset rule.

    The way is uniform in `min_way`..min(`max_way`, classes). With n_c images in chosen class c:

    - queries of each class: q = min(`max_query`, ⌊½ min_c n_c⌋);
    - support in all: S = min(`max_support`, Σ_c ⌈β·min(`max_support_per_class`, n_c - q)⌉), with β ~ U(0, 1];
    - support of class c: min(⌊R_c·(S - way)⌋ + 1, n_c - q), with R_c ∝ n_c·exp(a_c) and
      a_c ~ U(`min_log_weight`, `max_log_weight`), ΣR_c = 1.

    Triantafillou et al. (2020), "Meta-Dataset", section 3.2 and appendix.

    Attributes:
        min_way: fewest classes.
        max_way: most classes.
        max_query: most query images of a class.
        max_support: most support images of an episode.
        max_support_per_class: most support images that a class counts for in the total; it may get more.
        min_log_weight: lower bound of a_c.
        max_log_weight: upper bound of a_c.
    """

    min_way: int = 5
    max_way: int = 50
    max_query: int = 10
    max_support: int = 500
    max_support_per_class: int = 100
    min_log_weight: float = math.log(0.5)
    max_log_weight: float = math.log(2)

    def __post_init__(self) -> None:
        _at_least(2, min_way=self.min_way)
        _at_least(1, max_query=self.max_query, max_support_per_class=self.max_support_per_class)
        _at_least(self.min_way, max_way=self.max_way)
        _at_least(self.max_way, max_support=self.max_support)
        if self.min_log_weight > self.max_log_weight:
            raise ConfigError(
                f"sampler.min_log_weight is {self.min_log_weight}; it is at most sampler.max_log_weight, "
                f"{self.max_log_weight}"
            )

    def check(self, names: Sequence[str], sizes: Int[np.ndarray, " classes"], domain: str) -> None:
        """Raise a `DataError` for fewer than `min_way` classes, or a class of fewer than 2 images."""
        _check_classes(self.min_way, len(names), domain, field="min_way")
        _check_sizes(2, "a support and a query image", "add images", names, sizes, domain)

    def draw(self, sizes: Int[np.ndarray, " classes"], rng: np.random.Generator) -> Draw:
        """One episode's make-up by the rule above."""
        way = int(rng.integers(self.min_way, min(self.max_way, len(sizes)), endpoint=True))
        classes = rng.choice(len(sizes), way, replace=False)
        chosen = sizes[classes]
        query = min(self.max_query, int(chosen.min()) // 2)
        left = chosen - query
        beta = 1 - rng.random()
        support = min(self.max_support, int(np.ceil(beta * np.minimum(self.max_support_per_class, left)).sum()))
        weights = chosen * np.exp(rng.uniform(self.min_log_weight, self.max_log_weight, way))
        # Dividing last keeps whole numbers whole: equal weights share the support exactly.
        shots = np.minimum(np.floor(weights * (support - way) / weights.sum()).astype(np.int64) + 1, left)
        return Draw(tuple(classes.tolist()), tuple(shots.tolist()), query)


def _at_least(least: int, **fields: int) -> None:
    for name, value in fields.items():
        if value < least:
            raise ConfigError(f"sampler.{name} is {value}; it is at least {least}")


def _check_classes(way: int, classes: int, domain: str, field: str = "way") -> None:
    if classes < way:
        raise DataError(
            f"{domain} has {classes} classes; {way}-way episodes need at least {way}: "
            f"lower sampler.{field} or drop the domain"
        )


def _check_sizes(
    least: int,
    reason: str,
    advice: str,
    names: Sequence[str],
    sizes: Int[np.ndarray, " classes"],
    domain: str,
) -> None:
    small = [f"'{name}' ({size})" for name, size in zip(names, sizes, strict=True) if size < least]
    if small:
        raise DataError(
            f"{domain} has classes of fewer than {least} images ({reason}): {', '.join(small)}; "
            f"{advice}, or leave these classes out of the split"
        )
