"""Evaluating a checkpoint on pocket domains: the table, the report, and what survives an interruption."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel

import smat
from passes import count_passes
from smat.cli import main
from smat.domains.pocket import PocketDomain, pocket_domains
from smat.episodes import EpisodeOptions
from smat.errors import CheckpointError, ConfigError, DataError, Interrupted
from smat.heads import Auto
from smat.recipes.evaluate import Evaluation, evaluate
from smat.statistics import paired_difference
from tiny_checkpoint import save_checkpoint

DOMAINS = ["pocket:polygons", "pocket:strokes", "pocket:mosaics"]
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


def test_both_methods_on_the_same_episodes(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "results.json"
    result = evaluate(checkpoint, DOMAINS, output=str(output), **SMALL)
    report = json.loads(output.read_text())
    assert report["complete"]
    assert report["config"]["way"] == 3
    assert report["versions"]["smat"] == smat.__version__
    assert report["domains"]["mosaics"] == {"role": "ood", "fingerprint": pocket_fingerprint("mosaics")}
    ids = [row["id"] for row in report["rows"]]
    assert ids == [f"{name}/test/0/{n}" for name in ("polygons", "strokes", "mosaics") for n in range(4)]
    polygons = [row["accuracy"] for row in report["rows"] if row["domain"] == "polygons"]
    pairs = [[accuracy[method] for accuracy in polygons] for method in ("smat", "pretrained")]
    expected = paired_difference(*pairs)
    difference = report["summary"][0]["difference"]["smat"]
    assert difference == {
        "mean": pytest.approx(expected.mean),
        "half_width": pytest.approx(expected.half_width),
        "standard_error": pytest.approx(expected.standard_error),
        "dof": 3,
    }
    assert (report["summary"][0]["role"], report["summary"][0]["episodes"]) == ("id", 4)
    assert result.comparison.lines[0].entries["smat"].difference == expected
    assert [entry["name"] for entry in report["averages"]] == ["ID average", "ID+OOD average"]
    screen = capsys.readouterr().out
    assert re.search(r"polygons .* ID .* ±", screen)
    assert "ID average" in screen
    assert "3-way 1-shot" in screen


def test_a_precision_left_open_is_reported_as_what_it_came_to(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smat.precision._fastest", lambda _: "bf16-mixed")
    reports = {}
    for given in ("auto", "bf16-mixed", "32-true"):
        output = tmp_path / f"{given}.json"
        evaluate(checkpoint, DOMAINS[:1], output=str(output), **SMALL | {"precision": given})
        reports[given] = json.loads(output.read_text())
    assert {given: report["config"]["precision"] for given, report in reports.items()} == {
        "auto": "bf16-mixed",
        "bf16-mixed": "bf16-mixed",
        "32-true": "32-true",
    }
    assert reports["auto"]["rows"] == reports["bf16-mixed"]["rows"] != reports["32-true"]["rows"]


def pocket_fingerprint(name: str) -> str:
    return next(domain.fingerprint for domain in pocket_domains() if domain.name == name)


def test_numbers_are_those_of_the_seed_and_of_nothing_else(checkpoint: str) -> None:
    def accuracies(workers: int = 0, **more: Any) -> list[float]:
        options = EpisodeOptions(**SHAPE, **more)
        rows = evaluate(checkpoint, DOMAINS[:1], **SMALL | {"options": options, "workers": workers}).rows
        return [float(outcome.confidence.sum()) for row in rows for outcome in row.outcomes.values()]

    first = accuracies()
    assert accuracies() == first
    assert accuracies(workers=1) == first
    assert accuracies(seed=1) != first
    assert accuracies(margin=1.0) != first


def test_one_episode_is_valid_json_without_interval(checkpoint: str, tmp_path: Path) -> None:
    output = tmp_path / "one.json"
    evaluate(checkpoint, DOMAINS[:1], output=str(output), method="smat", **{**SMALL, "episodes": 1})
    report = json.loads(output.read_text(), parse_constant=pytest.fail)
    assert report["summary"][0]["accuracy"]["smat"]["half_width"] is None
    assert report["summary"][0]["difference"] == {}


def test_variable_sampler(checkpoint: str) -> None:
    rows = evaluate(
        checkpoint,
        DOMAINS[2:],
        options=EpisodeOptions(sampler="variable"),
        method="pretrained",
        episodes=3,
        workers=0,
    ).rows
    assert all(5 <= row.way <= 20 for row in rows)
    assert len({(row.way, row.n_support) for row in rows}) > 1


@pytest.mark.parametrize("method", ["smat", "pretrained", "logistic", "knn"])
def test_one_method_alone_sees_the_same_episodes(checkpoint: str, method: str) -> None:
    alone = evaluate(checkpoint, DOMAINS[:1], method=method, **SMALL).comparison
    assert alone.methods == [method]
    assert alone.lines[0].entries[method].difference is None
    both = evaluate(checkpoint, DOMAINS[:1], **SMALL).comparison
    if method in both.methods:
        assert alone.lines[0].entries[method].accuracy == both.lines[0].entries[method].accuracy


def test_a_head_takes_the_place_of_the_nearest_prototype(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*DOMAINS[:1], "--way=3", "--shot=2", "--query=2", "--episodes=3", "--workers=0", "--precision=32-true"]
    reports = {}
    for name, chosen in {
        "baseline": ["--method=logistic"],
        "head": ["--method=pretrained", "--head=smat.heads.Logistic"],
        "strict": ["--method=pretrained", "--head=smat.heads.Logistic", "--head.penalty=1e4"],
    }.items():
        output = tmp_path / f"{name}.json"
        main(["evaluate", checkpoint, *settings, *chosen, f"--output={output}"])
        reports[name] = json.loads(output.read_text())
    confidence = {name: [list(row["confidence"].values()) for row in r["rows"]] for name, r in reports.items()}
    assert confidence["head"] == confidence["baseline"] != confidence["strict"]
    assert reports["strict"]["config"]["head"]["init_args"] == {"penalty": 1e4, "unit": True}
    assert f"{checkpoint}, head Logistic, no fine-tuning" in capsys.readouterr().out


def test_methods_with_heads_and_strengths_of_their_own(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, names = tmp_path / "results.json", ["pretrained+lda", "smat@0@1+auto", "logistic"]
    small = SMALL | {"options": EpisodeOptions(way=3, shot=2, query=2)}
    files = {"output": str(output), "tables": str(tmp_path / "table")}
    found = evaluate(checkpoint, DOMAINS, method=",".join(names), against="logistic", **files, **small)
    assert found.comparison.methods == names
    assert found.comparison.passes == dict(zip(names, (1, 2 * len(Auto().views.query), 1), strict=True))
    report = json.loads(output.read_text())
    assert report["passes"] == found.comparison.passes
    assert report["config"]["method"] == ",".join(names)
    assert list(report["rows"][0]["accuracy"]) == names
    assert list(report["summary"][0]["difference"]) == names[:2]
    passes = " | ".join(map(str, found.comparison.passes.values()))
    assert f"| passes per image |  | {passes} |" in (tmp_path / "table.md").read_text()
    assert "passes per image" in capsys.readouterr().out
    keys = {cell.key.method: cell.key.protocol for cell in found.cells}
    assert keys["smat@0@1+auto"]["strengths"] == ["0", "1"]
    assert {name: protocol["head"]["class_path"] for name, protocol in keys.items()} == {
        "pretrained+lda": "smat.heads.linear.LDA",
        "smat@0@1+auto": "smat.heads.auto.Auto",
        "logistic": "smat.heads.linear.Logistic",
    }
    for name in names:
        alone = evaluate(checkpoint, DOMAINS[:1], method=name, **small).cells[0]
        assert alone.accuracies == next(cell.accuracies for cell in found.cells if cell.key.method == name)


def test_a_method_that_names_no_head_takes_the_usual_one(checkpoint: str, tmp_path: Path) -> None:
    def cells(**settings: Any) -> dict[str, list[float]]:
        found = evaluate(checkpoint, DOMAINS[:1], **settings, **SMALL).cells
        return {cell.key.method: cell.accuracies for cell in found}

    mixed = cells(method="smat,smat+prototype,smat@0,pretrained", head="lda:1")
    named = cells(method="smat+lda:1,smat+prototype,pretrained+lda:1", head="knn")
    assert mixed["smat"] == named["smat+lda:1"]
    assert mixed["smat+prototype"] == named["smat+prototype"]
    assert mixed["smat@0"] == mixed["pretrained"] == named["pretrained+lda:1"]
    plain = evaluate(checkpoint, DOMAINS[:1], head="prototype", tables=str(tmp_path / "plain"), **SMALL)
    assert plain.comparison.passes == {"smat": 1, "pretrained": 1}
    assert "passes per image" not in (tmp_path / "plain.md").read_text()
    assert all("head" not in cell.key.protocol for cell in plain.cells)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "smat+lad"}, "head is 'lad'; choose one of prototype, ridge"),
        ({"head": "nonsense"}, "head is 'nonsense'; choose one of prototype, ridge"),
        ({"method": "smat@9"}, "give numbers in 0..4"),
        ({"method": "smat,smat"}, "method is smat, smat; give one or more, each once"),
        ({"method": "all+lda"}, r"method is 'all\+lda'; all takes no head or strength"),
        ({"method": "knn+lda"}, r"knn\+lda: knn is short for pretrained\+knn"),
        ({"method": "pretrained@0.5+lda"}, r"pretrained@0.5\+lda has no experts, so that there is no strength to set"),
        ({"method": "smat@0.5", "adapt": "full"}, "smat@0.5 is fine-tuned, so that there is no strength to set"),
        ({"method": "pmf+lda"}, r"method is 'pmf'; .* there are all, smat, pretrained, logistic, knn"),
    ],
)
def test_heads_and_strengths_that_do_not_fit_are_refused(
    checkpoint: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(checkpoint, DOMAINS, **settings, **SMALL)


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (["--head", "lda:2"], "lda:2"),
        (["--head", "smat.heads.Ridge", "--head.penalty", "3"], {"penalty": 3.0, "scale": 8.0}),
        ([], "auto"),
    ],
)
def test_heads_on_the_command_line(checkpoint: str, tmp_path: Path, chosen: list[str], kept: Any) -> None:
    output = tmp_path / "results.json"
    settings = ["--way=3", "--shot=1", "--query=2", "--episodes=1", "--workers=0", f"--output={output}"]
    main(["evaluate", checkpoint, *DOMAINS[:1], *settings, *chosen])
    head = json.loads(output.read_text())["config"]["head"]
    assert (head if isinstance(head, str) else head["init_args"]) == kept


def test_a_head_that_does_not_exist_is_said_on_the_command_line(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", checkpoint, *DOMAINS[:1], "--head", "nonsense"])
    assert stopped.value.code == 2
    assert "choose one of prototype, ridge, logistic, lda" in " ".join(capsys.readouterr().err.split())


def test_a_checkpoint_with_code_of_ones_own_imports_it_only_if_it_may(checkpoint: str, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    config["pool"]["update"] = {"class_path": "absent_lab.Update", "init_args": {}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="--allow-import absent_lab"):
        evaluate(str(folder), DOMAINS, **SMALL)
    with pytest.raises(CheckpointError, match="'absent_lab', which is not found"):
        evaluate(str(folder), DOMAINS, allow_imports=["absent_lab"], **SMALL)


def test_fine_tuning_changes_both_methods(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = SMALL | {"episodes": 2, "options": EpisodeOptions(way=3, shot=2, query=2)}
    plain = evaluate(checkpoint, DOMAINS[2:], **small).rows
    tuned = evaluate(checkpoint, DOMAINS[2:], adapt="full", steps=2, grid=[1e-2], **small).rows
    for a, b in zip(plain, tuned, strict=True):
        assert a.id == b.id
        for method in ("smat", "pretrained"):
            assert not torch.equal(a.outcomes[method].confidence, b.outcomes[method].confidence)
    screen = capsys.readouterr().out
    assert "full fine-tuning (learning rate 0.01)" in screen
    assert "Warning" not in screen
    for grid in ([0.0, 1e-2], [1e-2]):  # of one rate nothing is chosen, so not by query labels either
        evaluate(checkpoint, DOMAINS[2:], adapt="lora", steps=1, grid=grid, learning_rate_from="published", **small)
        screen = capsys.readouterr().out
        assert ("Warning: the learning rates were chosen by the query labels" in screen) == (len(grid) > 1)


def test_by_experts_the_backbone_is_left_out_and_said(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = SMALL | {"episodes": 1, "steps": 1, "options": EpisodeOptions(way=3, shot=2, query=2)}
    for adapt, grid, title in (
        ("weights", [1e-3], "fine-tuning of merge weights (mean over learning rates 0.01 and 2 seeds)"),
        ("gates", None, "fine-tuning behind open gates (mean over learning rates 1e-05, 0.0001, 0.001 and 2 seeds)"),
    ):
        found = evaluate(checkpoint, DOMAINS[2:], adapt=adapt, grid=grid, learning_rate_from="average", **small)
        assert found.comparison.methods == ["smat"]
        assert [cell.rates for cell in found.cells] == [[]]
        screen = capsys.readouterr().out
        assert f"pretrained is left out: the backbone has no experts to tune by {adapt}" in screen
        assert title in screen
    with pytest.raises(ConfigError, match="by gates needs experts, and 'tiny' is a backbone without"):
        evaluate(checkpoint, DOMAINS[2:], method="pretrained", adapt="gates", **small)


def test_an_untouched_backbone_needs_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": 0.5, "image_std": 0.5}')
    result = evaluate(str(tmp_path), DOMAINS[:1], **SMALL)
    assert list(result.rows[0].outcomes) == ["pretrained"]
    assert "has no experts" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"are all, pretrained, logistic, knn; this is a backbone without experts"):
        evaluate(str(tmp_path), DOMAINS[:1], method="smat", **SMALL)


def test_finished_episodes_survive_an_interruption(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(monkeypatch, KeyboardInterrupt(), images=9 * (4 + 2))
    output = tmp_path / "results.json"
    with pytest.raises(Interrupted, match="the 6 episodes that were finished") as stopped:
        evaluate(checkpoint, DOMAINS, output=str(output), tables=str(tmp_path / "table"), **SMALL)
    result = stopped.value.result
    assert isinstance(result, Evaluation)
    assert len(result.rows) == 6
    assert [(line.name, line.episodes) for line in result.comparison.lines] == [("polygons", 4), ("strokes", 2)]
    report = json.loads(output.read_text())
    assert not report["complete"]
    assert [entry["episodes"] for entry in report["summary"]] == [4, 2]
    assert len(report["rows"]) == 6
    screen = capsys.readouterr().out
    assert re.search(r"strokes .* ID", screen)
    assert "| strokes | ID |" in (tmp_path / "table.md").read_text()


def test_an_interruption_before_the_first_episode_has_no_result(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, KeyboardInterrupt(), images=5)
    with pytest.raises(Interrupted) as stopped:
        evaluate(checkpoint, DOMAINS, output=str(tmp_path / "results.json"), **SMALL)
    assert stopped.value.result is None
    assert not (tmp_path / "results.json").exists()


def test_finished_episodes_survive_an_error(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, DataError("damaged"), images=9 * 5)
    output = tmp_path / "results.json"
    with pytest.raises(DataError, match="damaged"):
        evaluate(checkpoint, DOMAINS, output=str(output), **SMALL)
    report = json.loads(output.read_text())
    assert not report["complete"]
    assert len(report["rows"]) == 5


def stop_at(monkeypatch: pytest.MonkeyPatch, error: BaseException, images: int) -> None:
    """Raise `error` when so many images have been drawn (9 an episode)."""
    drawn, draw = [], PocketDomain.image

    def image(self: PocketDomain, row: int) -> Image.Image:
        if len(drawn) == images:
            raise error
        drawn.append(row)
        return draw(self, row)

    monkeypatch.setattr(PocketDomain, "image", image)


def test_every_domain_is_looked_at_before_the_work(checkpoint: str, tmp_path: Path) -> None:
    output, wide = tmp_path / "results.json", EpisodeOptions(way=15, shot=1, query=2)
    with pytest.raises(DataError, match="'polygons' has 14 classes; 15-way"):
        evaluate(checkpoint, ["pocket:mosaics", "pocket:polygons"], output=str(output), **SMALL | {"options": wide})
    with pytest.raises(DataError, match="'mosaics' has no val split"):
        evaluate(
            checkpoint,
            ["pocket:polygons", "pocket:mosaics"],
            **SMALL | {"options": EpisodeOptions(**SHAPE, split="val")},
        )
    with pytest.raises(ConfigError, match="two domains have one name"):
        evaluate(checkpoint, ["pocket:polygons", "pocket-id"], **SMALL)
    assert not output.exists()


def test_mistakes_say_what_to_do(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output .* is a folder"):
        evaluate(checkpoint, DOMAINS, output=str(tmp_path), **SMALL)
    with pytest.raises(CheckpointError, match="is no smat checkpoint"):
        evaluate(str(tmp_path), DOMAINS, **SMALL)
    with pytest.raises(CheckpointError, match="neither a checkpoint of smat nor a backbone"):
        evaluate(str(tmp_path / "absent"), DOMAINS, **SMALL)
    with pytest.raises(ConfigError, match=r"method is 'pmf'; .* there are all, smat, pretrained, logistic, knn"):
        evaluate(checkpoint, DOMAINS, method="pmf", **SMALL)
    with pytest.raises(ConfigError, match="against is 'knn'; choose one of what is evaluated: smat, pretrained"):
        evaluate(checkpoint, DOMAINS, against="knn", **SMALL)
    (tmp_path / "x.tex").mkdir()
    with pytest.raises(ConfigError, match=r"x\.tex' is a folder"):
        evaluate(checkpoint, DOMAINS, tables=str(tmp_path / "x"), **SMALL)
    with pytest.raises(ConfigError, match="knn cannot be fine-tuned"):
        evaluate(checkpoint, DOMAINS, method="knn", adapt="full", **SMALL)
    with pytest.raises(ConfigError, match="grid"):
        evaluate(checkpoint, DOMAINS, adapt="full", grid=[], **SMALL)
    output = tmp_path / "old.json"
    output.write_text("results of another day")
    with pytest.raises(ConfigError, match="episodes is 0"):
        evaluate(checkpoint, DOMAINS, output=str(output), **{**SMALL, "episodes": 0})
    assert output.read_text() == "results of another day"


def test_a_second_evaluation_takes_features_from_the_cache(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_passes(monkeypatch)

    def rows(method: str, **more: Any) -> tuple[list[Any], int]:
        seen.clear()
        result = evaluate(checkpoint, DOMAINS[:2], method=method, head="prototype", **more, **SMALL)
        return [cell.accuracies for cell in result.cells], sum(seen)

    plain, passed = rows("pretrained")
    cold, first = rows("pretrained", feature_cache=str(tmp_path / "features"))
    warm, second = rows("pretrained", feature_cache=str(tmp_path / "features"))
    assert plain == cold == warm
    assert (first, second) == (passed + 2, 2)  # two images of noise tell what the network is
    logistic, third = rows("logistic", feature_cache=str(tmp_path / "features"))
    assert (logistic, third) == (rows("logistic")[0], 2)
    with pytest.raises(ConfigError, match=r"feature cache .* cannot be written"):
        evaluate(checkpoint, DOMAINS, feature_cache=f"{checkpoint}/config.json", **SMALL)
