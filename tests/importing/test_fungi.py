"""FGVCx Fungi as it is distributed."""

import json
from pathlib import Path
from typing import Any

import pytest

from smat.errors import DataError
from smat.importing import Listing, list_sources
from tiny_sources import Truth, photo, read_all, said, write

NAMES = {2: "Agaricus altipes", 155: "Clitocybe odora var. odora ", 9999: "Fungus novus"}


def make_fungi(root: Path, names: dict[int, str] = NAMES) -> tuple[Truth, dict[str, Any]]:
    truth: Truth = {}
    tables: dict[str, Any] = {}
    for place, part in enumerate(("train", "val")):
        images, annotations = [], []
        for category, name in names.items():
            number = 10 * category + place
            images.append({"id": number, "file_name": f"images/{number}.JPG", "width": 12, "height": 10})
            annotations.append({"id": number, "image_id": number, "category_id": category})
            truth[f"images/{number}.JPG"] = f"{category:04d}.{name}", photo(number)
        categories = [{"id": number, "name": name} for number, name in names.items()]
        tables[part] = {"images": images, "annotations": annotations, "categories": categories}
        write(root, {f"{part}.json": json.dumps(tables[part])})
    write(root, {path: content for path, (_, content) in truth.items()})
    return truth, tables


def only(source: Path) -> Listing:
    [listing] = list_sources("fungi", source)
    return listing


def test_training_and_validation_images_are_joined_and_divided_as_meta_dataset_does(tmp_path: Path) -> None:
    truth, _ = make_fungi(tmp_path / "fungi")
    listing = only(tmp_path)
    found, refused = read_all(listing)
    assert found == truth
    assert refused == []
    assert "0002.Agaricus altipes" in listing.splits["train"]
    assert listing.classes == ("0002.Agaricus altipes", "0155.Clitocybe odora var. odora ", "9999.Fungus novus")
    assert "1 classes that Meta-Dataset does not have, such as '9999.Fungus novus'" in " ".join(listing.notes)


def test_wrong_entries_are_named(tmp_path: Path) -> None:
    truth, tables = make_fungi(tmp_path)
    tables["val"]["annotations"] += [{"image_id": 5, "category_id": 2}, {"image_id": 21, "category_id": 7}, "x"]
    tables["val"]["images"].append({"id": 1, "file_name": "../secret.jpg"})
    write(tmp_path, {"val.json": json.dumps(tables["val"])})
    (tmp_path / "images" / "20.JPG").unlink()
    found, refused = read_all(only(tmp_path))
    assert len(found) == len(truth) - 1
    for message in (
        "val.json, annotation 3: its image 5 is none of those listed",
        "val.json, annotation 4: its category 7 is none of those listed",
        "val.json, annotation 5: its image None is none",
        "'../secret.jpg' leaves the source folder",
        "images/20.JPG: there is no such file",
    ):
        assert message in said(refused)


def test_one_of_the_lists_is_enough_and_said(tmp_path: Path) -> None:
    make_fungi(tmp_path)
    (tmp_path / "val.json").unlink()
    assert "there is no val.json: its images are missing" in only(tmp_path).notes


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is no JSON"), ("[]", "has not the lists annotations, categories, images")]
)
def test_annotations_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    make_fungi(tmp_path)
    write(tmp_path, {"train.json": text})
    with pytest.raises(DataError, match=message):
        only(tmp_path)
