"""Several checkpoints in one evaluation: names, pairing, and images that all take."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from smat.cli import main
from smat.episodes import EpisodeOptions
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.entries import named_checkpoints
from smat.recipes.evaluate import evaluate
from smat.statistics import paired_difference
from tiny_checkpoint import save_checkpoint

DOMAINS = ["pocket:polygons"]
SHAPE: dict[str, Any] = {"way": 3, "shot": 1, "query": 2}
SMALL: dict[str, Any] = {
    "options": EpisodeOptions(**SHAPE),
    "episodes": 4,
    "workers": 0,
    "device": "cpu",
    "precision": "32-true",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_checkpoint(tmp_path_factory.mktemp("pool"))


def test_checkpoints_are_paired_on_the_same_episodes(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"first": checkpoint, "second": variant(checkpoint, tmp_path / "second")}
    found = evaluate(given, DOMAINS, **SMALL)
    assert found.comparison.methods == ["first", "second", "pretrained"]
    for name, path in given.items():
        alone = evaluate(path, DOMAINS, **SMALL)
        for ours, theirs in zip(found.rows, alone.rows, strict=True):
            assert ours.id == theirs.id
            for mine, whose in ((name, "smat"), ("pretrained", "pretrained")):
                assert torch.equal(ours.outcomes[mine].confidence, theirs.outcomes[whose].confidence)
    (line,) = evaluate(given, DOMAINS, against="first", **SMALL).comparison.lines
    accuracies = [[row.outcomes[name].accuracy for row in found.rows] for name in ("second", "first")]
    assert line.entries["second"].difference == paired_difference(*accuracies)
    capsys.readouterr()

    output, tables = tmp_path / "both.json", tmp_path / "both"
    shape = [f"--{name}={value}" for name, value in SHAPE.items()]
    names = [f"{name}={path}" for name, path in given.items()]
    more = ["--episodes=4", "--workers=0", "--precision=32-true", f"--output={output}", f"--tables={tables}"]
    main(["evaluate", *names, *DOMAINS, *shape, *more])
    report = json.loads(output.read_text())
    assert report["config"]["checkpoint"] == given
    assert report["config"]["domains"] == DOMAINS
    assert [row["accuracy"]["second"] for row in report["rows"]] == accuracies[0]
    assert "first, second, head auto, no fine-tuning: 3-way 1-shot" in capsys.readouterr().out
    assert "| domain | role | first | second | pretrained |" in tables.with_suffix(".md").read_text()
    rows = list(csv.DictReader(tables.with_suffix(".csv").open()))
    assert [(row["method"], row["against"]) for row in rows][:3] == [
        ("first", "pretrained"),
        ("second", "pretrained"),
        ("pretrained", ""),
    ]
    assert r"\toprule" in tables.with_suffix(".tex").read_text()


def test_checkpoints_of_other_backbones_are_measured_next_to_their_own(checkpoint: str, tmp_path: Path) -> None:
    given = {"first": checkpoint, "other": variant(checkpoint, tmp_path / "other", backbone=True)}
    found = evaluate(given, DOMAINS, **SMALL)
    assert found.comparison.methods == ["first", "other", "pretrained", "pretrained (other)"]
    alone = evaluate(given["other"], DOMAINS, **SMALL)
    for ours, theirs in zip(found.rows, alone.rows, strict=True):
        for mine, whose in (("other", "smat"), ("pretrained (other)", "pretrained")):
            assert torch.equal(ours.outcomes[mine].confidence, theirs.outcomes[whose].confidence)
    assert evaluate(given, DOMAINS, method="knn", **SMALL).comparison.methods == ["knn", "knn (other)"]
    assert evaluate(given, DOMAINS, method="other", **SMALL).comparison.methods == ["other"]


def variant(checkpoint: str, folder: Path, *, backbone: bool = False, **spec: Any) -> str:
    """A checkpoint like another one but for its update, and with `backbone` for its backbone too."""
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint)
    pool.update.delta.data.mul_(-1)
    if backbone:
        pool.pretrained.data.mul_(1.5)
    pool.backbone.spec = replace(pool.backbone.spec, **spec)
    pool.save_pretrained(folder)
    return str(folder)


def test_images_that_differ_are_refused(checkpoint: str, tmp_path: Path) -> None:
    other = variant(checkpoint, tmp_path / "other", std=(0.5, 0.5, 0.5))
    with pytest.raises(ConfigError, match=r"first takes 16 px .* other takes 16 px .*std 0.5.* each by itself"):
        evaluate({"first": checkpoint, "other": other}, DOMAINS, **SMALL)
    cut = variant(checkpoint, tmp_path / "cut", margin=1.0)
    with pytest.raises(ConfigError, match=r"different margins, 1.14286 \(first\), 1 \(cut\).* --margin"):
        evaluate({"first": checkpoint, "cut": cut}, DOMAINS, **SMALL)
    options = EpisodeOptions(**SHAPE, margin=1.0)
    found = evaluate({"first": checkpoint, "cut": cut}, DOMAINS, **SMALL | {"options": options})
    assert {cell.key.protocol["margin"] for cell in found.cells} == {1.0}


def test_names_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_checkpoints("runs/a", ["birds"]) == ({"": "runs/a"}, ["birds"])
    assert named_checkpoints("a=x", ["b=y=z", "birds", "c=d"]) == ({"a": "x", "b": "y=z"}, ["birds", "c=d"])
    assert named_checkpoints(Path("runs/a"), ["birds"]) == ({"": "runs/a"}, ["birds"])
    assert named_checkpoints({"a": Path("x")}, ["b=y"]) == ({"a": "x"}, ["b=y"])
    assert named_checkpoints("runs/lr=0.1/best", ["birds"]) == ({"": "runs/lr=0.1/best"}, ["birds"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    assert named_checkpoints("lr=0.1", ["birds"]) == ({"": "lr=0.1"}, ["birds"])
    for checkpoint, domains, message in (
        ("a=x", ["a=y", "birds"], "a, a; give each its own name"),
        ("pretrained=x", ["birds"], "none of all, pretrained, logistic, knn"),
        ("a+b=x", ["birds"], r"a\+b; give each its own name, .* without \+ @ ,"),
        ("a@1=x", ["birds"], r"a@1; give each its own name, .* without \+ @ ,"),
        ({"a,b": "x"}, ["birds"], r"a,b; give each its own name, .* without \+ @ ,"),
        ("x", ["b=y", "birds"], "'b=y' is a checkpoint with a name, and 'x' has none: .* first=x"),
        ("a=x", ["b=y"], "2 checkpoints and 0 domains"),
        ({}, ["birds"], "0 checkpoints and 1 domains"),
    ):
        with pytest.raises(ConfigError, match=message):
            named_checkpoints(checkpoint, domains)
