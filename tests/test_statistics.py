"""Intervals, averages and calibration, against closed forms."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from smat.errors import DataError
from smat.evaluation import EpisodeRow, Outcome, Summary, averages, calibration_bins, results_table, summarise
from smat.statistics import Interval, average, calibration_error, interval, paired_difference


def row(
    confidence: list[float], correct: list[float], n: int = 0, domain: str = "birds", **more: Outcome
) -> EpisodeRow:
    outcome = Outcome(torch.tensor(confidence), torch.tensor(correct))
    return EpisodeRow(f"{domain}/test/0/{n}", domain, n, 5, 25, len(correct), {"pretrained": outcome, **more})


def test_interval_of_four_values() -> None:
    found = interval([0.2, 0.4, 0.6, 0.8])  # s² = (0.09 + 0.01 + 0.01 + 0.09) / 3
    assert found.mean == pytest.approx(0.5)
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
    assert found.half_width == pytest.approx(0.05 / 2)
    assert average([Interval(0.4, 0.02)]) == Interval(0.4, 0.02)


def test_average_of_domains_of_one_size_is_that_of_all_their_values_around_their_means() -> None:
    domains = np.random.default_rng(1).normal([[0.3], [0.8], [0.5]], 0.1, (3, 400))
    whole = interval((domains - domains.mean(1, keepdims=True)).ravel())
    found = average([interval(domain) for domain in domains])
    assert found.mean == pytest.approx(domains.mean())
    assert found.half_width == pytest.approx(whole.half_width, rel=2e-3)


def test_nothing_has_no_mean() -> None:
    for fails in (lambda: interval([]), lambda: average([]), lambda: summarise([])):
        with pytest.raises(DataError, match="at least one"):
            fails()
    with pytest.raises(DataError, match="2 values cannot be paired with 1"):
        paired_difference([0.1, 0.2], [0.1])


def test_calibration_error_of_one_bin_is_the_gap() -> None:
    rows = [row([0.81] * 5, [1.0, 1.0, 1.0, 0.0, 0.0])]
    assert calibration_error(calibration_bins(rows, "pretrained")) == pytest.approx(0.81 - 0.6, abs=1e-6)
    certain = [row([1.0] * 4, [1.0] * 4)]
    assert calibration_error(calibration_bins(certain, "pretrained")) == pytest.approx(0, abs=1e-6)


def test_calibration_error_is_the_multi_class_one_of_episodes_of_any_way() -> None:
    generator = torch.Generator().manual_seed(0)
    widest = MulticlassCalibrationError(num_classes=9, n_bins=15)
    rows = []
    for n, way in enumerate((5, 9, 7)):
        probabilities = torch.randn(40, way, generator=generator).mul(3).softmax(1)
        labels = torch.randint(way, (40,), generator=generator)
        confidence, choice = probabilities.max(1)
        rows.append(row(confidence.tolist(), (choice == labels).float().tolist(), n))
        padded = torch.nn.functional.pad(probabilities, (0, 9 - way))
        widest.update(padded, labels)
    assert calibration_error(calibration_bins(rows, "pretrained")) == pytest.approx(float(widest.compute()), abs=1e-6)


def test_summary_of_a_domain() -> None:
    better = Outcome(torch.tensor([0.9, 0.9]), torch.tensor([1.0, 1.0]))
    rows = [row([0.6, 0.6], [1.0, 0.0], 0, smat=better), row([0.6, 0.6], [0.0, 0.0], 1, smat=better)]
    found = summarise(rows, "ood")
    assert (found.name, found.role, found.episodes) == ("birds", "ood", 2)
    assert found.accuracy["pretrained"].mean == pytest.approx(0.25)
    assert found.accuracy["smat"] == Interval(1.0, 0.0, dof=1.0)
    assert found.difference == {"smat": paired_difference([1.0, 1.0], [0.5, 0.0])}
    assert found.calibration_error["smat"] == pytest.approx(0.1, abs=1e-6)
    assert summarise([row([0.5], [1.0])]).difference == {}


def test_averages_are_of_each_role_with_two_domains_or_more() -> None:
    def domain(name: str, role: str, right: float) -> Summary:
        return summarise([row([0.5], [right], n, name) for n in range(3)], role)

    summaries = [domain("a", "id", 1.0), domain("b", "ood", 0.0), domain("c", "id", 0.0), domain("d", "", 1.0)]
    (found,) = averages(summaries)
    assert (found.name, found.role, found.episodes) == ("ID average", "id", 6)
    assert found.accuracy["pretrained"] == Interval(0.5, 0.0)
    assert found.calibration_error["pretrained"] == pytest.approx(0.5)
    assert [s.name for s in averages([*summaries, domain("e", "ood", 1.0)])] == ["ID average", "OOD average"]
    kept = [domain("e", "validation", 1.0), domain("f", "validation", 0.0)]
    assert [s.name for s in averages([*summaries, *kept])] == ["ID average", "validation average"]
    assert results_table([*summaries, *kept]).row_count == 6 + 2
