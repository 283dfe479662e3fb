"""Means with 95 % intervals, paired differences, averages of them, and calibration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from smat.errors import DataError


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval: mean ± half_width.

    Attributes:
        mean: the mean.
        standard_error: its standard error; NaN of a single value, which says nothing of the spread.
        dof: degrees of freedom of the standard error; infinite where the spread is known.
    """

    mean: float
    standard_error: float
    dof: float = math.inf

    @property
    def half_width(self) -> float:
        """The half width of the interval, by Student's t; NaN of a single value."""
        return float(t.ppf(0.975, self.dof)) * self.standard_error

    @property
    def p_value(self) -> float:
        """How likely a mean at least so far from 0 is where the truth is 0, by Student's t; NaN of a single value."""
        if self.standard_error == 0:
            return float(self.mean == 0)
        return 2 * float(t.sf(abs(self.mean) / self.standard_error, self.dof))


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean and 95 % interval of independent values, such as the accuracies of episodes.

    The standard error is s/√n, s² = Σ(x - mean)²/(n - 1), with n - 1 degrees of freedom. The interval is then 1.96
    standard errors wide on each side for the hundreds of episodes that the field reports, and wider for few, whose
    spread is itself a guess (Student 1908).

    Raises:
        DataError: if there are no values.
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        raise DataError("there are no values to take a mean of; evaluate at least one episode")
    if len(x) == 1:
        return Interval(float(x[0]), math.nan, math.nan)
    return Interval(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(len(x)), float(len(x) - 1))


def paired_difference(values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray) -> Interval:
    """Mean and 95 % interval of `values - baseline`, pair by pair.

    Two methods on the same episodes rise and fall together with the episodes' difficulty; the difference within
    a pair is free of it, and its interval is much narrower than the two intervals suggest.

    Raises:
        DataError: if the two are not equally many, or there are none.
    """
    if len(values) != len(baseline):
        raise DataError(f"{len(values)} values cannot be paired with {len(baseline)}; use the same episodes for both")
    return interval(np.subtract(values, baseline))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several claims, adjusted for being made together (Holm 1979); NaN counts as a claim, and stays.

    Where all claims with an adjusted value below 0.05 are believed, the chance that any of them is wrong is below 5 %.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)  # NaN last
    adjusted = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted[np.argsort(order)].tolist()


def average(intervals: Sequence[Interval]) -> Interval:
    """The mean of the means of k domains, each counting alike, with its 95 % interval.

    Domains are independent samples, so the squares of their standard errors add up; the degrees of freedom of the sum
    are those of Welch (1947). The interval covers the choice of episodes; the domains are taken as given, not as a
    sample of all the domains there are.

    Raises:
        DataError: if there are no intervals.
    """
    if not intervals:
        raise DataError("there are no domains to average over; give at least one")
    variances = [i.standard_error**2 for i in intervals]
    unsure = sum(variance**2 / i.dof for variance, i in zip(variances, intervals, strict=True))
    dof = sum(variances) ** 2 / unsure if unsure else math.inf
    k = len(intervals)
    return Interval(sum(i.mean for i in intervals) / k, math.sqrt(sum(variances)) / k, dof)


def calibration_error(bins: Sequence[Sequence[float]]) -> float:
    """Expected calibration error, in 0..1: |accuracy - confidence| of each bin, weighted by queries (Guo et al. 2017).

    Args:
        bins: number of queries, number of right answers and sum of the confidence of each bin.
    """
    queries, correct, confidence = np.asarray(bins, dtype=np.float64).T
    return float(np.abs(correct - confidence).sum() / queries.sum())
