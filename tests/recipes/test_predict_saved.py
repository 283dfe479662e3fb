"""Labelling a folder of images with a classifier that was saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.errors import ConfigError
from smat.recipes.predict import predict
from tiny_checkpoint import save_checkpoint

COLOURS = {"blue": (20, 20, 200), "green": (20, 200, 20)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two classes of three images, as many to label, a checkpoint, and a classifier of the labelled images."""
    root = tmp_path_factory.mktemp("photos")
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(6):
            path = root / ("support" if i < 3 else "query") / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(10 * number + i).integers(-20, 21, (24, 30, 3))
            Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)
    checkpoint, support = save_checkpoint(root / "pool"), sorted((root / "support").rglob("*.png"))
    classifier = FewShotClassifier(checkpoint, device="cpu", head="lda")
    classifier.fit(support, [file.parent.name for file in support]).save(root / "colours")
    return {"root": root, "checkpoint": checkpoint, "classifier": str(root / "colours")}


def test_it_labels_as_in_one_go(photos: dict[str, Any], tmp_path: Path) -> None:
    root, output = photos["root"], str(tmp_path / "labels.csv")
    query = {"query": str(root / "query"), "output": output, "device": "cpu"}
    result = predict(photos["classifier"], **query)
    saved = Path(output).read_text()
    predict(photos["checkpoint"], support=str(root / "support"), head="lda", **query)
    assert saved == Path(output).read_text()
    assert (result.classes, result.accuracy, result.scored) == (("blue", "green"), 1.0, 6)


def test_what_was_settled_is_refused_by_name(photos: dict[str, Any], tmp_path: Path) -> None:
    query = {"query": str(photos["root"] / "query"), "output": str(tmp_path / "labels.csv")}
    with pytest.raises(
        ConfigError, match="for which --support and --learning-rate and --flip cannot be given any more"
    ):
        predict(photos["classifier"], support=query["query"], learning_rate=0.1, flip=False, **query)
    with pytest.raises(ConfigError, match="--head cannot"):
        predict(photos["classifier"], head="auto", **query)
    with pytest.raises(ConfigError, match=r"is no classifier that `smat fit` made, .*\(--support\)"):
        predict(photos["checkpoint"], **query)
    assert not Path(query["output"]).exists()


def test_images_that_are_labelled_already_are_known_by_their_content(
    photos: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    query = tmp_path / "query"
    query.mkdir()
    for number, file in enumerate(sorted((photos["root"] / "support" / "blue").iterdir())):
        Image.open(file).save(query / f"renamed {number}.bmp")
    Image.new("RGB", (30, 24)).save(query / "new.png")
    predict(photos["classifier"], query=str(query), output=str(tmp_path / "labels.csv"), device="cpu")
    assert "3 of the 4 images to label are labelled images too, such as" in caplog.text
    assert "renamed 0.bmp" in caplog.text


def test_the_same_image_in_two_classes_is_named_by_its_file(
    photos: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, support = photos["root"], tmp_path / "support"
    for name in COLOURS:
        (support / name).mkdir(parents=True)
        Image.open(root / "support" / name / "0.png").save(support / name / "0.png")
    Image.open(root / "support" / "blue" / "0.png").save(support / "green" / "1.bmp")
    settings = {"query": str(root / "query"), "output": str(tmp_path / "labels.csv"), "device": "cpu"}
    predict(photos["checkpoint"], support=str(support), **settings)
    assert f"'{support / 'blue' / '0.png'}' is 'blue', and '{support / 'green' / '1.bmp'}' is 'green'" in caplog.text
