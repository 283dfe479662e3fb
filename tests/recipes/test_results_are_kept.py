"""Results that took work: shown before they are written, kept where they cannot be written, or where work stops."""

import csv
import errno
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smat import files
from smat.adaptation import Answers, FewShotClassifier
from smat.episodes import EpisodeOptions
from smat.errors import ConfigError, Interrupted
from smat.evaluation import Store
from smat.recipes.evaluate import evaluate
from smat.recipes.predict import Predictions, predict
from tiny_cells import make_cell
from tiny_checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_checkpoint(tmp_path_factory.mktemp("pool"))


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Any]:
    """Two classes of two images each, and 6 images of every class to label."""
    for name, colour in {"blue": (20, 20, 200), "red": (200, 20, 20)}.items():
        for place, count in (("support", 2), ("query", 6)):
            folder = tmp_path / place / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng(i).integers(-20, 21, (24, 24, 3)) + colour
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return {"support": str(tmp_path / "support"), "query": str(tmp_path / "query"), "device": "cpu"}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a full disk."""
    disk, elsewhere, write = tmp_path / "disk", tmp_path / "tmp", files._write
    elsewhere.mkdir()

    def only_elsewhere(path: Path, content: files.Content) -> None:
        if path.is_relative_to(disk):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "_write", only_elsewhere)
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    return disk


def kept_of(error: pytest.ExceptionInfo[ConfigError]) -> Path:
    """The file that an error names."""
    found = re.search(r"No space left on device; make room, .* is kept in (\S+)$", str(error.value))
    assert found
    return Path(found[1])


def test_predictions_are_shown_and_kept_where_the_disk_is_full(
    checkpoint: str, photos: dict[str, Any], full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        predict(checkpoint, **photos, output=str(full / "labels.csv"))
    assert "images per class: blue 6, red 6" in capsys.readouterr().out
    assert len(list(csv.DictReader(kept_of(error).open()))) == 12


def test_an_evaluation_is_shown_and_kept_where_the_disk_is_full(
    checkpoint: str, full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = EpisodeOptions(way=3, shot=1, query=2)
    with pytest.raises(ConfigError) as error:
        evaluate(
            checkpoint,
            ["pocket:polygons"],
            options=options,
            episodes=2,
            workers=0,
            device="cpu",
            output=str(full / "r.json"),
        )
    assert re.search(r"polygons .* ID", capsys.readouterr().out)
    assert len(json.loads(kept_of(error).read_text())["rows"]) == 2


def test_labels_until_an_interruption_are_kept_beside_the_output(
    checkpoint: str, photos: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smat.recipes.predict.BATCH", 5)
    label, done = FewShotClassifier.answer, []

    def interrupted(self: FewShotClassifier, images: list[Image.Image]) -> Answers:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(len(images))
        return label(self, images)

    monkeypatch.setattr(FewShotClassifier, "answer", interrupted)
    output = tmp_path / "labels.csv"
    with pytest.raises(Interrupted, match=r"The labels of 10 of 12 images are in .*labels\.part\.csv") as stopped:
        predict(checkpoint, **photos, output=str(output))
    assert isinstance(stopped.value.result, Predictions)
    assert not output.exists()
    assert len(list(csv.DictReader((tmp_path / "labels.part.csv").open()))) == 10


def test_a_store_on_a_full_disk_keeps_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "cells.jsonl")
    store.add(make_cell("first", "birds", [1.0, 0.5]))
    before = store.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("smat.evaluation.store.os.fsync", full)
        with pytest.raises(ConfigError, match=r"cells.jsonl cannot be written: No space left on device; make room"):
            store.add(make_cell("second", "birds", [1.0, 0.5]))
    assert store.path.read_bytes() == before
    assert len(Store(store.path)) == 1
