"""What a run records and keeps on its way, without a change to its numbers."""

import math
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smat.experts import SparseInterpolatedExperts
from smat.metatuning import MetaTuner, StepReport
from smat.metatuning.kept import drop_kept, kept_folder, kept_pools
from smat.metatuning.reports import routing_entropy
from tiny import everything, tiny_pool, tiny_tuner

BOTH = {"record_alignment": 4, "keep_every": 4}
Recorded = dict[int, dict[str, float]]


def run(folder: Path, recorded: Recorded | None = None, resume: bool = False, **settings: object) -> MetaTuner:
    found: Recorded = {} if recorded is None else recorded
    tuner = tiny_tuner(
        folder,
        tiny_pool(random_gates=True),
        on_alignment=lambda tasks, values: found.update({tasks: values}),
        **settings,
    )
    if resume:
        tuner.resume()
    tuner.run()
    return tuner


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return {}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, recorded: Recorded) -> MetaTuner:
    return run(tmp_path_factory.mktemp("watched"), recorded, **BOTH)


def test_recording_and_keeping_change_no_number_of_a_run(tmp_path: Path, watched: MetaTuner) -> None:
    expected, got = everything(run(tmp_path)), everything(watched)
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []


def test_alignment_is_recorded_before_training_on_the_way_and_at_the_end(
    watched: MetaTuner, recorded: Recorded
) -> None:
    assert list(recorded) == [0, 4, 8, 12]
    assert "alignment/gates/all" not in recorded[0]  # where the update is zero, gates have no gradient
    groups = ("delta", "gates", "router")
    assert set(recorded[12]) == {f"alignment/{g}/{p}" for g in groups for p in ("all", "within", "between")}
    assert all(-1 <= value <= 1 for values in recorded.values() for value in values.values())


@pytest.mark.parametrize("at", [4, 6])
def test_a_stopped_run_resumes_to_the_same_records(
    tmp_path: Path, watched: MetaTuner, recorded: Recorded, at: int
) -> None:
    def stop(report: StepReport) -> None:
        if report.tasks == at:
            os.kill(os.getpid(), signal.SIGTERM)

    found: Recorded = {}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, found, on_step=stop, **BOTH)
    resumed = run(tmp_path, found, resume=True, **BOTH)
    expected, got = everything(watched), everything(resumed)
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []
    assert found == recorded
    assert pools(tmp_path).keys() == pools(watched.folder).keys()
    for tasks, pool in pools(watched.folder).items():
        assert all(torch.equal(pool[name], value) for name, value in pools(tmp_path)[tasks].items())


def pools(folder: Path) -> dict[int, dict[str, torch.Tensor]]:
    return {tasks: load_file(path / "model.safetensors") for tasks, path in kept_pools(folder).items()}


def test_pools_are_kept_before_training_on_the_way_and_at_the_end(watched: MetaTuner) -> None:
    kept = kept_pools(watched.folder)
    assert list(kept) == [0, 4, 8, 12]
    assert kept[4] == watched.folder / "kept" / "task-000004"
    for tasks, path in kept.items():
        pool = SparseInterpolatedExperts.from_pretrained(path, backbone=tiny_pool().backbone)
        assert int(pool.tasks_seen) == tasks
    start = SparseInterpolatedExperts.from_pretrained(kept[0], backbone=tiny_pool().backbone)
    assert torch.equal(start.update.gate_logits, tiny_pool(random_gates=True).update.gate_logits)
    end = SparseInterpolatedExperts.from_pretrained(kept[12], backbone=tiny_pool().backbone)
    assert torch.equal(end.update.gate_logits, watched.pool.update.gate_logits)


def test_a_run_that_patience_ends_keeps_its_last_pool(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path, tasks=200, validate_every=2, patience=1, keep_every=100)
    tuner.run()
    assert tuner.progress.tasks < 100
    assert list(kept_pools(tmp_path)) == [0, tuner.progress.tasks]


def test_pools_beyond_where_a_run_goes_on_are_dropped(tmp_path: Path) -> None:
    for name in (*map(kept_folder, (0, 8, 1_000_000)), "kept/task-000012.new", "kept/mine"):
        (tmp_path / name).mkdir(parents=True)
    assert list(kept_pools(tmp_path)) == [0, 8, 1_000_000]
    drop_kept(tmp_path, after=8)
    assert list(kept_pools(tmp_path)) == [0, 8]
    assert (tmp_path / "kept" / "mine").exists()


def test_routing_entropy_of_known_weights() -> None:
    assert float(routing_entropy(torch.full((4,), 0.25))) == pytest.approx(1)
    assert float(routing_entropy(torch.tensor([0.0, 1.0, 0.0]))) == 0
    assert float(routing_entropy(torch.tensor([0.5, 0.5, 0.0, 0.0]))) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("settings", "there"),
    [({}, True), ({"experts": 1}, False), ({"experts": 1, "null_expert": True}, True)],
)
def test_routing_entropy_is_logged_where_tasks_have_a_choice(
    tmp_path: Path, settings: dict[str, object], there: bool
) -> None:
    seen: list[dict[str, float]] = []
    tuner = tiny_tuner(
        tmp_path, tiny_pool(**settings), tasks=2, validate_every=0, on_step=lambda r: seen.append(r.values)
    )
    tuner.run()
    assert ("routing_entropy" in seen[0]) == there
    if there:
        assert 0 < seen[0]["routing_entropy"] <= 1
    if settings.get("null_expert"):
        weight = seen[0]["merge_weight/0"]
        # of one step of two tasks it is the mean of two entropies, at most that of their mean
        assert seen[0]["routing_entropy"] <= -sum(w * math.log2(w) for w in (weight, 1 - weight)) + 1e-6
