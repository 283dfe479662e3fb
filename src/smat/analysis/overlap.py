"""How much the masks of experts agree, against what independent random masks of the same sizes give.

Chen et al. (2024), Fig. 5d. Two kinds of random masks are compared with. Those of null `density` have as many open
parameters as the expert's mask, anywhere in the network. Those of null `layers` have as many as it at each depth and in
each type of layer there: masks that open the same layers overlap more, which is no agreement on parameters.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.signal import convolve

from smat.analysis.capacity import ratio
from smat.analysis.contributions import Contributions
from smat.analysis.layers import Axis
from smat.errors import ConfigError

Null = Literal["density", "layers"]

_STRATA: dict[Null, tuple[Axis, ...]] = {"density": (), "layers": ("type", "depth")}


@dataclass(frozen=True)
class Measure:
    """A measure of the agreement of masks, and what it is by chance.

    Attributes:
        observed: of every first mask with every second one, `[first, second]`; NaN of empty masks.
        expected: its expectation for random masks, of each null, `[first, second]`; NaN of a mask with itself.
        deviation: its standard deviation for random masks, likewise.
    """

    observed: np.ndarray
    expected: dict[Null, np.ndarray]
    deviation: dict[Null, np.ndarray]

    def z(self, null: Null) -> np.ndarray:
        """How many standard deviations the masks agree beyond chance; NaN where chance leaves no choice."""
        return ratio(self.observed - self.expected[null], self.deviation[null])

    def lift(self, null: Null) -> np.ndarray:
        """How many times as much as by chance the masks agree, `[first, second]`; 1 is as much."""
        return ratio(self.observed, self.expected[null])


@dataclass(frozen=True)
class Overlap:
    """The agreement of every mask of one pool with every mask of it or of another.

    Attributes:
        first_sizes: number of open parameters of each mask A, `[first]`.
        second_sizes: number of open parameters of each mask B, `[second]`.
        intersection: |A ∩ B|, `[first, second]`.
        jaccard: |A ∩ B| / |A ∪ B|.
        containment: |A ∩ B| / |A|, not symmetric.
    """

    first_sizes: np.ndarray
    second_sizes: np.ndarray
    intersection: np.ndarray
    jaccard: Measure
    containment: Measure


@dataclass(frozen=True)
class Sharing:
    """How many parameters are open in how many experts.

    Attributes:
        axes: what the groups G tell apart, as in `Capacity`.
        labels: names along each axis.
        params: number of parameters in each group, `[*G]`.
        counts: number of them that are open in exactly 0, 1, ..., M experts, `[experts + 1, *G]`.
        expected: the share of them that would be, were masks independent, for each null, `[experts + 1, *G]`: a
            Poisson-binomial distribution with the densities of the M experts, in the whole network (`density`) or in
            the parameter's type and depth (`layers`).
    """

    axes: tuple[Axis, ...]
    labels: tuple[tuple[str, ...], ...]
    params: np.ndarray
    counts: np.ndarray
    expected: dict[Null, np.ndarray]

    @property
    def share(self) -> np.ndarray:
        """The share of each group's parameters that are open in exactly 0, 1, ..., M experts, `[experts + 1, *G]`."""
        return ratio(self.counts, self.params)


def overlap(contributions: Contributions) -> Overlap:
    """The agreement of a pool's experts with each other."""
    return _overlap(contributions, contributions)


def compare_masks(first: Contributions, second: Contributions) -> Overlap:
    """The agreement of every expert of one pool with every expert of another.

    Raises:
        ConfigError: the pools are of different networks.
    """
    ours, theirs = (dict(zip(c.layers.names, c.layers.sizes, strict=True)) for c in (first, second))
    if ours != theirs:
        name = next(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        sizes = [f"{sizes[name]:,} numbers" if name in sizes else "absent" for sizes in (ours, theirs)]
        raise ConfigError(
            f"masks of different networks cannot be compared: {name} is {sizes[0]} in one pool and {sizes[1]} in the "
            "other. Give pools of the same backbone and image size"
        )
    return _overlap(first, second)


def sharing(contributions: Contributions, *axes: Axis) -> Sharing:
    """In how many experts each parameter is open, by type and depth of layer.

    Args:
        contributions: what each expert adds.
        axes: what to tell apart: `type`, `depth`, both, or nothing.
    """
    layers, experts = contributions.layers, contributions.experts
    pieces = contributions.pieces()
    counts = np.stack([np.bincount(piece.sum(0), minlength=experts + 1) for piece in pieces], axis=1)
    opened = np.stack([piece.sum(1) for piece in pieces], axis=1)
    params = layers.total(contributions.sizes, axes)
    expected = {}
    for null, strata in _STRATA.items():
        densities = ratio(layers.total(opened, strata), layers.total(contributions.sizes, strata)).reshape(experts, -1)
        of_each = poisson_binomial(densities)[:, layers.groups(strata)] * contributions.sizes
        expected[null] = ratio(layers.total(of_each, axes), params)
    return Sharing(axes, tuple(layers.labels(axis) for axis in axes), params, layers.total(counts, axes), expected)


def poisson_binomial(probabilities: np.ndarray) -> np.ndarray:
    """The distribution of how many of several independent events happen.

    Args:
        probabilities: of each of n events.

    Returns:
        The probabilities of 0, 1, ..., n.
    """
    found = np.ones((1, *probabilities.shape[1:]))
    for p in probabilities:
        none = np.zeros_like(found[:1])
        found = np.concatenate([found * (1 - p), none]) + np.concatenate([none, found * p])
    return found


def intersection_distribution(sizes: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, np.ndarray]:
    """The distribution of |A ∩ B| for random A and B with fixed numbers of elements in each stratum.

    In a stratum it is hypergeometric; over strata the numbers add up, and their distributions are convolved. It is
    exact, but for tails that have less than 1e-15 of the mass, which are cut.

    Args:
        sizes: number of elements of each stratum.
        first: number of them in A.
        second: number of them in B.

    Returns:
        The lowest value, and the probabilities of it and of those that follow.
    """
    lowest, probabilities, total = 0, np.ones(1), 0.0
    for n, a, b in zip(sizes.tolist(), first.tolist(), second.tolist(), strict=True):
        mean = a * b / max(1, n)
        low, high = _within(mean, max(0, a + b - n), min(a, b))
        if low < high:
            probabilities = convolve(probabilities, _hypergeometric(n, a, b, low, high)).clip(min=0)
        lowest, total = lowest + low, total + mean
        start, stop = _within(total, lowest, lowest + len(probabilities) - 1)
        probabilities = probabilities[start - lowest : stop - lowest + 1]
        lowest = start
    return lowest, probabilities / probabilities.sum()


def _hypergeometric(size: int, first: int, second: int, low: int, high: int) -> np.ndarray:
    """Probabilities of |A ∩ B| in low..high, from the ratios of neighbours; scipy's takes seconds for large sizes."""
    k = np.arange(low, high, dtype=np.float64)
    ratios = (first - k) * (second - k) / ((k + 1) * (size - first - second + k + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    probabilities = np.exp(logs - logs.max())
    return probabilities / probabilities.sum()


def _within(mean: float, low: int, high: int) -> tuple[int, int]:
    """The part of a range beyond which a sum of independent events of that mean has less than 1e-15 of its mass.

    Its variance is at most its mean; by Bernstein's inequality.
    """
    reach = 9 * math.sqrt(mean) + 40
    return max(low, math.floor(mean - reach)), min(high, math.ceil(mean + reach))


def _overlap(first: Contributions, second: Contributions) -> Overlap:
    both = np.stack([_intersections(a, b) for a, b in zip(first.pieces(), second.pieces(), strict=True)]).sum(0)
    opened = [np.stack([piece.sum(1) for piece in c.pieces()], axis=1) for c in (first, second)]
    sizes = [counts.sum(1) for counts in opened]
    a, b = np.broadcast_arrays(sizes[0][:, None], sizes[1])
    jaccard, containment = Measure(ratio(both, a + b - both), {}, {}), Measure(ratio(both, a), {}, {})
    for null, axes in _STRATA.items():
        params = first.layers.total(first.sizes, axes).reshape(-1)
        ours, theirs = (first.layers.total(counts, axes).reshape(len(counts), -1) for counts in opened)
        by_chance = np.full((*both.shape, 4), np.nan)
        for i, j in np.ndindex(*both.shape):
            if first is not second or i < j:
                by_chance[i, j] = _chance(params, ours[i], theirs[j])
            elif i > j:
                by_chance[i, j] = by_chance[j, i]
        jaccard.expected[null], jaccard.deviation[null] = by_chance[..., 0], by_chance[..., 1]
        containment.expected[null] = ratio(by_chance[..., 2], a)
        containment.deviation[null] = ratio(by_chance[..., 3], a)
    return Overlap(sizes[0], sizes[1], both, jaccard, containment)


def _chance(params: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float]:
    """Mean and standard deviation of the Jaccard index, and of |A ∩ B|, of random masks."""
    lowest, probabilities = intersection_distribution(params, first, second)
    both = lowest + np.arange(len(probabilities), dtype=np.float64)
    found: list[float] = []
    for values in (ratio(both, first.sum() + second.sum() - both), both):
        mean = float(probabilities @ values)
        found += [mean, math.sqrt(float(probabilities @ (values - mean) ** 2))]
    return found[0], found[1], found[2], found[3]


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([[np.count_nonzero(a & b) for b in second] for a in first])
