import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from smat.analysis.curves import Series, band, gate_course, read_curves
from smat.errors import DataError
from smat.left_out import collecting
from smat.metatuning.kept import kept_folder
from tiny import tiny_pool

STEP = {"loss": 1.0, "loss/cross_entropy": 0.9, "accuracy": 0.5, "sparsity/0": 0.1, "sparsity/1": 0.2}


def log(folder: Path, rows: Sequence[dict[str, object]], more: str = "") -> Path:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + more)
    return folder


def test_a_log_becomes_series_by_name(tmp_path: Path) -> None:
    rows = [
        {"tasks": 0, "alignment/delta/all": 0.25},
        {"tasks": 2} | STEP,
        {"tasks": 4} | STEP | {"accuracy": 0.75},
        {"tasks": 4, "validation": 0.6, "validation/birds": 0.7, "validation/tools": 0.5},
        {"tasks": 4, "warning": "it has become worse"},
        {"tasks": 6} | STEP,
        {"tasks": 6, "validation": 0.6, "validation/birds": 0.6, "validation/tools": 0.6},
    ]
    (tmp_path / "config.yaml").write_text("tuning: {tasks: 12, meta_batch: 2}\ndomains: []\n")
    run = read_curves(log(tmp_path, rows))
    assert run.series["accuracy"].tasks.tolist() == [2, 4, 6]
    assert run.series["accuracy"].values.tolist() == [0.5, 0.75, 0.5]
    assert list(run.family("sparsity")) == ["0", "1"]
    assert run.family("validation")["birds"].values.tolist() == [0.7, 0.6]
    assert (run.tasks, run.planned, run.left_out) == (6, 12, 0)
    assert run.best == (4, 0.6)
    assert run.warnings == ((4, "it has become worse"),)


def test_a_log_from_before_there_were_some_numbers_has_the_others(tmp_path: Path) -> None:
    run = read_curves(log(tmp_path, [{"tasks": 2} | STEP]))
    assert "accuracy/frozen" not in run.series
    assert (run.planned, run.best, run.family("validation")) == (None, None, {})


def test_a_torn_line_is_left_out_and_said(tmp_path: Path) -> None:
    more = '[1]\n{"tasks": -1, "loss": 2}\n{"tasks": 4, "loss": 3, "huge": 1' + 400 * "0" + '}\n{"tasks": 6, "lo'
    with collecting() as left_out:
        run = read_curves(log(tmp_path, [{"tasks": 2} | STEP], more))
    assert run.series["loss"].tasks.tolist() == [2, 4]
    assert run.left_out == 3
    assert "3 lines were left out: it is not whole" in str(left_out[0])


def test_of_two_lines_with_one_number_of_tasks_the_last_counts(tmp_path: Path) -> None:
    run = read_curves(log(tmp_path, [{"tasks": 0, "a": 1.0}, {"tasks": 2, "a": 2.0}, {"tasks": 0, "a": 3.0}]))
    assert run.series["a"].tasks.tolist() == [0, 2]
    assert run.series["a"].values.tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("content", "message"), [(None, "is not there"), ("", "is empty"), ("{", "has no whole line")])
def test_a_folder_without_a_log_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(DataError, match=rf"{tmp_path}/log.jsonl' {message}.*folder of a run"):
        read_curves(tmp_path)


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    (log(tmp_path, [{"tasks": 2} | STEP]) / "config.yaml").write_text("tuning: {tasks: many}")
    with pytest.raises(DataError, match=r"config.yaml.*tuning.tasks.*Remove the file"):
        read_curves(tmp_path)


def test_a_smoothed_line_is_the_same_line_but_for_its_ends() -> None:
    tasks = np.arange(0, 100, 2)
    smooth = Series(tasks, 3.0 * tasks).smoothed(8)
    np.testing.assert_allclose(smooth.values[2:-2], 3.0 * tasks[2:-2])
    assert smooth.values[0] == pytest.approx(3 * (0 + 2 + 4) / 3)


def test_smoothing_passes_over_what_is_not_finite() -> None:
    smooth = Series(np.array([0, 1, 2, 10]), np.array([1.0, math.inf, 3.0, math.nan])).smoothed(4)
    assert smooth.values[:3].tolist() == [2.0, 2.0, 2.0]
    assert math.isnan(smooth.values[3])


def test_a_band_is_mean_and_interval_at_each_point() -> None:
    tasks = np.array([2, 4, 6])
    found = band([Series(tasks, np.array(values)) for values in ([1.0, 2, 3], [2.0, 2, 5], [3.0, 2, 7])])
    assert found.tasks.tolist() == [2, 4, 6]
    assert found.mean.tolist() == [2, 2, 5]
    half = 4.302653 * np.array([1, 0, 2]) / math.sqrt(3)  # Student's t with 2 degrees of freedom
    np.testing.assert_allclose(found.high - found.mean, half, rtol=1e-6)
    np.testing.assert_allclose(found.mean - found.low, half, rtol=1e-6)


def test_a_run_that_was_stopped_early_counts_as_far_as_it_goes() -> None:
    long, short = Series(np.array([2, 4, 6]), np.ones(3)), Series(np.array([2, 4]), np.array([3.0, 3.0]))
    found = band([short, long])
    assert found.runs.tolist() == [2, 2, 1]
    assert found.mean.tolist() == [2, 2, 1]
    assert math.isnan(found.low[2])


def test_runs_that_are_logged_at_other_tasks_meet_on_a_common_grid() -> None:
    first, second = Series(np.arange(0, 101, 2), np.arange(0.0, 101, 2)), Series(np.arange(1, 92, 3), np.zeros(31))
    found = band([first, second], points=11)
    assert found.tasks.tolist() == list(range(0, 101, 10))
    assert found.runs.tolist() == [1, *[2] * 9, 1]
    np.testing.assert_allclose(found.mean[1:10], found.tasks[1:10] / 2)
    with pytest.raises(DataError, match="at least one"):
        band([])


CLOSED, HALF, OPEN = -4.0, 0.0, 4.0


def keep(folder: Path, tasks: int, logits: Sequence[Sequence[float]]) -> None:
    """Keep a pool of two experts, the first gates of which are given; the others are open."""
    pool = tiny_pool()
    with torch.no_grad():
        pool.update.gate_logits.fill_(OPEN)
        for expert, row in enumerate(logits):
            pool.update.gate_logits[expert, : len(row)] = torch.tensor(row)
    pool.save_pretrained(folder / kept_folder(tasks))


def test_gates_that_cross_zero_are_counted_by_expert(tmp_path: Path) -> None:
    keep(tmp_path, 0, [[CLOSED, CLOSED, HALF, OPEN], [OPEN, OPEN, OPEN, OPEN]])
    keep(tmp_path, 100, [[OPEN, CLOSED, CLOSED, HALF], [OPEN, OPEN, OPEN, CLOSED]])
    keep(tmp_path, 200, [[CLOSED, CLOSED, HALF, HALF], [OPEN, OPEN, OPEN, CLOSED]])
    pool = tiny_pool()
    course = gate_course(tmp_path, backbone=pool.backbone)
    assert course.tasks.tolist() == [0, 100, 200]
    counts = {
        "closed": [[2, 0], [2, 1], [2, 1]],
        "fractional": [[1, 0], [1, 0], [2, 0]],
        "became_closed": [[0, 0], [1, 1], [1, 0]],
        "became_open": [[0, 0], [1, 0], [1, 0]],
        "moved_since_start": [[0, 0], [2, 1], [0, 1]],
        "ever_crossed": [[0, 0], [2, 1], [2, 1]],
    }
    for name, expected in counts.items():
        np.testing.assert_allclose(getattr(course, name) * pool.layout.size, expected, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(course.closed + course.fractional + course.full, 1)


def test_a_run_that_kept_no_pools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kept 0 of its pools.*--tuning.keep-every"):
        gate_course(tmp_path)


def test_pools_without_gates_are_refused(tmp_path: Path) -> None:
    pool = tiny_pool(experts=0)
    for tasks in (0, 100):
        pool.save_pretrained(tmp_path / kept_folder(tasks))
    with pytest.raises(DataError, match="no gates"):
        gate_course(tmp_path, backbone=pool.backbone)
