"""Labelling a folder of images with a classifier that was saved."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from saved_photos import COLOURS, save_photos
from smat.errors import ConfigError
from smat.recipes.photos import FitOptions
from smat.recipes.predict import predict


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Photos, a checkpoint, and a classifier of the labelled ones."""
    root = tmp_path_factory.mktemp("photos")
    classifier = save_photos(root)
    return {"root": root, "checkpoint": str(root / "pool"), "classifier": str(classifier)}


def test_it_labels_as_in_one_go(photos: dict[str, Any], tmp_path: Path) -> None:
    root, output = photos["root"], str(tmp_path / "labels.csv")
    query = {"query": str(root / "query"), "output": output, "device": "cpu"}
    result = predict(photos["classifier"], **query)
    saved = Path(output).read_text()
    predict(photos["checkpoint"], support=str(root / "support"), fit_options=FitOptions(head="lda"), **query)
    assert saved == Path(output).read_text()
    assert (result.classes, result.accuracy, result.scored) == (("blue", "green"), 1.0, 6)


def test_what_was_settled_is_refused_by_name(photos: dict[str, Any], tmp_path: Path) -> None:
    query = {"query": str(photos["root"] / "query"), "output": str(tmp_path / "labels.csv")}
    options = FitOptions(learning_rate=0.1, flip=False)
    with pytest.raises(ConfigError, match="for which --support, --learning-rate, --flip cannot be given any more"):
        predict(photos["classifier"], support=query["query"], fit_options=options, **query)
    with pytest.raises(ConfigError, match="--head cannot"):
        predict(photos["classifier"], fit_options=FitOptions(head="auto"), **query)
    with pytest.raises(ConfigError, match="no classifier is given, so that labelled images are needed"):
        predict(**query)
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
