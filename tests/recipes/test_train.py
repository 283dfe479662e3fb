import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
import transformers
import yaml
from lightning.fabric import Fabric
from lightning_utilities.core import rank_zero
from safetensors.torch import load_file, save_file

from forks import Forks
from smat.cli import main
from smat.errors import CheckpointError, ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.files import locked
from smat.metatuning import MetaTuner, StepReport, rate_search
from smat.metatuning.checkpoints import load_state
from smat.metatuning.rate_search import RateSearch, Trial
from smat.metatuning.run_config import EpisodeConfig, TrainConfig
from smat.metatuning.run_log import read_log
from smat.metatuning.watch import Watch
from smat.recipes.devices import launch
from smat.recipes.quickstart import shipped_config
from smat.recipes.rate_search import read_trials
from smat.recipes.run_folder import check_origins
from smat.recipes.train import meta_tune, prepare_folder, train, with_kept_tracks
from smat.recipes.training_log import TrainingLog

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    file.name.removesuffix(".yaml")
    for file in (files("smat") / "configs").iterdir()
    if ".yaml" in file.name and file.name != "meta_dataset.yaml"  # which reproduce/test_meta_dataset.py runs
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small ViT's folder."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def settings(backbone: str, tmp_path: Path) -> Path:
    """A configuration of 8 tasks, two a step."""
    path = tmp_path / "tiny.yaml"
    values = {
        "backbone": backbone,
        "domains": ["pocket:glyphs", {"source": "pocket:polygons"}],
        "episodes": {"way": 3, "shot": 1, "query": 1},
        "pool": {"experts": 2},
        "tuning": {
            "tasks": 8,
            "meta_batch": 2,
            "validate_every": 4,
            "validation_episodes": 2,
            "checkpoint_every": 2,
            "precision": "32-true",
            "optimizers": {"delta": {"lr": 1e-4}},
        },
        "workers": 0,
        "accelerator": "cpu",
    }
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks("started", tmp_path_factory.mktemp("forks"), seconds=300)
    yield forks
    forks.close()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_configuration_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    short = ["tasks=2", "meta_batch=1", "validate_every=2", "validation_episodes=1", "compile=off"]
    config = shipped_config(name, *[f"--tuning.{setting}" for setting in short], "--accelerator=cpu", "--workers=0")
    missing = [
        d for d in [config.backbone, *config.domains] if isinstance(d, str) and "/" in d and not Path(d).exists()
    ]
    if missing:
        pytest.skip(f"{name} needs {missing[0]}")
    best = train(config, out=str(tmp_path / "run"))
    assert int(SparseInterpolatedExperts.from_pretrained(str(best)).tasks_seen) == 2


def test_a_run_folder_says_what_was_run_and_on_what(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    main(["train", "--config", str(settings), "--out", str(out), "--pool.experts", "3"])
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["pool"]["experts"] == 3
    assert config["tuning"]["objective"]["teacher_steps"] == 1
    record = yaml.safe_load((out / "versions.yaml").read_text())
    assert torch.__version__.startswith(record["versions"]["torch"])  # the CUDA build calls itself 2.11.0+cu130
    assert set(record["data"]) == {"glyphs", "polygons"}
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["tasks"] for line in lines if "loss" in line] == [2, 4, 6, 8]
    assert [line["tasks"] for line in lines if "validation" in line] == [4, 8]
    assert list((out / "tensorboard").iterdir())
    # the folder's own configuration makes the same run again
    main(["train", "--config", str(out / "config.yaml"), "--out", str(tmp_path / "again")])
    first, again = weights(out / "last"), weights(tmp_path / "again" / "last")
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_official_compatibility_is_written_out_in_the_settings(settings: Path, tmp_path: Path) -> None:
    main(["train", "--config", str(settings), "--out", str(tmp_path / "run"), "--compat", "official"])
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["pool"]["router"]["readout"] == "first-class"
    assert config["tuning"]["objective"]["distillation"] == "student-target"
    assert SparseInterpolatedExperts.from_pretrained(str(tmp_path / "run" / "last")).config.evaluation_beta == 1.0


@pytest.mark.parametrize("fastest", ["32-true", "bf16-mixed"])
def test_a_precision_left_open_is_that_of_the_machine_where_the_run_began(
    fastest: str, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(out: str, *arguments: str) -> dict[str, torch.Tensor]:
        main(["train", "--config", str(settings), "--out", str(tmp_path / out), "--tuning.precision", *arguments])
        return weights(tmp_path / out / "last")

    expected = run("expected", fastest)
    monkeypatch.setattr("smat.precision._fastest", lambda _: fastest)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "step", lambda _, report: 1 / (4 - report.tasks))
        with pytest.raises(SystemExit):  # after the checkpoint at 2 tasks
            run("begun", "auto")
    assert yaml.safe_load((tmp_path / "begun" / "config.yaml").read_text())["tuning"]["precision"] == fastest
    monkeypatch.setattr("smat.precision._fastest", lambda _: pytest.fail("the machine was asked"))
    again = run("begun", "auto", "--resume")
    assert all(torch.equal(expected[key], again[key]) for key in expected)
    assert f"precision: {fastest} (that of the run in {tmp_path / 'begun'})" in caplog.messages
    with pytest.raises(SystemExit):
        run("begun", {"32-true": "bf16-mixed", "bf16-mixed": "32-true"}[fastest], "--resume")


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", "smat.cli"]


def of_two_machines() -> list[list[str]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    common = "--nnodes", "2", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", port
    return [torchrun(*common, "--node-rank", rank) for rank in "01"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["two devices", "torchrun with four", "two machines of two", "four slices"])
def test_several_processes_come_to_what_one_does(how: str, settings: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(settings.read_text())
    config["tuning"]["meta_batch"] = 4
    settings.write_text(yaml.safe_dump(config))
    starts, more = {
        "two devices": ([[sys.executable, "-m", "smat.cli"]], ["--devices", "2"]),
        "torchrun with four": ([torchrun("--standalone", "--nproc-per-node", "4")], []),
        "two machines of two": (of_two_machines(), ["--devices", "2", "--num-nodes", "2"]),
        "four slices": ([[sys.executable, "-m", "smat.cli"]], ["--devices", "4", "--strategy", "sharded"]),
    }[how]
    meta_tune(settings, out=tmp_path / "one")
    command = ["train", "--config", str(settings), "--out", str(tmp_path / "several"), *more]
    processes = [
        subprocess.Popen([*start, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for start in starts
    ]
    for process in processes:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    one, two = weights(tmp_path / "one" / "last"), weights(tmp_path / "several" / "last")
    start = weights_at_start(settings)
    for key, value in one.items():
        if key in start and not key.startswith("pretrained"):
            moved = (value.float() - start[key].float()).abs().max()
            assert (two[key].float() - value.float()).abs().max() <= 1e-3 * moved, key
    assert not torch.equal(one["gate_logits"], start["gate_logits"])


def weights_at_start(settings: Path) -> dict[str, torch.Tensor]:
    from smat import backbones
    from smat.experts import PoolConfig
    from smat.rng import seeded_torch

    backbone = backbones.load(yaml.safe_load(settings.read_text())["backbone"])
    with seeded_torch(0, "initialisation"):
        pool = SparseInterpolatedExperts(backbone, PoolConfig(experts=2))
    folder = settings.parent / "start"
    pool.save_pretrained(folder)
    return weights(folder)


@pytest.mark.slow
def test_slices_go_on_as_one_process_and_back(settings: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(settings.read_text())
    config["tuning"] |= {"tasks": 12, "checkpoint_every": 4, "validate_every": 6, "validation_episodes": 3}
    config["tuning"]["optimizers"]["delta"] |= {"rule": "adamw", "lr": 1e-3}
    settings.write_text(yaml.safe_dump(config))
    meta_tune(settings, out=tmp_path / "whole")
    out, command = tmp_path / "parts", [sys.executable, "-m", "smat.cli", "train", "--resume"]
    with pytest.raises(KeyboardInterrupt):
        interrupted(settings, out, after=4)
    sharded = [*command, "--config", str(settings), "--out", str(out), "--devices", "2", "--strategy", "sharded"]
    done = subprocess.run(sharded, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    one, parts = weights(tmp_path / "whole" / "last"), weights(out / "last")
    for key, value in one.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=2e-4, msg=key)
    rows = [[row for row in read_log(run / "log.jsonl")[0] if "loss" in row] for run in (tmp_path / "whole", out)]
    for ours, theirs in zip(*rows, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["gradient_norm/gates"] == pytest.approx(theirs["gradient_norm/gates"], rel=1e-2)
    pool = SparseInterpolatedExperts.from_pretrained(out / "last")
    assert len(load_state(out / "state")["pool"]["delta"]) == len(pool.pretrained)  # of the whole
    shutil.rmtree(out / "last")
    meta_tune(settings, out=out, resume=True)  # one process takes it up
    assert (out / "last").exists()


@pytest.mark.slow
def test_a_rank_that_dies_ends_all_and_another_number_goes_on(settings: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(settings.read_text())
    config["tuning"] |= {"tasks": 400, "checkpoint_every": 2}
    settings.write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    command = ["train", "--config", str(settings), "--out", str(out), "--resume"]
    run = subprocess.Popen(
        [*torchrun("--standalone", "--nproc-per-node", "2"), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (out / "state").exists():
        assert run.poll() is None
        time.sleep(0.2)
    ranks = [int(found) for found in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    os.kill(ranks[1], signal.SIGKILL)
    said, _ = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "SIGKILL" in said or "Signal 9" in said
    done = load_state(out / "state")["progress"]["tasks"]
    assert 0 < done < 400
    with pytest.raises(KeyboardInterrupt):
        interrupted(settings, out, after=done + 2)
    assert load_state(out / "state")["progress"]["tasks"] == done + 2


def interrupted(settings: Path, out: Path, after: int) -> None:
    """Go on with a run in this process alone, up to so many tasks."""
    step = MetaTuner._step

    def stopping(tuner: MetaTuner, batch: object) -> None:
        step(tuner, batch)  # type: ignore[arg-type]
        if tuner.progress.tasks >= after:
            tuner._stop = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetaTuner, "_step", stopping)
        meta_tune(settings, out=out, resume=True)


def test_a_killed_run_resumes_to_the_same_numbers(settings: Path, tmp_path: Path, forks: Forks) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = ["train", "--config", str(settings), "--out"]

    def run(*arguments: str) -> None:
        done = forks.run("program", arguments=["smat", *command, *arguments], folder=str(tmp_path), output=os.devnull)
        assert done.status == 0, done.said

    run(str(whole))
    # killed between the line of a step in the log and its checkpoint
    killed = forks.run("killed_training", arguments=[*command, str(cut)], steps=3)
    assert killed.status == -signal.SIGKILL, killed.said
    log = cut / "log.jsonl"
    assert json.loads(log.read_text().splitlines()[-1])["tasks"] == 6
    assert load_state(cut / "state")["progress"]["tasks"] == 4
    run(str(cut), "--resume")
    expected, got = weights(whole / "last"), weights(cut / "last")
    assert all(torch.equal(expected[key], got[key]) for key in expected)
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert steps == [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]


def test_a_signal_to_the_whole_process_group_saves(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "smat.cli", "train", "--config", str(settings), "--out", str(out)]
    running = subprocess.Popen(
        [*command, "--tuning.tasks", "2000", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = out / "log.jsonl"
    while not (log.exists() and log.read_text()):
        assert running.poll() is None, "the run ended before it was stopped"
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGTERM)
    _, message = running.communicate(timeout=120)
    assert running.returncode == 143, message
    assert "Traceback" not in message
    assert "go on with resume" in message
    done = load_state(out / "state")["progress"]["tasks"]
    assert json.loads(log.read_text().splitlines()[-1])["tasks"] == done


def test_a_folder_with_another_run_is_refused(settings: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    config = TrainConfig(domains=["pocket:glyphs"], backbone=yaml.safe_load(settings.read_text())["backbone"])
    main(["train", "--config", str(settings), "--out", out])
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(settings), "--out", out])
    assert stopped.value.code == 2
    with pytest.raises(ConfigError, match=r"tuning.tasks was 8, is 100000"):
        train(config, out=out, resume=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--domains", "[missing.parquet]"], "missing.parquet"),
        (["--domains", "[pocket:nothing]"], "glyphs"),
        (["--domains", "[pocket-ood]"], "train"),
        (["--backbone", "no/such/folder"], "no/such/folder"),
        (["--pool.structure", "rows"], "rows"),
        (["--episodes.way", "1000"], "1000-way"),
    ],
)
def test_bad_settings_end_in_a_message(
    settings: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(settings), "--out", str(tmp_path / "run"), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_begun_before_there_was_a_setting_had_its_default(tmp_path: Path) -> None:
    config, record = TrainConfig(domains=["pocket:glyphs"]), {"data": {"glyphs": "its fingerprint"}}
    prepare_folder(tmp_path, config, record, resume=False)
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del written["episodes"]["hierarchy"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(written))
    prepare_folder(tmp_path, config, record, resume=True)
    other = TrainConfig(domains=["pocket:glyphs"], episodes=EpisodeConfig(hierarchy=False))
    with pytest.raises(ConfigError, match=r"episodes.hierarchy was True, is False"):
        prepare_folder(tmp_path, other, record, resume=True)


def test_a_run_begun_before_there_were_tracks_ignores_them(tmp_path: Path) -> None:
    config, record = TrainConfig(domains=["pocket:glyphs"]), {"data": {"glyphs": "its fingerprint"}}
    assert with_kept_tracks(config, tmp_path) == config
    prepare_folder(tmp_path, config, record, resume=False)
    assert with_kept_tracks(config, tmp_path) == config
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del written["episodes"]["tracks"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(written))
    ignoring = TrainConfig(domains=["pocket:glyphs"], episodes=EpisodeConfig(tracks="ignore"))
    assert with_kept_tracks(config, tmp_path) == ignoring
    prepare_folder(tmp_path, ignoring, record, resume=True)
    apart = TrainConfig(domains=["pocket:glyphs"], episodes=EpisodeConfig(tracks="keep-apart"))
    with pytest.raises(ConfigError, match=r"episodes.tracks was ignore, is keep-apart"):
        prepare_folder(tmp_path, with_kept_tracks(apart, tmp_path), record, resume=True)


def test_a_run_that_kept_no_state_begins_anew_with_or_without_resume(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(out: str, *arguments: str) -> dict[str, torch.Tensor]:
        main(["train", "--config", str(settings), "--out", str(tmp_path / out), *arguments])
        return weights(tmp_path / out / "last")

    expected = run("whole", "--resume")  # where there is nothing yet, as in the first job of a series
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "step", lambda log, report: (TrainingLog.validation(log, 2, {"a": 1.0}), 1 / 0))
        for out in ("killed", "again"):
            with pytest.raises(SystemExit):
                run(out)
    assert not (tmp_path / "killed" / "state").exists()
    for out, arguments in (("killed", ["--resume"]), ("again", [])):
        got = run(out, *arguments)
        assert all(torch.equal(expected[key], got[key]) for key in expected)
        whole, log = ((tmp_path / name / "log.jsonl").read_text() for name in ("whole", out))
        assert log == whole
    with pytest.raises(SystemExit):
        run("failed", "--episodes.way", "1000")
    run("failed")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run("failed")
    assert "holds a run already: go on with it (--resume)" in " ".join(capsys.readouterr().err.split())


def test_a_run_is_resumed_with_its_own_settings_where_none_are_given(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    main(["train", "--config", str(settings), "--out", str(out)])
    main(["train", "--out", str(out), "--resume", "--workers", "1", "--tuning.checkpoint_every", "4"])
    meta_tune(out=out, resume=True)
    with pytest.raises(ConfigError, match=r"tuning.seed was 0, is 1"):
        meta_tune(out=out, resume=True, tuning={"seed": 1})


def test_half_a_line_of_the_log_is_dropped(settings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "run"
    main(["train", "--config", str(settings), "--out", str(out)])
    before = (out / "log.jsonl").read_text()
    (out / "log.jsonl").write_text(before + '{"tasks": 9, "lo')
    main(["train", "--out", str(out), "--resume"])
    assert (out / "log.jsonl").read_text() == before
    assert "log.jsonl is not whole: it is dropped" in caplog.text


def test_one_process_at_a_time_writes_to_a_run(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with locked(out), pytest.raises(ConfigError, match="run is in use by another process"):
        meta_tune(settings, out=out)
    meta_tune(settings, out=out)


def test_what_a_run_depends_on_is_compared_when_it_is_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = {"versions": {"torch": "2", "smat": "1"}, "backbone": "a", "data": {"glyphs": "b"}}
    check_origins(now, now, tmp_path)
    assert not caplog.messages
    check_origins(now | {"versions": {"torch": "1"}}, now, tmp_path)
    assert "began with torch 1, now 2" in caplog.text
    with pytest.raises(CheckpointError, match=r"the backbone of the run in .* has changed"):
        check_origins(now | {"backbone": "other"}, now, tmp_path)
    with pytest.raises(CheckpointError, match=r"the data of the run in .* have changed: glyphs"):
        check_origins(now | {"data": {"glyphs": "other"}}, now, tmp_path)
    caplog.clear()
    for began, goes_on in ((True, {}), (True, {"compiled": True}), (False, {}), (False, {"compiled": False})):
        check_origins(now | {"compiled": began}, now | goes_on, tmp_path)
    check_origins(now, now | {"compiled": False}, tmp_path)
    assert not caplog.messages
    check_origins(now | {"compiled": True}, now | {"compiled": False}, tmp_path)
    assert "began with compiled kernels, now plain code" in caplog.text
    check_origins(now, now | {"compiled": True}, tmp_path)
    assert "began with plain code, now compiled kernels" in caplog.text
    caplog.set_level("INFO")
    check_origins({"data": now["data"]}, now, tmp_path)
    assert "does not say which weights" in caplog.text


def test_other_weights_of_the_backbone_are_refused(settings: Path, backbone: str, tmp_path: Path) -> None:
    own = shutil.copytree(backbone, tmp_path / "vit")
    meta_tune(settings, out=tmp_path / "run", backbone=str(own))
    file = own / "model.safetensors"
    save_file({key: value + 1e-3 for key, value in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match=r"the backbone of the run in .* has changed"):
        meta_tune(out=tmp_path / "run", resume=True)


def test_files_of_a_run_can_be_read_as_the_umask_says(settings: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        meta_tune(settings, out=tmp_path / "run")
    finally:
        os.umask(before)
    files = [file for folder in ("best", "last", "state") for file in (tmp_path / "run" / folder).iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o640}


def test_what_cannot_be_a_folder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = TrainConfig(domains=["missing.parquet"])
    for out in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("a" * 300)):
        with pytest.raises(ConfigError, match=r"--out .* cannot be written to"):
            train(config, out=str(out))


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"},
        {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
    ],
)
def test_the_number_of_processes_is_that_of_what_started_them(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made: list[dict] = []

    def fabric(**settings: object) -> Fabric:
        made.append(settings)
        return MagicMock(spec=Fabric)

    monkeypatch.setattr("smat.recipes.devices.Fabric", fabric)
    launch("cpu", None)
    launch("cpu", 2)
    assert [settings["devices"] for settings in made] == [2, 2]
    with pytest.raises(ConfigError, match=r"--devices is 3, but \w+ has started 2 processes.*--devices 2"):
        launch("cpu", 3)
    with pytest.raises(ConfigError, match=r"--num-nodes 2, but \w+ has started 2 processes.* on 1 machine:"):
        launch("cpu", None, 2)


def test_lightning_does_not_advise_to_round_what_precision_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.recipes.devices.Fabric", lambda **_: MagicMock(spec=Fabric))
    launch("cpu", None)
    shown = [rank_zero.log.filter(logging.makeLogRecord({"msg": text})) for text in ("it has Tensor Cores", "other")]
    assert list(map(bool, shown)) == [False, True]


def test_processes_on_several_machines_are_counted_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict] = []
    with pytest.raises(ConfigError, match=r"--num-nodes is 2, but this process was started by itself.*torchrun"):
        launch("cpu", 1, 2)
    monkeypatch.setattr("smat.recipes.devices.Fabric", lambda **s: made.append(s) or MagicMock(spec=Fabric))
    environment = {"TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    launch("cpu", None)
    launch("cpu", 2, 2)
    assert [(settings["devices"], settings["num_nodes"]) for settings in made] == [(2, 2)] * 2
    with pytest.raises(ConfigError, match=r"--devices is 4.* on 2 machines: .*--devices 2 --num-nodes 2"):
        launch("cpu", 4)


def run_of(out: Path) -> dict:
    return yaml.safe_load((out / "config.yaml").read_text())["tuning"]["optimizers"]


def test_a_run_that_broke_its_network_goes_on_at_another_rate(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["train", "--config", str(settings), "--out", str(out)]

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([*command, *arguments])
        assert stopped.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "collapsed", property(lambda watch: len(watch.state_dict()["spreads"]) == 3))
        assert f"state, of task 4, is kept: as a pool in {out / 'good'}" in refused()
    assert int(SparseInterpolatedExperts.from_pretrained(str(out / "good")).tasks_seen) == 4
    assert "has broken its network with these settings, and would again" in refused("--resume")
    assert "tuning.seed was 0, is 1" in refused("--resume", "--tuning.optimizers.delta.lr=1e-5", "--tuning.seed=1")
    main([*command, "--resume", "--tuning.optimizers.delta.lr", "1e-5"])
    assert run_of(out)["delta"]["lr"] == 1e-5
    (collapse,) = yaml.safe_load((out / "versions.yaml").read_text())["collapses"]
    assert (collapse["delta_lr"], collapse["warmup"]) == (1e-4, 0.2)
    assert int(SparseInterpolatedExperts.from_pretrained(str(out / "last")).tasks_seen) == 8
    steps = [row["tasks"] for row in map(json.loads, (out / "log.jsonl").open()) if "loss" in row]
    assert steps == [2, 4, 6, 8]
    assert "delta.lr was 1e-05, is 0.0001" in refused("--resume")


def test_the_frozen_network_is_shown_and_what_a_run_lacks_of_its_sparsity_said(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--config", str(settings), "--out", str(tmp_path / "run")]
    main(command)
    said = capsys.readouterr().out
    assert "Warning: The gates are less sparse than was asked for" in said
    main([*command, "--resume"])  # nothing is left to do
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(0 <= row["accuracy/frozen"] <= 1 for row in rows if "loss" in row)
    (warning,) = [row for row in rows if "warning" in row]
    assert warning["tasks"] == 8
    assert "tuning.target_sparsity is 0.9" in warning["warning"]
    with TrainingLog(tmp_path, 10) as log:
        log.start(0)
        values = {"loss": 1.0, "accuracy": 0.621, "accuracy/frozen": 0.604}
        log.step(StepReport(2, values, [0.5]))
        assert log._bar.tasks[0].fields["status"].startswith("62.1 %, frozen 60.4 % loss 1.00")


@pytest.fixture
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TRIAL_TASKS": 4,
        "TRIAL_STEPS": 2,
        "JUDGING_EPISODES": 2,
        "_HIGHEST": 1e-2,
        "_LOWEST": 3e-4,
    }.items():
        monkeypatch.setattr(rate_search, name, value)


@pytest.mark.usefixtures("short_search")
def test_a_rate_that_is_not_given_is_found_and_kept(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(out: str, *arguments: str) -> Path:
        main(["train", "--config", str(settings), "--out", str(tmp_path / out), *arguments])
        return tmp_path / out

    found = run("found", "--tuning.optimizers.delta.lr", "null")
    said = capsys.readouterr().out
    record = yaml.safe_load((found / "find_lr.yaml").read_text())
    rates = [trial["rate"] for trial in record["trials"]]
    assert rates[:4] == [0.0, 1e-3, 3e-3, 1e-2]
    assert run_of(found)["delta"]["lr"] == record["chosen"] in rates
    assert record["judged_on"] == "1 episodes each of glyphs, polygons: validation classes"
    assert all(text in said for text in ("finding the learning rate", "will take about", "chosen"))
    given = run("given", "--tuning.optimizers.delta.lr", str(record["chosen"]))
    expected = weights(given / "last")
    assert all(torch.equal(value, expected[key]) for key, value in weights(found / "last").items())
    assert not (given / "find_lr.yaml").exists()

    # a search that is interrupted goes on where it was, and a run with a rate does not search again
    whole = RateSearch._try

    def interrupted(search: RateSearch, rate: float) -> Trial:
        if rate == 3e-3:
            raise KeyboardInterrupt
        return whole(search, rate)

    monkeypatch.setattr(RateSearch, "_try", interrupted)
    with pytest.raises(SystemExit) as stopped:
        run("cut", "--find-lr")
    assert stopped.value.code == 130
    assert "go on with resume" in capsys.readouterr().err
    assert run_of(tmp_path / "cut")["delta"]["lr"] is None
    tried: list[float] = []
    monkeypatch.setattr(RateSearch, "_try", lambda search, rate: tried.append(rate) or whole(search, rate))
    cut = run("cut", "--find-lr", "--resume")
    assert tried == rates[2:]
    assert yaml.safe_load((cut / "find_lr.yaml").read_text())["chosen"] == record["chosen"]
    assert all(torch.equal(value, expected[key]) for key, value in weights(cut / "last").items())
    monkeypatch.setattr(RateSearch, "_try", lambda *_: pytest.fail("it was searched again"))
    run("cut", "--find-lr", "--resume")
    main(["train", "--config", str(cut / "config.yaml"), "--out", str(cut), "--resume"])


@pytest.mark.usefixtures("short_search")
def test_a_search_needs_no_validations_and_a_record_that_can_be_read(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_search, "next_rate", lambda trials, _: [0.0, 1e-3, None][len(trials)])
    meta_tune(settings, out=tmp_path / "run", find_lr=True, tuning={"validate_every": 0})
    record = tmp_path / "run" / "find_lr.yaml"
    assert "validation classes" in yaml.safe_load(record.read_text())["judged_on"]
    with pytest.raises(ConfigError, match="nothing of NoUpdate follows"):
        meta_tune(settings, out=tmp_path / "none", find_lr=True, pool={"experts": 0})
    record.write_text("trials: 3")
    with pytest.raises(CheckpointError, match=r"find_lr.yaml' cannot be used.*remove it"):
        read_trials(tmp_path / "run")


def test_records_of_alignment_and_kept_pools_can_be_asked_for_when_a_run_goes_on(
    settings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    main(["train", "--config", str(settings), "--out", str(out), "--tuning.tasks", "4", "--tuning.record-alignment=4"])
    assert recorded(out) == [0, 4]
    assert not (out / "kept").exists()
    written = yaml.safe_load((out / "config.yaml").read_text())
    del written["tuning"]["record_alignment"], written["tuning"]["keep_every"]  # as before there were these settings
    (out / "config.yaml").write_text(yaml.safe_dump(written))
    main(["train", "--out", str(out), "--resume", "--tuning.keep-every", "4"])
    assert [path.name for path in (out / "kept").iterdir()] == ["task-000004"]
    assert recorded(out) == [0, 4]
    begun_anew = tmp_path / "anew"
    shutil.copytree(out / "kept", begun_anew / "kept")  # of a run that was killed before its first state
    main(["train", "--config", str(settings), "--out", str(begun_anew), "--tuning.tasks", "2"])
    assert not (begun_anew / "kept").exists()


def recorded(folder: Path) -> list[int]:
    """Where a run recorded the alignment of gradients, by its log."""
    return [row["tasks"] for row in read_log(folder / "log.jsonl")[0] if "alignment/delta/all" in row]
