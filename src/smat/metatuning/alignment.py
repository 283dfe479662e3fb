"""How far the gradients of different tasks point the same way: their cosines, by group of parameters."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from smat.episodes import Episode
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.settings import TuningConfig
from smat.precision import NetworkPrecision

Pairs = Literal["all", "within", "between"]
"""Pairs of tasks: all of them, those of one domain, or those of two domains."""

PAIRS: tuple[Pairs, ...] = get_args(Pairs)

EXACT_BYTES = 2 * 2**30
"""Bytes of gradients up to which cosines are exact; beyond, those of the largest groups are of sketches."""


@dataclass(frozen=True)
class GradientCosines:
    """Cosines between the gradients of tasks, by group of parameters.

    Attributes:
        tasks: id of each task.
        domains: domain of each task.
        groups: cosines `[tasks, tasks]` in -1..1 of each group (`delta`, `gates`, `router`, as far as there are such
            parameters); NaN where one of the two gradients is zero or not finite.
        sketched: groups whose cosines are of sketches, with a standard error of 0.016 or less.
    """

    tasks: tuple[str, ...]
    domains: tuple[str, ...]
    groups: dict[str, np.ndarray]
    sketched: tuple[str, ...] = ()

    def mean(self, group: str, pairs: Pairs) -> float:
        """The mean cosine over pairs of different tasks; NaN where there are none."""
        raise NotImplementedError

    def values(self) -> dict[str, float]:
        """The means that there are by the names of the log, as `alignment/delta/within`."""
        raise NotImplementedError


def gradient_cosines(
    pool: SparseInterpolatedExperts,
    episodes: Iterable[Episode],
    config: TuningConfig,
    precision: NetworkPrecision,
    *,
    exact_bytes: int = EXACT_BYTES,
) -> GradientCosines:
    """The cosines between tasks' gradients at the present parameters; pool, `.grad` and randomness stay as they are.

    A task's gradient is that of its training loss without the constraint on sparsity, whose gradient is the same for
    all tasks; gates are deterministic, and routing is without noise.

    Args:
        pool: on the device to compute on.
        episodes: tasks, images normalised.
        config: objective, head and seed.
        precision: of the passes over networks.
        exact_bytes: bytes of gradients up to which cosines are exact.
    """
    raise NotImplementedError
