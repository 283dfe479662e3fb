import math
from pathlib import Path

import numpy as np
import pytest

from smat.analysis.alignment import alignment, difference, measure_alignment, recorded_alignment, side_by_side
from smat.analysis.curves import RunCurves, Series
from smat.errors import ConfigError, DataError
from smat.metatuning import TuningConfig
from smat.metatuning.alignment import GradientCosines, Probe, gradient_cosines
from tiny import tiny_pool, tiny_source

A = np.array([0.3, -0.1, 0.4, 0.2, -0.2, 0.1])


def of(matrix: np.ndarray, domains: str = "", tasks: str = "") -> GradientCosines:
    names = domains or "x" * len(matrix)
    return GradientCosines(tuple(tasks or map(str, range(len(names)))), tuple(names), {"delta": matrix})


def test_the_error_of_a_mean_over_pairs_is_that_of_the_tasks() -> None:
    found = alignment(of(A[:, None] + A[None, :]), "delta")  # whose mean over pairs is twice the mean of the tasks
    assert found.mean == pytest.approx(2 * A.mean())
    assert found.standard_error == pytest.approx(2 * A.std(ddof=1) / math.sqrt(len(A)))
    assert found.dof == len(A) - 1


def test_within_domains_of_two_tasks_the_error_is_that_of_the_domains_and_rather_too_large() -> None:
    matrix = np.zeros((6, 6))
    cosines = np.array([0.1, 0.5, 0.3])
    for domain, cosine in enumerate(cosines):
        matrix[2 * domain, 2 * domain + 1] = matrix[2 * domain + 1, 2 * domain] = cosine
    found = alignment(of(matrix, "aabbcc"), "delta", "within")
    assert found.mean == pytest.approx(0.3)
    independent = cosines.std(ddof=1) / math.sqrt(3)
    assert found.standard_error == pytest.approx(independent * math.sqrt(5 / 2))
    assert alignment(of(matrix, "aabbcc"), "delta", "between").mean == 0


def test_tasks_without_a_direction_do_not_count() -> None:
    matrix = A[:, None] + A[None, :]
    with_gap = np.full((7, 7), np.nan)
    with_gap[:6, :6] = matrix
    assert alignment(of(with_gap), "delta") == alignment(of(matrix), "delta")


def test_too_few_pairs_have_no_interval() -> None:
    two = alignment(of(np.array([[1, 0.4], [0.4, 1]])), "delta")
    assert two.mean == pytest.approx(0.4)
    assert math.isnan(two.half_width)
    none = alignment(of(np.eye(2)), "delta", "between")
    assert math.isnan(none.mean)
    assert math.isnan(none.half_width)


def test_a_difference_on_the_same_tasks_is_free_of_what_they_share() -> None:
    first, second = of(A[:, None] + A[None, :] + 0.25), of(A[:, None] + A[None, :])
    found = difference(first, second, "delta")
    assert found.mean == pytest.approx(0.25)
    assert found.half_width == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError, match="different tasks"):
        difference(first, of(A[:, None] + A[None, :], tasks="abcdef"), "delta")


def test_at_a_checkpoint_the_cosines_are_those_that_a_run_records() -> None:
    pool, source, config = tiny_pool(), tiny_source("train", train=True), TuningConfig(seed=3)
    seen: list[int] = []
    found = measure_alignment(pool, source, config, tasks=2, on_task=seen.append)
    expected = gradient_cosines(pool, Probe(source, 3), config, "32-true")
    assert found.tasks == expected.tasks
    assert all(np.array_equal(found.groups[name], matrix, equal_nan=True) for name, matrix in expected.groups.items())
    assert seen == [1, 2, 3, 4]


def test_what_cannot_be_measured_is_refused() -> None:
    source = tiny_source("train")
    with pytest.raises(ConfigError, match="without experts"):
        measure_alignment(tiny_pool(experts=0), source)
    with pytest.raises(ConfigError, match=r"tasks.*2 to 1000"):
        measure_alignment(tiny_pool(), source, tasks=1)


def recorded(tasks: list[int], value: float) -> RunCurves:
    series = Series(np.array(tasks), np.full(len(tasks), value))
    names = ("alignment/delta/all", "alignment/delta/within", "alignment/router/all", "accuracy")
    return RunCurves(Path("run"), dict.fromkeys(names, series), None)


def test_recorded_alignment_of_two_runs_side_by_side() -> None:
    first, second = recorded([0, 100, 200, 300], 0.1), recorded([0, 200, 400], 0.3)
    assert {group: list(pairs) for group, pairs in recorded_alignment(first).items()} == {
        "delta": ["all", "within"],
        "router": ["all"],
    }
    one, other = side_by_side(first, second)["delta"]["within"]
    assert one.tasks.tolist() == other.tasks.tolist() == [0, 200]
    assert (one.values[0], other.values[0]) == (0.1, 0.3)
    assert side_by_side(first, RunCurves(Path("old"), {}, None)) == {}
