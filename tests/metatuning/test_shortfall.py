from pathlib import Path

import pytest

from smat.metatuning import GroupConfig, OptimizerConfig, StepReport
from smat.metatuning.shortfall import Shortfall, shortfall
from tiny import tiny_tuner

TARGET = 0.6


Course = tuple[list[int], list[list[float]], list[list[float]]]


def course(folder: Path, tasks: int, rate: float) -> tuple[Course, Shortfall | None]:
    """A run's tasks, sparsity and multipliers by step, and what it lacks."""
    reports: list[StepReport] = []
    optimizers = OptimizerConfig(
        delta=GroupConfig("adamw", 1e-3),
        gates=GroupConfig("sgd", 5e2, scheduled=False),
        multipliers=GroupConfig("sgd", rate, scheduled=False),
    )
    tuner = tiny_tuner(
        folder, tasks=tasks, validate_every=0, target_sparsity=TARGET, optimizers=optimizers, on_step=reports.append
    )
    tuner.run()
    done = [report.tasks for report in reports]
    sparsity = [report.sparsity for report in reports]
    multipliers = [[report.values[f"multiplier/{m}"] for m in range(2)] for report in reports]
    return (done, sparsity, multipliers), shortfall(done, sparsity, multipliers, [TARGET] * 2)


def test_what_a_run_advises_reaches_the_sparsity(tmp_path: Path) -> None:
    tasks, rate = 40, 0.1
    _, lack = course(tmp_path / "short", tasks, rate)
    assert lack is not None
    assert lack.tasks is not None
    assert lack.faster is not None
    assert tasks < lack.tasks < 10 * tasks
    (done, sparsity, multipliers), none = course(tmp_path / "longer", lack.tasks, rate)
    assert none is None
    _, none = course(tmp_path / "faster", tasks, rate * lack.faster)
    assert none is None
    # nor was it far too much
    cut = round(0.6 * len(done))
    assert shortfall(done[:cut], sparsity[:cut], multipliers[:cut], [TARGET] * 2) is not None


def test_a_sparsity_that_was_reached_lacks_nothing() -> None:
    once = [[0.0, 0.0], [0.95, 0.91], [0.87, 0.89]]  # they swing about the target
    assert shortfall([2, 4, 6], once, [[1.0, 1.0]] * 3, [0.9, 0.9]) is None
    assert shortfall([2, 4], [[0.1], [0.885]], [[1.0], [1.0]], [0.9]) is None


def test_without_movement_there_is_no_estimate() -> None:
    flat = shortfall([2, 4, 6], [[0.01, 0.5]] * 3, [[0.1, 0.1]] * 3, [0.9, 0.9])
    assert flat == Shortfall(0.01, 0.9)
    closed = shortfall([2, 4, 6], [[0.0]] * 3, [[0.1], [0.2], [0.3]], [0.9])
    assert closed == Shortfall(0.0, 0.9)
    config = tiny_tuner(Path("unused")).config
    assert "more tasks (tuning.tasks), or a tuning.optimizers.multipliers.lr above 0.002" in closed.text(config)


def test_the_densest_expert_is_the_one_that_counts() -> None:
    tasks = list(range(2, 42, 2))
    fast = [0.01 * 1.2**n for n in range(20)]
    slow = [0.01 * 1.1**n for n in range(20)]
    rising = [0.1 * n for n in range(1, 21)]
    both = shortfall(tasks, list(map(list, zip(fast, slow, strict=True))), [[m, m] for m in rising], [0.9, 0.9])
    alone = shortfall(tasks, [[s] for s in slow], [[m] for m in rising], [0.9])
    assert both == alone
    assert both is not None
    assert both.sparsity == pytest.approx(slow[-1])


def test_every_expert_has_its_own_target() -> None:
    sparsity, multipliers = [[0.1, 0.1], [0.4, 0.4], [0.5, 0.7]], [[0.1, 0.1]] * 3
    lack = shortfall([2, 4, 6], sparsity, multipliers, [0.5, 0.99])
    assert lack is not None
    assert (lack.sparsity, lack.target) == (0.7, 0.99)
    assert shortfall([2, 4, 6], sparsity, multipliers, [0.5, 0.7]) is None
