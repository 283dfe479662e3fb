"""What training and evaluation write on the card of a checkpoint."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from smat.cli import main
from smat.episodes import EpisodeOptions
from smat.errors import CheckpointError, ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.evaluate import evaluate
from smat.recipes.train import meta_tune
from tiny_checkpoint import save_checkpoint

SMALL: dict[str, Any] = {
    "options": EpisodeOptions(way=3, shot=1, query=2),
    "episodes": 3,
    "workers": 0,
    "device": "cpu",
    "precision": "32-true",
}
load = SparseInterpolatedExperts.from_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four tasks."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    meta_tune(
        domains=["pocket:glyphs", {"source": "pocket:automata", "role": "validation"}],
        episodes={"way": 3, "shot": 2, "query": 2},
        pool={"experts": 2},
        tuning={
            "tasks": 4,
            "meta_batch": 2,
            "validate_every": 4,
            "validation_episodes": 2,
            "precision": "32-true",
            "optimizers": {"delta": {"lr": 1e-4}},
        },
        workers=0,
        accelerator="cpu",
        out=folder,
    )
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return save_checkpoint(tmp_path / "pool")


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_training_says_how_its_pools_were_made(run: Path, name: str) -> None:
    card, origins = load(run / name).card, yaml.safe_load((run / "versions.yaml").read_text())
    assert card.training
    assert [(domain.name, domain.role) for domain in card.training.domains] == [
        ("glyphs", "training"),
        ("automata", "validation"),
    ]
    assert {domain.name: domain.fingerprint for domain in card.training.domains} == origins["data"]
    assert (card.training.backbone, card.training.versions) == (origins["backbone"], origins["versions"])
    assert (card.tasks, card.training.tasks) == (4, 4)
    assert card.training.licence is None


def test_a_training_says_what_its_settings_were(run: Path) -> None:
    training = load(run / "best").card.training
    assert training
    told = training.settings
    assert (told["episodes.way"], told["tuning.optimizers.delta.lr"], told["tuning.seed"]) == (3, 1e-4, 0)
    assert told["tuning.validate_every"] == 4  # not the default
    assert "episodes.transforms.margin" not in told  # the default
    assert not {"workers", "accelerator", "backbone"} & told.keys()


def test_the_accuracy_on_validation_classes_is_that_of_the_log(run: Path) -> None:
    (logged,) = (line for line in map(json.loads, (run / "log.jsonl").open()) if "validation" in line)
    found = load(run / "best").card.validation
    assert found
    assert (found.tasks, found.episodes, found.accuracies) == (4, 2, {"automata": logged["validation/automata"]})


# -- evaluation --------------------------------------------------------------------------------------------------------


def test_an_evaluation_adds_its_results_when_asked_to(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate(checkpoint, ["pocket:polygons", "pocket:mosaics"], card=True, **SMALL)
    results = load(checkpoint).card.results
    assert f"written: {checkpoint}/card.json" in capsys.readouterr().out
    for line, result in zip(found.comparison.lines, results, strict=True):
        ours = line.entries["smat"]
        assert (result.domain, result.role, result.split) == (line.name, line.role, "test")
        assert (result.accuracy, result.half_width) == (ours.accuracy.mean, ours.accuracy.half_width)
        assert ours.difference
        assert (result.difference, result.difference_half_width) == (ours.difference.mean, ours.difference.half_width)
        assert (result.way, result.shot, result.query, result.seed, result.episodes) == (3, 1, 2, 0, 3)
        assert (result.method, result.head, result.adapt) == ("smat", "auto", "none")
        assert result.checkpoint == load(checkpoint).fingerprint()
    assert "| polygons | in distribution | 3-way 1-shot, test classes |" in Path(checkpoint, "README.md").read_text()


def test_without_being_asked_it_writes_nothing_into_the_folder(checkpoint: str) -> None:
    before = {file.name: file.read_bytes() for file in Path(checkpoint).iterdir()}
    evaluate(checkpoint, ["pocket:polygons"], method="smat", **SMALL)
    assert {file.name: file.read_bytes() for file in Path(checkpoint).iterdir()} == before


def test_the_difference_is_to_the_frozen_backbone_with_the_same_head(checkpoint: str) -> None:
    method = "smat+lda,smat@0@1+ridge,pretrained+lda,pretrained"
    found = evaluate(checkpoint, ["pocket:polygons"], method=method, against="pretrained+lda", card=True, **SMALL)
    lda, ridge = load(checkpoint).card.results
    ours = found.comparison.lines[0].entries["smat+lda"].difference
    assert ours
    assert (lda.method, lda.head, lda.difference) == ("smat", "lda", ours.mean)
    assert (ridge.method, ridge.head, ridge.difference) == ("smat@0@1", "ridge", None)


def test_a_single_episode_has_no_interval(checkpoint: str) -> None:
    evaluate(checkpoint, ["pocket:polygons"], card=True, **{**SMALL, "episodes": 1})
    (result,) = load(checkpoint).card.results
    assert (result.half_width, result.difference_half_width) == (None, None)


def test_each_of_several_checkpoints_gets_its_own_results(checkpoint: str, tmp_path: Path) -> None:
    other = str(shutil.copytree(checkpoint, tmp_path / "other"))
    evaluate({"a": checkpoint, "b": other}, ["pocket:polygons"], method="a+lda,b", card=True, **SMALL)
    assert [(r.method, r.head) for r in load(checkpoint).card.results] == [("smat", "lda")]
    assert [(r.method, r.head) for r in load(other).card.results] == [("smat", "auto")]


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the work was begun")


def test_what_cannot_get_a_card_is_refused_before_the_work(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("smat.evaluation.joint.evaluate_domain", refuse)
    with pytest.raises(ConfigError, match="--card adds results of experts, and none are evaluated of pocket"):
        evaluate("pocket", ["pocket:polygons"], card=True, **SMALL)
    with pytest.raises(ConfigError, match="--card adds results of experts, and none are evaluated"):
        evaluate(checkpoint, ["pocket:polygons"], method="pretrained", card=True, **SMALL)
    Path(checkpoint, "card.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"card\.json' cannot be used: format is missing"):
        evaluate(checkpoint, ["pocket:polygons"], card=True, **SMALL)
    Path(checkpoint, "card.json").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", checkpoint, "pocket:polygons", "--card", "--method", "pretrained"])
    assert ended.value.code == 2
    assert "--card" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_refused_before_the_work(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smat.evaluation.joint.evaluate_domain", refuse)
    Path(checkpoint).chmod(0o500)
    try:
        with pytest.raises(ConfigError, match=r"the folder of the card .* cannot be written to"):
            evaluate(checkpoint, ["pocket:polygons"], card=True, **SMALL)
    finally:
        Path(checkpoint).chmod(0o700)
