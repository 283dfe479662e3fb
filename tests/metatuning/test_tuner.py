import multiprocessing
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from smat.episodes import Episode, EpisodeSource
from smat.errors import CheckpointError, CollapseError, ConfigError, NonFiniteError, WorkerError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning import GroupConfig, MetaTuner, OptimizerConfig, StepReport, TuningConfig
from smat.metatuning.checkpoints import KeptState, load_state, save_state
from smat.metatuning.watch import early
from tiny import everything, tiny_pool, tiny_tuner


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> MetaTuner:
    tuner = tiny_tuner(tmp_path_factory.mktemp("run"), tiny_pool(random_gates=True))
    tuner.run()
    return tuner


def test_tuning_moves_every_part(uninterrupted: MetaTuner) -> None:
    before, after = tiny_pool(random_gates=True), uninterrupted.pool
    assert int(after.tasks_seen) == 12
    assert torch.equal(before.pretrained, after.pretrained)
    for name, value in before.named_parameters():
        assert not torch.equal(value, after.get_parameter(name)), name
    assert (uninterrupted.multipliers > 0).all()


@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 2), (signal.SIGINT, 6), (signal.SIGTERM, 8)])
def test_a_stopped_run_resumes_to_the_same_numbers(
    tmp_path: Path, uninterrupted: MetaTuner, number: signal.Signals, at: int
) -> None:
    def stop(report: StepReport) -> None:
        if report.tasks == at:
            os.kill(os.getpid(), number)

    first = tiny_tuner(tmp_path, tiny_pool(random_gates=True), on_step=stop)
    with pytest.raises(KeyboardInterrupt, match="go on with resume"):
        first.run()
    assert at <= first.progress.tasks < 12
    second = tiny_tuner(tmp_path, tiny_pool(random_gates=True))
    second.resume()
    assert second.progress.tasks == first.progress.tasks
    second.run()
    expected, got = everything(uninterrupted), everything(second)
    assert expected.keys() == got.keys()
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []
    assert second.progress == uninterrupted.progress


def test_a_crash_after_a_checkpoint_loses_nothing_before_it(tmp_path: Path, uninterrupted: MetaTuner) -> None:
    class Crash(Exception):
        pass

    def crash(report: StepReport) -> None:
        if report.tasks == 10:
            raise Crash

    with pytest.raises(Crash):
        tiny_tuner(tmp_path, tiny_pool(random_gates=True), on_step=crash).run()
    again = tiny_tuner(tmp_path, tiny_pool(random_gates=True))
    again.resume()
    assert again.progress.tasks == 8
    again.run()
    expected, got = everything(uninterrupted), everything(again)
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def stop_in(source: EpisodeSource, number: int) -> None:
    """Have somebody stop the run while it waits for an episode."""
    made = source.episode

    def episode(n: int) -> Episode:
        if n == number:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("it went on")
        return made(n)

    source.episode = episode  # type: ignore[method-assign]


def test_a_validation_that_is_cut_short_is_made_again(tmp_path: Path, uninterrupted: MetaTuner) -> None:
    first = tiny_tuner(tmp_path, tiny_pool(random_gates=True))
    stop_in(first.validation[0], 1)
    with pytest.raises(KeyboardInterrupt, match="4 tasks are done"):
        first.run()
    second = tiny_tuner(tmp_path, tiny_pool(random_gates=True))
    second.resume()
    assert second.run() == uninterrupted.progress
    expected, got = everything(uninterrupted), everything(second)
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []


def test_a_signal_while_episodes_are_awaited_ends_the_wait(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path, tasks=40, validate_every=0)
    stop_in(tuner.train_source, 6)
    with pytest.raises(KeyboardInterrupt, match="6 tasks are done"):
        tuner.run()
    assert load_state(tmp_path / "state")["progress"]["tasks"] == 6


def test_what_was_done_is_kept_when_an_episode_cannot_be_made(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path, tasks=40, validate_every=0)
    tuner.workers = 1

    def kill_worker(report: StepReport) -> None:
        if report.tasks == 6:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]

    tuner.on_step = kill_worker
    with pytest.raises(WorkerError):
        tuner.run()
    assert load_state(tmp_path / "state")["progress"]["tasks"] >= 6


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state({"n": 1}, tmp_path / "state")

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("smat.metatuning.checkpoints.save_file", full)
    with pytest.raises(ConfigError, match=r"state.safetensors cannot be written: .*No space left.*make room"):
        save_state({"n": 2}, tmp_path / "state")
    assert load_state(tmp_path / "state") == {"n": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_best_is_kept_and_patience_ends_a_run_that_does_not_improve(tmp_path: Path) -> None:
    seen: dict[int, float] = {}
    tuner = tiny_tuner(
        tmp_path, tasks=40, patience=2, on_validation=lambda tasks, by: seen.update({tasks: sum(by.values()) / len(by)})
    )
    progress = tuner.run()
    assert progress.best_accuracy == max(seen.values())
    assert progress.best_tasks == min(t for t, a in seen.items() if a == progress.best_accuracy)
    if progress.tasks < 40:
        assert progress.waited == 2
    best = SparseInterpolatedExperts.from_pretrained(str(tmp_path / "best"), backbone=tiny_pool().backbone)
    assert int(best.tasks_seen) == progress.best_tasks
    last = load_file(tmp_path / "last" / "model.safetensors")
    assert torch.equal(last["gate_logits"], tuner.pool.update.gate_logits)


def test_a_run_without_validation_keeps_its_last_state_as_the_best(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path, tasks=4, validate_every=0)
    tuner.run()
    best = load_file(tmp_path / "best" / "model.safetensors")
    assert torch.equal(best["gate_logits"], tuner.pool.update.gate_logits)


def test_a_loss_that_is_not_finite_names_the_episode_after_saving(tmp_path: Path) -> None:
    def poison(report: StepReport) -> None:
        if report.tasks == 6:
            with torch.no_grad():
                tuner.pool.update.delta.fill_(1e38)

    tuner = tiny_tuner(tmp_path, on_step=poison)
    with pytest.raises(NonFiniteError, match=r"episode (glyphs|polygons)/train/1/6"):
        tuner.run()
    assert load_state(tmp_path / "state")["progress"]["tasks"] == 6


def dense_tuner(folder: Path, collapse_at: int | None = None) -> MetaTuner:
    """A run of 40 tasks whose network gives all images the same features from some task on."""

    def collapse(report: StepReport) -> None:
        if collapse_at and report.tasks >= collapse_at:
            with torch.no_grad():
                pool.update.delta.copy_(-pool.pretrained)
                pool.update.delta[bias] += 1

    pool = tiny_pool(experts=1, gating="open")
    (bias,) = [where for name, where in pool.layout.slices.items() if name.endswith("out.bias")]
    settings: dict[str, object] = {"tasks": 40, "validate_every": 0, "target_sparsity": None}
    return tiny_tuner(folder, pool, on_step=collapse, **settings)


def test_constant_features_end_a_run_and_leave_the_state_before_them(tmp_path: Path) -> None:
    with pytest.raises(CollapseError, match=rf"task 24.*of task 12, is kept: as a pool in {tmp_path}/good.*--resume"):
        dense_tuner(tmp_path, collapse_at=14).run()
    # 16 and 20 were checkpoints too
    assert load_state(tmp_path / "state")["progress"]["tasks"] == 12
    assert not (tmp_path / "state-before").exists()
    good = SparseInterpolatedExperts.from_pretrained(str(tmp_path / "good"), backbone=tiny_pool().backbone)
    assert int(good.tasks_seen) == 12
    again = dense_tuner(tmp_path)
    again.resume()
    assert torch.equal(again.pool.update.delta, good.update.delta)
    assert again.run().tasks == 40


def test_a_run_that_breaks_its_network_at_once_has_nothing_good_to_keep(tmp_path: Path) -> None:
    with pytest.raises(
        CollapseError, match=r"task 12:.*No state.*another folder. Lower tuning.optimizers.delta.lr \(0.01"
    ):
        dense_tuner(tmp_path, collapse_at=2).run()
    assert not (tmp_path / "good").exists()


def test_a_network_that_falls_below_the_frozen_one_is_warned_of_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    tuner = tiny_tuner(tmp_path, tasks=60, validate_every=0, on_warning=warnings.append)
    report = tuner.watch.add
    tuner.watch.add = lambda accuracy, frozen, spread: report(0.4 + 0.01 * (frozen > 0.5), 0.6, spread)  # type: ignore[method-assign]
    tuner.run()
    (warning,) = warnings
    assert re.search(
        r"40\.\d % against 60\.0 %.*at task 20\. Lower tuning.optimizers.delta.lr \(0.01\), lengthen", warning
    )
    assert load_state(tmp_path / "state-before")["progress"]["tasks"] == 16


def test_a_state_comes_before_the_first_checkpoint(tmp_path: Path) -> None:
    config = TuningConfig(tasks=1000, meta_batch=4, checkpoint_every=500)
    assert [n for n in range(4, 1000, 4) if early(n, config)] == [20, 40, 80, 160, 320]
    assert not any(early(n, TuningConfig(tasks=1000, checkpoint_every=20)) for n in range(4, 1000, 4))


def test_a_state_that_was_set_aside_is_found(tmp_path: Path) -> None:
    kept = KeptState(tmp_path)
    for number, doubtful in enumerate([False, True, True]):
        kept.save({"n": number}, doubtful)
    assert (kept.load(), load_state(kept.before)) == ({"n": 2}, {"n": 0})
    shutil.rmtree(kept.now)  # as if the process had died between setting aside and writing
    assert kept.load() == {"n": 0}
    kept.save({"n": 3}, True)
    kept.save({"n": 4}, False)
    assert not kept.before.exists()
    assert kept.drop_doubtful()
    assert kept.load() == {"n": 4}


def test_sparsity_reaches_its_target_and_multipliers_then_rest(tmp_path: Path) -> None:
    sparsity: list[list[float]] = []
    optimizers = OptimizerConfig(
        delta=GroupConfig("adamw", 1e-3), gates=GroupConfig("sgd", 2e3), multipliers=GroupConfig("sgd", 0.2)
    )
    tuner = tiny_tuner(
        tmp_path,
        tasks=80,
        validate_every=0,
        target_sparsity=0.5,
        optimizers=optimizers,
        on_step=lambda report: sparsity.append(report.sparsity),
    )
    tuner.run()
    assert max(sparsity[0]) < 0.1
    assert min(sparsity[-1]) >= 0.45
    assert max(sparsity[-1]) < 0.9


def test_the_number_of_workers_does_not_change_a_run(tmp_path: Path) -> None:
    def run(workers: int) -> dict[str, torch.Tensor]:
        tuner = tiny_tuner(tmp_path / str(workers), tasks=4, validate_every=0)
        tuner.workers = workers
        tuner.run()
        return everything(tuner)

    alone, helped = run(0), run(2)
    assert all(torch.equal(alone[key], helped[key]) for key in alone)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose 8"):
        TuningConfig(tasks=10, meta_batch=4)
    with pytest.raises(ConfigError, match="target_sparsity"):
        TuningConfig(target_sparsity=1.0)
    with pytest.raises(ConfigError, match="nothing to tune"):
        tiny_tuner(tmp_path, tiny_pool(experts=0))
    with pytest.raises(CheckpointError, match="nothing to resume"):
        tiny_tuner(tmp_path).resume()


def test_state_survives_a_crash_between_its_two_renames(tmp_path: Path) -> None:
    state = {"a": torch.arange(3), "nested": {0: {"x": torch.ones(2)}, "list": [1, None, 0.1]}}
    save_state(state, tmp_path / "state")
    (tmp_path / "state").rename(tmp_path / "state.old")  # where a crash would leave it
    loaded = load_state(tmp_path / "state")
    assert torch.equal(loaded["a"], state["a"])
    assert torch.equal(loaded["nested"][0]["x"], torch.ones(2))
    assert loaded["nested"]["list"] == [1, None, 0.1]
    (tmp_path / "state" / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="damaged"):
        load_state(tmp_path / "state")
