"""Means with 95 % intervals, paired differences, averages of them, and calibration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t
from torch import Tensor

from smat.errors import DataError


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its 95 % interval: mean ± half_width.

    Attributes:
        mean: the mean.
        half_width: by Student's t; NaN where there is one value only, which says nothing of the spread.
        dof: degrees of freedom of the half width; infinite where the spread is known.
    """

    mean: float
    half_width: float
    dof: float = math.inf


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean and 95 % interval of independent values, such as episodes' accuracies.

    The half width is t·s/√n, s² = Σ(x - mean)²/(n - 1), with t of n - 1 degrees of freedom: 1.96 for the hundreds of
    episodes that the field reports, more for few, whose spread is itself a guess (Student 1908).

    Raises:
        DataError: no values.
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        raise DataError("there are no values to take a mean of; evaluate at least one episode")
    if len(x) == 1:
        return Interval(float(x[0]), math.nan, math.nan)
    dof = float(len(x) - 1)
    return Interval(float(x.mean()), _quantile(dof) * float(x.std(ddof=1)) / math.sqrt(len(x)), dof)


def _quantile(dof: float) -> float:
    """How many standard errors the half width is."""
    return float(t.ppf(0.975, dof))


def paired_difference(values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray) -> Interval:
    """Mean and 95 % interval of `values - baseline`, pair by pair.

    Two methods on the same episodes rise and fall together with the episodes' difficulty; the difference within
    a pair is free of it, and its interval is much narrower than the two intervals suggest.

    Raises:
        DataError: not as many values as there are of the baseline, or none.
    """
    if len(values) != len(baseline):
        raise DataError(f"{len(values)} values cannot be paired with {len(baseline)}; use the same episodes for both")
    return interval(np.subtract(values, baseline))


def average(intervals: Sequence[Interval]) -> Interval:
    """The mean of k domains' means, each domain counting alike, with its 95 % interval.

    Domains are independent samples, so the squares of their standard errors add up; the degrees of freedom of the sum
    are those of Welch (1947). The interval covers the choice of episodes; the domains are taken as given, not as a
    sample of all the domains there are.

    Raises:
        DataError: no intervals.
    """
    if not intervals:
        raise DataError("there are no domains to average over; give at least one")
    k = len(intervals)
    variances = [(i.half_width / _quantile(i.dof)) ** 2 for i in intervals]
    unsure = sum(variance**2 / i.dof for variance, i in zip(variances, intervals, strict=True))
    dof = sum(variances) ** 2 / unsure if unsure else math.inf
    half_width = _quantile(dof) * math.sqrt(sum(variances)) / k
    return Interval(sum(i.mean for i in intervals) / k, half_width, dof)


def calibration_error(bins: Float[Tensor, "bins 3"]) -> float:
    """Expected calibration error, in 0..1: the bins' |accuracy - confidence|, weighted by queries (Guo et al. 2017)."""
    queries, correct, confidence = bins.T
    return float((correct - confidence).abs().sum() / queries.sum())
