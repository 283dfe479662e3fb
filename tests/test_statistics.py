"""Intervals, averages and calibration, against closed forms."""

import math

import numpy as np
import pytest
import scipy.stats

from smat.errors import DataError
from smat.statistics import Interval, average, calibration_error, holm, interval, paired_difference


def test_interval_of_four_values() -> None:
    found = interval([0.2, 0.4, 0.6, 0.8])  # s² = (0.09 + 0.01 + 0.01 + 0.09) / 3
    assert found.mean == pytest.approx(0.5)
    assert (found.standard_error, found.dof) == (pytest.approx(math.sqrt(0.2 / 3) / 2), 3)
    assert found.half_width == pytest.approx(3.1824 * math.sqrt(0.2 / 3) / 2, rel=1e-4)  # 97.5 % of Student's t, dof 3


@pytest.mark.filterwarnings("error")
def test_one_value_has_no_interval() -> None:
    found = interval([0.7])
    assert found.mean == 0.7
    assert math.isnan(found.half_width)
    assert math.isnan(average([found, Interval(0.5, 0.1)]).half_width)


def check_19_in_20(found: list[Interval], mean: float) -> None:
    covered = np.mean([abs(i.mean - mean) <= i.half_width for i in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(found))


@pytest.mark.parametrize(("domains", "episodes"), [(1, 600), (1, 3), (5, 3)])
def test_the_interval_covers_the_mean_19_times_in_20(domains: int, episodes: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0.6, 0.1, (2000, domains, episodes))
    found = [average([interval(domain) for domain in sample]) for sample in samples]
    check_19_in_20(found, 0.6)


def test_the_interval_of_many_right_and_wrong_answers_covers_their_rate_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    found = [interval(sample) for sample in rng.binomial(75, 0.6, (2000, 600)) / 75]
    check_19_in_20(found, 0.6)


def test_paired_difference_is_free_of_what_the_pairs_share() -> None:
    difficulty = np.linspace(0.2, 0.9, 50)
    gain = np.tile([0.01, 0.03], 25)
    found = paired_difference(difficulty + gain, difficulty)
    assert found.mean == pytest.approx(0.02)
    assert found.half_width == pytest.approx(2.0096 * 0.01 * math.sqrt(50 / 49) / math.sqrt(50), rel=1e-4)
    assert found.half_width < interval(difficulty).half_width / 10
    back = paired_difference(difficulty, difficulty + gain)
    assert (back.mean, back.half_width) == (pytest.approx(-found.mean), pytest.approx(found.half_width))


def test_average_adds_standard_errors_in_quadrature() -> None:
    found = average([Interval(0.5, 0.03), Interval(0.9, 0.04)])
    assert found.mean == pytest.approx(0.7)
    assert found.standard_error == pytest.approx(0.05 / 2)
    assert found.half_width == pytest.approx(1.95996 * 0.05 / 2, rel=1e-5)
    assert average([Interval(0.4, 0.02)]) == Interval(0.4, 0.02)


def test_average_of_domains_of_one_size_is_that_of_all_their_values_around_their_means() -> None:
    domains = np.random.default_rng(1).normal([[0.3], [0.8], [0.5]], 0.1, (3, 400))
    whole = interval((domains - domains.mean(1, keepdims=True)).ravel())
    found = average([interval(domain) for domain in domains])
    assert found.mean == pytest.approx(domains.mean())
    assert found.half_width == pytest.approx(whole.half_width, rel=2e-3)


def test_nothing_has_no_mean() -> None:
    for fails in (lambda: interval([]), lambda: average([])):
        with pytest.raises(DataError, match="at least one"):
            fails()
    with pytest.raises(DataError, match="2 values cannot be paired with 1"):
        paired_difference([0.1, 0.2], [0.1])


def test_calibration_error_weighs_the_gaps_of_the_bins_by_their_queries() -> None:
    assert calibration_error([[3.0, 3.0, 2.4], [0.0, 0.0, 0.0], [1.0, 0.0, 0.6]]) == pytest.approx((0.6 + 0.6) / 4)
    assert calibration_error([[4.0, 4.0, 4.0]]) == 0


def test_holm_multiplies_the_smallest_p_value_by_the_number_of_claims_and_keeps_their_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_p_value_is_that_of_a_t_test() -> None:
    values = [0.1, 0.3, 0.2, -0.1, 0.4]
    assert interval(values).p_value == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    assert interval([0.0, 0.0]).p_value == 1.0
    assert interval([0.5, 0.5]).p_value == 0.0
