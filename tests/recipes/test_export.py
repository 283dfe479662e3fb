"""`smat export`: a file that says what the classifier says, or one error and no file."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.cli import main
from smat.errors import CheckpointError, ConfigError, DataError
from smat.recipes import export as recipe
from smat.recipes.export import export
from tiny_checkpoint import save_checkpoint
from tiny_images import labelled


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier in `birds`, of images in `photos`."""
    folder = tmp_path_factory.mktemp("export")
    images, names = labelled(3)
    photos = [folder / "photos" / f"{n}.png" for n in range(len(images))]
    photos[0].parent.mkdir()
    for photo, image in zip(photos, images, strict=True):
        Image.fromarray(image).save(photo)
    classifier = FewShotClassifier(save_checkpoint(folder / "checkpoint"), device="cpu", head="ridge:2")
    classifier.fit(photos, names).save(folder / "birds")
    return folder


@pytest.fixture
def moved(saved: Path, tmp_path: Path) -> Path:
    """The classifier without its images."""
    file = tmp_path / "moved" / "classifier.json"
    file.parent.mkdir()
    for each in (saved / "birds").iterdir():
        (file.parent / each.name).write_bytes(each.read_bytes())
    file.write_text(file.read_text().replace(str(saved / "photos"), "gone"))
    return file.parent


def test_an_onnx_file(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "birds.onnx"
    main(["export", str(saved / "birds"), "--to", "onnx", "--out", str(out), "--json", str(tmp_path / "report.json")])
    session = onnxruntime.InferenceSession(out)
    given = np.zeros((4, 18, 18, 3), dtype=np.uint8)
    probabilities, known = session.run(None, {"pictures": given})
    assert (probabilities.shape, known.shape) == ((4, 3), (4,))
    assert "9 of 9 labelled images" in " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "report.json").read_text())["result"]
    assert (result["classes"], result["agreement"]["alike"]) == (["brick", "grass", "sky"], 9)
    assert result["bytes"] == out.stat().st_size


def test_a_program_of_pytorch_is_loaded_without_smat(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "birds.pt2"
    found = export(str(saved / "birds"), to="torch", out=str(out))
    assert found.agreement.alike == 9
    about = {"smat.json": ""}
    program = torch.export.load(out, extra_files=about)
    assert json.loads(about["smat.json"])["classes"] == ["brick", "grass", "sky"]
    for n in (1, 5):
        probabilities, known = program.module()(torch.zeros(n, 18, 18, 3, dtype=torch.uint8))
        assert (probabilities.shape, known.shape) == ((n, 3), (n,))
    assert b"site-packages" not in out.read_bytes()


def test_int8_measures_on_the_images_of_a_folder(saved: Path, moved: Path, tmp_path: Path) -> None:
    out = tmp_path / "birds.onnx"
    with pytest.raises(ConfigError, match=r"no images to measure on.*--check"):
        export(str(moved), to="onnx", out=str(out), precision="int8")
    assert not out.exists()
    found = export(str(moved), to="onnx", out=str(out), precision="int8", check=str(saved / "photos"))
    assert found.compared_on == f"images of {saved / 'photos'}"
    assert found.agreement.images == 9
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(out).graph.node}


def test_without_images_random_ones_are_compared(moved: Path, tmp_path: Path) -> None:
    found = export(str(moved), to="torch", out=str(tmp_path / "birds.pt2"))
    assert (found.compared_on, found.agreement.images) == ("random images", 16)


def test_thumbnails_stand_for_images_that_are_gone(tmp_path: Path) -> None:
    classifier = FewShotClassifier(save_checkpoint(tmp_path / "checkpoint"), device="cpu", head="ridge")
    classifier.fit(*labelled(2)).save(tmp_path / "birds", thumbnails=True)
    found = export(str(tmp_path / "birds"), to="torch", out=str(tmp_path / "birds.pt2"))
    assert (found.compared_on, found.agreement.images) == ("labelled images", 6)


def test_what_answers_otherwise_is_not_written(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        recipe, "program_answers", lambda _: lambda x: (np.eye(3, dtype=np.float32)[[0] * len(x)], np.ones(len(x)))
    )
    with pytest.raises(ConfigError, match="another label than PyTorch for 6 of 9 clear labelled images"):
        export(str(saved / "birds"), to="torch", out=str(tmp_path / "birds.pt2"))
    assert not (tmp_path / "birds.pt2").exists()


def test_mistakes_are_said(saved: Path, tmp_path: Path) -> None:
    birds, out = str(saved / "birds"), str(tmp_path / "birds.pt2")
    with pytest.raises(CheckpointError, match="holds no classifier"):
        export(str(tmp_path), to="torch", out=out)
    with pytest.raises(ConfigError, match=r"--precision is int8, but programs of PyTorch are float32.*--to onnx"):
        export(birds, to="torch", out=out, precision="int8")
    with pytest.raises(ConfigError, match="is a folder"):
        export(birds, to="torch", out=str(tmp_path))
    with pytest.raises(DataError, match=r"no images in.*--check"):
        export(birds, to="torch", out=out, check=str(saved / "birds"))
    assert not Path(out).exists()


def test_the_command_ends_with_2_and_a_line(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(saved / "birds"), "--to", "onnx", "--out", str(tmp_path / "birds.onnx")])
    assert "pip install 'smat-fewshot[export]'" in capsys.readouterr().err
    assert not (tmp_path / "birds.onnx").exists()
