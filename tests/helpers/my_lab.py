"""A lab's own classes, as someone would write them outside the package, and a recipe that takes them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from smat.plugins import Plugin


class Head(Plugin, ABC):
    """What heads have in common."""

    @abstractmethod
    def fit(self) -> None: ...


class Mahalanobis(Head):
    """A head.

    Args:
        shrinkage: strength of the shrinkage, 0..1.
    """

    def __init__(self, shrinkage: float = 0.1) -> None:
        self.shrinkage = shrinkage

    def fit(self) -> None: ...


@dataclass(frozen=True)
class Cosine(Head):
    """Another head.

    Attributes:
        scale: factor of the similarities.
    """

    scale: float = 10.0

    def fit(self) -> None: ...


@dataclass(frozen=True)
class Pool:
    """Nested settings.

    Attributes:
        experts: number of experts.
        head: what classifies.
        kind: a kind by name, or a head.
        heads: several heads.
    """

    experts: int = 8
    head: Head | None = None
    kind: Literal["none", "full"] | Head = "none"
    heads: list[Head] | None = None


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Attributes:
        pool: the pool.
        seed: random seed.
        dry: whether nothing is written.
    """

    pool: Pool = Pool()
    seed: int = 0
    dry: bool = False


@dataclass(frozen=True)
class Draws(Settings):
    """More settings, of which some are inherited.

    Attributes:
        way: number of classes.
        skip_bad: go on without bad images.
    """

    way: int = 5
    skip_bad: bool = False


class Unrelated:
    """No head."""
