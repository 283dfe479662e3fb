"""`smat export` to folders: a web page, and one of transformers."""

from pathlib import Path

import pytest
import transformers
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.cli import main
from smat.errors import ConfigError
from smat.recipes.export import export
from stand_in_runtime import stand_in_runtime
from tiny_checkpoints import save
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
    save("vit", folder / "backbone")
    classifier = FewShotClassifier(str(folder / "backbone"), device="cpu", head="linear")
    classifier.fit(photos, names).save(folder / "birds")
    return folder


def test_a_web_page(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = stand_in_runtime(tmp_path / "runtime")
    out = tmp_path / "page"
    main(["export", str(saved / "birds"), "--to", "web", "--out", str(out), "--runtime", str(given)])
    assert '"name": "birds"' in (out / "smat-page.js").read_text()
    said = " ".join(capsys.readouterr().out.split())
    assert "9 of 9 labelled images" in said
    assert f"open {out / 'index.html'}" in said


def test_a_folder_of_transformers(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "hf"
    main(["export", str(saved / "birds"), "--to", "hf", "--out", str(out), "--json", str(tmp_path / "report.json")])
    said = " ".join(capsys.readouterr().out.split())
    assert "ViTForImageClassification" in said
    assert "of 9 labelled images" in said
    assert "cut and resized by transformers' own rule" in said
    pipe = transformers.pipeline("image-classification", model=str(out), device="cpu")
    assert pipe(str(saved / "photos" / "0.png"))[0]["label"] == "sky"


def test_the_folder_is_compared_on_images_that_are_given(saved: Path, tmp_path: Path) -> None:
    found = export(str(saved / "birds"), to="hf", out=str(tmp_path / "hf"), check=str(saved / "photos"))
    assert (found.compared_on, found.agreement.images) == (f"images of {saved / 'photos'}", 9)


def test_options_that_mean_nothing_are_refused(saved: Path, tmp_path: Path) -> None:
    birds, out = str(saved / "birds"), str(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"--precision is int8, but folders of transformers are float32"):
        export(birds, to="hf", out=out, precision="int8")
    with pytest.raises(ConfigError, match=r"--runtime is onnxruntime-web, which --to onnx has no use for"):
        export(birds, to="onnx", out=out, runtime=out)
    with pytest.raises(ConfigError, match="has other files in it"):
        export(birds, to="hf", out=str(saved))
    assert not Path(out).exists()
