"""Bytes changed and files cut, at random: nothing crashes, and no image gets a class that the files do not say."""

import contextlib
import functools
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from damage import BYTES, Damage, damages
from smat.errors import DataError
from smat.importing import list_sources, matlab_lists
from tiny_sources import (
    Truth,
    make_aircraft,
    make_bitmaps,
    make_cars,
    make_coco,
    make_cub,
    make_domainnet,
    make_dtd,
    make_flowers,
    make_food,
    make_gtsrb,
    make_ndjson,
    make_pets,
    read_all,
)

OF_LISTS = BYTES | st.sampled_from(b"0123456789 ;/_\n")  # what lists are made of, more often


def fuzz(cases: int) -> Callable[[Any], Any]:
    """The test with so many ways of damaging; the same ones every time."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

    def decorate(test: Any) -> Any:
        chosen = settings(
            max_examples=cases, deadline=None, database=None, derandomize=True, suppress_health_check=checks
        )
        return chosen(given(damage=damages(OF_LISTS))(example(damage=lambda content: b"")(test)))

    return decorate


@contextlib.contextmanager
def damaged(path: Path, damage: Damage) -> Iterator[bytes]:
    before = path.read_bytes()
    after = damage(before)
    path.write_bytes(after)
    try:
        yield after
    finally:
        path.write_bytes(before)


def attempt(kind: str, root: Path) -> Truth:
    """What is found; nothing where all is refused."""
    try:
        return {name: content for listing in list_sources(kind, root) for name, content in read_all(listing)[0].items()}
    except DataError:
        return {}


BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
LISTS: dict[str, tuple[Callable[[Path], Truth], str, str]] = {
    "gtsrb": (
        lambda root: make_gtsrb(root, {1: "01.Speed limit (30km/h)", 2: "02.Speed limit (50km/h)"}),
        "gtsrb",
        "GTSRB/Final_Training/Images/00001/GT-00001.csv",
    ),
    "domainnet": (lambda root: make_domainnet(root, "sketch", ("bird", "bid")), "domainnet", "sketch_train.txt"),
    "pets": (lambda root: make_pets(root, ("pug", "bug")), "pets", "annotations/list.txt"),
    "food": (lambda root: make_food(root, ("pie", "pi")), "food", "food-101/meta/train.txt"),
    "food-classes": (lambda root: make_food(root, ("pie", "pi")), "food", "food-101/meta/classes.txt"),
    "dtd": (lambda root: make_dtd(root, ("grid", "grd")), "dtd", "dtd/labels/labels_joint_anno.txt"),
    "cub": (lambda root: make_cub(root, BIRDS), "cub", "CUB_200_2011/images.txt"),
    "cub-labels": (lambda root: make_cub(root, BIRDS), "cub", "CUB_200_2011/image_class_labels.txt"),
    "cub-classes": (lambda root: make_cub(root, BIRDS), "cub", "CUB_200_2011/classes.txt"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_that_say_a_class_twice_never_give_a_wrong_one(kind: str, tmp_path: Path) -> None:
    make, source, file = LISTS[kind]
    truth = make(tmp_path)
    assert attempt(source, tmp_path) == truth
    path = tmp_path / file
    lines = set(path.read_bytes().splitlines())
    mentioned = {line: [name for name in truth if _is_of(name, line)] for line in lines}

    @fuzz(40)
    def check(damage: Damage) -> None:
        with damaged(path, damage) as content:
            found = attempt(source, tmp_path)
        for name, (label, image) in found.items():
            assert truth[name] == (label, image)
        if kind in ("food", "dtd"):  # where each line is for itself, lines that are whole are used
            for line in lines & set(content.splitlines()):
                assert set(mentioned[line]) <= set(found)

    check()


def _is_of(name: str, line: bytes) -> bool:
    stem = name.rpartition(".")[0].split("/", 1)[1].encode()
    return stem in line.split(b".jpg")[0] or line.endswith(stem)


@pytest.mark.parametrize("list_file", ["images_variant_test", "images_variant_trainval", "images_box", "variants"])
def test_aircraft_have_the_variants_and_boxes_that_the_files_say(list_file: str, tmp_path: Path) -> None:
    truth = make_aircraft(tmp_path, ("747-100", "747-200"))
    path = tmp_path / f"fgvc-aircraft-2013b/data/{list_file}.txt"

    @fuzz(40)
    def check(damage: Damage) -> None:
        with damaged(path, damage) as content:
            found = attempt("aircraft", tmp_path)
        text = [" ".join(line.split()) for line in content.decode(errors="replace").split("\n")]
        for name, (label, piece) in found.items():
            image = Path(name).stem
            assert truth[name][0] == label or f"{image} {label}" in text
            left, top, right, bottom = truth[name][1]
            if piece.size != (right - left, bottom - top):
                assert any(line.startswith(image) and not line.endswith(f"{right} {bottom}") for line in text) or any(
                    line.startswith(image) and f" {left} {top} " not in line for line in text
                )

    check()


def loaded(content: bytes) -> dict[str, Any]:
    """What the library makes of a file whose text at the beginning, which says nothing, is put right."""
    return scipy.io.loadmat(io.BytesIO(b"MATLAB 5.0 MAT-file".ljust(124) + content[124:]), squeeze_me=True)


@pytest.mark.parametrize("packed", [True, False])
def test_flowers_have_the_classes_that_the_file_says(packed: bool, tmp_path: Path) -> None:
    images = make_flowers(tmp_path, (7, 1, 102, 5, 1, 7), packed)
    path = tmp_path / "imagelabels.mat"
    expected = attempt("flowers", tmp_path)
    assert len(expected) == len(images)

    @fuzz(20)  # each of which starts a process
    def check(damage: Damage) -> None:
        with damaged(path, damage) as content:
            found = attempt("flowers", tmp_path)
        if packed:  # it has a checksum
            assert found in ({}, expected)
        elif found:  # what got through is what the library reads from the same bytes
            labels = np.ravel(loaded(content)["labels"]).tolist()
            for name, (label, image) in found.items():
                number = int(name[-9:-4])
                assert label.startswith(f"{int(labels[number - 1]):03d}.")
                assert image == images[name]

    check()


@pytest.mark.parametrize("file", ["devkit/cars_train_annos.mat", "devkit/cars_meta.mat"])
@pytest.mark.parametrize("packed", [True, False])
def test_cars_have_the_classes_that_the_files_say(
    file: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matlab_lists, "read_matlab", functools.cache(matlab_lists.read_matlab))  # each starts a process
    names = ("Audi TT 2011", "BMW X5 2007")
    truth = make_cars(tmp_path, names, packed)
    path = tmp_path / file

    @fuzz(15)
    def check(damage: Damage) -> None:
        with damaged(path, damage) as content:
            found = attempt("cars", tmp_path)
        for name, (label, image) in found.items():
            assert image == truth[name][1]
            if packed or (name.startswith("cars_test") and "meta" not in file):
                assert label == truth[name][0]
            elif label != truth[name][0]:
                said = loaded(content)
                if "meta" in file:
                    assert label == said["class_names"][names.index(truth[name][0])]
                else:
                    rows = said["annotations"]
                    assert (names.index(label) + 1, name.split("/")[1]) in [
                        (row["class"], row["fname"]) for row in rows
                    ]

    check()


def test_objects_have_the_categories_that_the_file_says(tmp_path: Path) -> None:
    boxes = [(7, 1, (10, 10, 20, 10)), (7, 2, (0.5, 0, 5.5, 7.25)), (12, 2, (40, 30, 19.5, 10)), (12, 1, (1, 1, 9, 9))]
    names = {1: "person", 2: "bicycle"}
    make_coco(tmp_path, boxes, names)
    path = tmp_path / "annotations/instances_train2017.json"
    expected = attempt("coco", tmp_path)
    assert len(expected) == len(boxes)

    @fuzz(120)
    def check(damage: Damage) -> None:
        with damaged(path, damage) as content:
            found = attempt("coco", tmp_path)
        if found:
            tables = json.loads(content)
            categories = {entry["id"]: entry["name"] for entry in tables["categories"] if {"id", "name"} <= {*entry}}
            files = {entry["id"]: entry["file_name"] for entry in tables["images"] if {"id", "file_name"} <= {*entry}}
            said = {
                (
                    f"train2017/{files.get(entry.get('image_id'))}#{entry.get('id')}",
                    categories.get(entry["category_id"]),
                )
                for entry in tables["annotations"]
                if "category_id" in entry
            }
            assert {(name, label) for name, (label, _) in found.items()} <= said

    check()


@pytest.mark.parametrize("form", ["ndjson", "npy"])
def test_drawings_are_of_their_files_class_or_refused(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"cat.{form}"
    count = 4
    if form == "npy":
        make_bitmaps(path, count)
    else:
        make_ndjson(path, "cat", count)
    make_bitmaps(tmp_path / "dog.npy", 1)
    expected = attempt("quickdraw", tmp_path)
    assert len(expected) == count + 1
    lines = path.read_bytes().splitlines()

    @fuzz(100)
    def check(damage: Damage) -> None:
        with damaged(path, damage) as content:
            found = attempt("quickdraw", tmp_path)
        assert found["dog.npy#0"][0] == "dog"
        assert all(label == path.stem for name, (label, _) in found.items() if name.startswith("cat"))
        assert len(found) <= count + 1 + content.count(b"\n") * (form == "ndjson")
        if form == "ndjson":
            for line, name in zip(lines, expected, strict=False):
                if line in content.split(b"\n"):
                    assert np.array_equal(found[name][1], expected[name][1])

    check()
