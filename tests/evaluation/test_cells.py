"""What is kept of episodes."""

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from smat.evaluation import Cell, EpisodeRow, Outcome, calibration_bins
from smat.statistics import calibration_error
from tiny_cells import make_cell


def row(confidence: list[float], correct: list[float], n: int = 0, seconds: float = 0.5) -> EpisodeRow:
    outcome = Outcome(torch.tensor(confidence), torch.tensor(correct), seconds)
    return EpisodeRow(f"birds/test/0/{n}", "birds", n, 5, 25, len(correct), {"smat": outcome})


def test_a_cell_of_rows_and_of_rows_that_follow() -> None:
    rows = [row([0.9, 0.5], [1.0, 0.0], 3), row([0.7, 0.7], [1.0, 1.0], 4), row([0.2, 0.9], [0.0, 0.0], 5)]
    key = make_cell("smat", "birds", [0]).key
    whole = Cell.of(key, "ood", rows, "smat", [0.1, 0.2, 0.3])
    assert (whole.key, whole.role, whole.first) == (key, "ood", 3)
    assert (whole.accuracies, whole.seconds, whole.rates) == ([0.5, 1.0, 0.0], 1.5, [0.1, 0.2, 0.3])
    parts = Cell.of(key, "ood", rows[:1], "smat", [0.1]) + Cell.of(key, "ood", rows[1:], "smat", [0.2, 0.3])
    assert parts == whole


def test_bins_hold_queries_right_answers_and_confidence() -> None:
    bins = calibration_bins([row([0.0, 0.05, 0.81, 1.0], [0.0, 1.0, 1.0, 0.0])], "smat")
    assert bins.shape == (15, 3)
    assert bins[0].tolist() == pytest.approx([2, 1, 0.05])
    assert bins[12].tolist() == pytest.approx([1, 1, 0.81])
    assert bins[14].tolist() == [1, 0, 1]  # the last bin holds 1 too
    assert bins.sum(0)[:2].tolist() == [4, 2]


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
    found = calibration_error(calibration_bins(rows, "smat").tolist())
    assert found == pytest.approx(float(widest.compute()), abs=1e-6)
