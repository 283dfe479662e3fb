"""Labelling a folder of images from class folders."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deep_images import RAMP, in_bits, png
from passes import count_passes
from smat.adaptation import FewShotClassifier
from smat.errors import ConfigError, DataError
from smat.heads import Ridge
from smat.left_out import collecting
from smat.recipes.photos import FitOptions
from smat.recipes.predict import predict
from tiny_checkpoint import save_checkpoint

COLOURS = {"blue": (20, 20, 200), "green": (20, 200, 20), "red [dark]": (200, 20, 20)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_checkpoint(tmp_path_factory.mktemp("pool"))


def paint(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 21, (24, 30, 3))
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """Three classes of two images each, and 4 query images of every class, their colour in the name."""
    for place, (name, colour) in enumerate(COLOURS.items()):
        for i in range(2):
            paint(tmp_path / "support" / name / f"{i}.png", colour, 10 * place + i)
        for i in range(4):
            paint(tmp_path / "query" / "holiday" / f"{name} {i}.png", colour, 100 + 10 * place + i)
    return {
        "support": str(tmp_path / "support"),
        "query": str(tmp_path / "query"),
        "output": str(tmp_path / "out" / "labels.csv"),
        "device": "cpu",
    }


def test_deep_images_of_both_folders_are_on_one_range(checkpoint: str, tmp_path: Path) -> None:
    for place, share in enumerate((RAMP / 255, RAMP / 2550)):
        for folder, bits in (("support", 10), ("query", 12)):
            path = tmp_path / folder / f"class{place}" / "a.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(png(in_bits(12, share if bits == 12 else share / 4)))
    settings = {"support": str(tmp_path / "support"), "query": str(tmp_path / "query"), "device": "cpu"}
    settings["output"] = str(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"4 images cannot be read:(.|\n)*--range LOW HIGH"):
        predict(checkpoint, **settings)
    assert predict(checkpoint, range="auto", **settings).probabilities.tolist() == pytest.approx(
        predict(checkpoint, range=(0, 4095), **settings).probabilities
    )
    with pytest.raises(DataError, match="it has 8 x 8 pixels, more than 63"):
        predict(checkpoint, max_pixels=63, **settings)


def test_labels_and_probabilities_of_every_query(
    checkpoint: str, folders: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = predict(checkpoint, **folders)
    with open(folders["output"], newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "label", "probability", "p:blue", "p:green", "p:red [dark]"]
    assert len(rows) == 12
    for file, label, probability, *probabilities in rows:
        assert file == f"holiday/{label} {file[-5]}.png"  # the colours are told apart, all of them
        values = [float(p) for p in probabilities]
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert header[3 + int(np.argmax(values))] == f"p:{label}"
        assert float(probability) == max(values)
    assert result.accuracy is None
    screen = capsys.readouterr().out
    assert "blue 4, green 4, red [dark] 4" in screen
    assert folders["output"] in screen
    assert "accuracy, if the query folders name the classes" not in screen


def test_probabilities_are_those_of_the_classifier(checkpoint: str, folders: dict[str, Any]) -> None:
    support = sorted(Path(folders["support"]).rglob("*.png"))
    queries = sorted(Path(folders["query"]).rglob("*.png"))
    classifier = FewShotClassifier(checkpoint, device="cpu").fit(support, [file.parent.name for file in support])
    result = predict(checkpoint, **folders)
    assert result.classes == tuple(classifier.classes_)
    np.testing.assert_allclose(result.probabilities, classifier.predict_proba(queries), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"head": "lda:2"}, {"head": Ridge(3.0), "strengths": (0.0, 1.0)}, {"head": "prototype", "strengths": (0.5,)}],
)
def test_heads_and_strengths_are_those_of_the_classifier(
    checkpoint: str, folders: dict[str, Any], settings: dict[str, Any]
) -> None:
    support = sorted(Path(folders["support"]).rglob("*.png"))
    queries = sorted(Path(folders["query"]).rglob("*.png"))
    classifier = FewShotClassifier(checkpoint, device="cpu", **settings)
    classifier.fit(support, [file.parent.name for file in support])
    found = predict(checkpoint, fit_options=FitOptions(**settings), **folders).probabilities
    np.testing.assert_allclose(found, classifier.predict_proba(queries), atol=1e-6)
    assert not np.allclose(found, predict(checkpoint, **folders).probabilities, rtol=1e-2, atol=0)


@pytest.mark.parametrize("adapt", ["full", "lora"])
def test_fine_tuning_is_that_of_the_classifier(
    checkpoint: str, folders: dict[str, Any], adapt: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    support = sorted(Path(folders["support"]).rglob("*.png"))
    queries = sorted(Path(folders["query"]).rglob("*.png"))
    settings: dict[str, Any] = {"adapt": adapt, "learning_rate": 1e-2, "steps": 3, "flip": False}
    classifier = FewShotClassifier(checkpoint, device="cpu", **settings)
    classifier.fit(support, [file.parent.name for file in support])
    result = predict(checkpoint, fit_options=FitOptions(**settings), **folders)
    np.testing.assert_allclose(result.probabilities, classifier.predict_proba(queries), atol=1e-6)
    assert not np.allclose(result.probabilities, predict(checkpoint, **folders).probabilities, rtol=1e-2, atol=0)
    assert f"fine-tuned ({adapt}) for 3 steps at learning rate 0.01" in capsys.readouterr().out


def test_several_rates_are_said_with_what_was_tuned(
    checkpoint: str, folders: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    predict(checkpoint, fit_options=FitOptions(adapt="weights", learning_rate="average", steps=1), **folders)
    said = "at learning rates 0.0001, 0.001, 0.01 (the mean of 6 networks): 6 parameters"
    assert said in " ".join(capsys.readouterr().out.split())


def test_query_class_folders_give_an_accuracy(
    checkpoint: str, folders: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Path(folders["support"]).parent / "named"
    for name in COLOURS:
        paint(wrong / name / "sub" / "0.png", COLOURS[name], 7)
    paint(wrong / "blue" / "not blue.png", COLOURS["green"], 8)
    result = predict(checkpoint, **{**folders, "query": str(wrong)})
    assert result.accuracy == 3 / 4
    assert "75.0 % of 4" in capsys.readouterr().out
    paint(wrong / "unsorted" / "x.png", COLOURS["green"], 9)  # of no class: it does not count
    result = predict(checkpoint, **{**folders, "query": str(wrong)})
    assert (result.accuracy, result.scored, result.other_folders) == (3 / 4, 4, ("unsorted",))
    assert "75.0 % of 4 images; 1 more lie in folders that name no class: unsorted" in capsys.readouterr().out


def test_images_to_label_that_are_labelled_already_are_said(
    checkpoint: str, folders: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    predict(checkpoint, **folders)
    assert "labelled images too" not in caplog.text
    predict(checkpoint, **{**folders, "query": folders["support"]})
    assert "6 of the 6 images to label are labelled images too" in caplog.text


def test_names_of_any_kind_have_a_row_and_a_column(checkpoint: str, folders: dict[str, Any]) -> None:
    support, query = Path(folders["support"]), Path(folders["query"], "holiday")
    (support / "blue").rename(support / "label")
    (support / "green").rename(support / "p:label")
    (query / "blue 0.png").rename(query / os.fsdecode(b"caf\xe9.png"))
    predict(checkpoint, **folders)
    rows = list(csv.DictReader(Path(folders["output"]).read_text(encoding="utf-8-sig").splitlines()))
    assert [*rows[0]] == ["file", "label", "probability", "p:label", "p:p:label", "p:red [dark]"]
    assert {row["label"] for row in rows} == {"label", "p:label", "red [dark]"}
    assert "holiday/caf\\xe9.png" in {row["file"] for row in rows}


def test_all_outputs_of_one_run_agree(checkpoint: str, folders: dict[str, Any], tmp_path: Path) -> None:
    settings = folders | {"output": str(tmp_path / "labels.jsonl")}
    result = predict(checkpoint, sort=str(tmp_path / "by class"), report=str(tmp_path / "report.html"), **settings)
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["file"], line["label"]) for line in lines] == [*zip(result.files, result.labels, strict=True)]
    copies = {file.relative_to(tmp_path / "by class").as_posix() for file in (tmp_path / "by class").rglob("*.png")}
    assert copies == {f"{line['label']}/{Path(line['file']).name}" for line in lines}
    assert len(list(Path(folders["query"]).rglob("*.png"))) == len(copies)  # the images stay where they are
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == len(lines)


def test_numbers_of_wordnet_get_words_from_the_file_beside_them(
    checkpoint: str, folders: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    support, query = Path(folders["support"]), Path(folders["query"])
    (support / "blue").rename(support / "n01440764")
    (query / "holiday").rename(query / "n01440764")
    (support.parent / "words.txt").write_text("n00001740\tentity\nn01440764\ttench, Tinca tinca\n")
    result = predict(checkpoint, **folders)
    assert result.classes == ("green", "red [dark]", "tench (n01440764)")
    assert (result.accuracy, result.scored) == (1 / 3, 12)
    assert "words for 1 numbers of WordNet" in capsys.readouterr().out


def test_labelled_images_are_those_of_the_training_folder(checkpoint: str, folders: dict[str, Any]) -> None:
    support = Path(folders["support"])
    expected = predict(checkpoint, **folders).probabilities
    support.rename(support.parent / "Train")
    for name in COLOURS:
        paint(support / "Test" / name / "0.png", COLOURS["blue"], 1)
    (support.parent / "Train").rename(support / "Train")
    with collecting() as left_out:
        result = predict(checkpoint, **folders)
    assert result.classes == tuple(COLOURS)
    np.testing.assert_array_equal(result.probabilities, expected)
    assert [[*entry.names] for entry in left_out] == [[str(support / "Test")]]


def test_all_unreadable_images_are_listed_or_left_out(checkpoint: str, folders: dict[str, Any]) -> None:
    Path(folders["support"], "blue", "broken.jpg").write_bytes(b"\xff\xd8nothing")
    Path(folders["query"], "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"2 images cannot be read(.|\n)*broken\.jpg(.|\n)*cut\.png(.|\n)*--skip-bad"):
        predict(checkpoint, **folders)
    assert not Path(folders["output"]).exists()
    with collecting() as left_out:
        result = predict(checkpoint, skip_bad=True, **folders)
    assert len(result.files) == 12
    names = [Path(name).name for entry in left_out for name in entry.names]
    assert names == ["broken.jpg", "cut.png"]
    for file in Path(folders["support"], "blue").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"no image of blue in .* can be read"):
        predict(checkpoint, skip_bad=True, **folders)


def test_mistakes_say_what_to_do(checkpoint: str, folders: dict[str, Any], tmp_path: Path) -> None:
    def fails(error: type[Exception], match: str, **changes: Any) -> None:
        with pytest.raises(error, match=match):
            predict(checkpoint, **{**folders, **changes})

    empty = tmp_path / "empty"
    empty.mkdir()
    fails(DataError, "is empty; put one folder per class", support=str(empty))
    fails(DataError, "no class folders", support=str(tmp_path / "support" / "blue"))
    fails(DataError, "no images in .*empty", query=str(empty))
    fails(DataError, "is no folder", query=str(tmp_path / "absent"))
    fails(ConfigError, "output .* is a folder", output=str(empty))
    fails(ConfigError, "head is 'lad'; choose one of prototype", fit_options=FitOptions(head="lad"))
    fails(DataError, "one class folder, 'holiday'", support=str(tmp_path / "query"))


def test_the_frozen_network_sees_support_images_once(
    checkpoint: str, folders: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, tables = count_passes(monkeypatch), []
    for cache in (None, str(tmp_path / "features"), str(tmp_path / "features")):
        predict(checkpoint, fit_options=FitOptions(feature_cache=cache, head="prototype"), **folders)
        tables.append((Path(folders["output"]).read_text(), sum(seen)))
        seen.clear()
    support, query, noise = 3 * 2, 3 * 4, 2
    assert [text for text, _ in tables] == [tables[0][0]] * 3
    assert [passed for _, passed in tables] == [2 * support + query + extra for extra in (0, noise, noise - support)]


@pytest.mark.parametrize("adapt", ["full", "lora", "weights", "gates"])
def test_nothing_is_called_fine_tuned_that_was_not(
    checkpoint: str, folders: dict[str, Any], adapt: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in Path(folders["support"]).rglob("1.png"):
        file.unlink()
    plain = predict(checkpoint, **folders).probabilities
    with collecting() as entries:
        found = predict(checkpoint, fit_options=FitOptions(adapt=adapt), **folders).probabilities
    np.testing.assert_array_equal(found, plain)
    assert "fine-tuned" not in capsys.readouterr().out
    (said,) = map(str, entries)
    assert said.startswith(
        "1 setting was left out: nothing was fine-tuned, since a learning rate cannot be chosen from"
    )
    assert "--learning-rate" in said
    assert f"adapt {adapt}" in said
    with collecting() as entries:
        predict(checkpoint, fit_options=FitOptions(adapt=adapt, learning_rate=1e-2, steps=1), **folders)
    assert not entries
