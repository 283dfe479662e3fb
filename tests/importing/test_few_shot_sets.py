"""miniImageNet, tieredImageNet, CIFAR-FS and FC100 in the forms that few-shot code reads."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from python2_pickles import Python2
from small_images import encode, noise
from smat.domains import open_domain
from smat.errors import DataError
from smat.importing import Listing, import_domain, list_sources
from tiny_sources import Truth, photo, read_all, said, write

SPLITS = {"train": ("n01", "n02"), "val": ("n03",), "test": ("n04",)}


def pixels(seed: int, count: int, side: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def dumped(content: Any, python: int) -> bytes:
    return Python2().file(content) if python == 2 else pickle.dumps(content)


def only(kind: str, source: Path) -> Listing:
    [listing] = list_sources(kind, source)
    return listing


def same(found: Truth, wanted: Truth) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name][0] == wanted[name][0] and np.array_equal(found[name][1], wanted[name][1]) for name in wanted
    )


def make_cache(root: Path, python: int, pattern: str = "mini-imagenet-cache-{}.pkl") -> Truth:
    """Two images of each class, those of the first class first and last."""
    truth: Truth = {}
    for seed, (split, names) in enumerate(SPLITS.items()):
        order = [names[0], *(name for name in names[1:] for _ in range(2)), names[0]]
        images = pixels(seed, len(order))
        rows = {name: [row for row, one in enumerate(order) if one == name] for name in names}
        write(root, {pattern.format(split): dumped({"image_data": images, "class_dict": rows}, python)})
        truth |= {f"{pattern.format(split)}#{row}": (name, images[row]) for row, name in enumerate(order)}
    return truth


def make_batches(root: Path, pattern: str, python: int, named: bool, train: str = "train") -> Truth:
    truth: Truth = {}
    first = 0
    for seed, (split, names) in enumerate(SPLITS.items()):
        labels = [first + row % len(names) for row in range(2 * len(names))]
        images = pixels(seed, len(labels))
        content: dict[str, Any] = {"data": images, "labels": labels}
        if named:
            content["catname2label"] = {name: first + place for place, name in enumerate(names)}
        file = pattern.format(train if split == "train" else split)
        write(root, {file: dumped(content, python)})
        for row, label in enumerate(labels):
            truth[f"{file}#{row}"] = names[label - first] if named else str(label), images[row]
        first += len(names)
    return truth


@pytest.mark.parametrize("python", [2, 3])
def test_mini_imagenet_as_caches(python: int, tmp_path: Path) -> None:
    truth = make_cache(tmp_path / "mini", python)
    listing = only("miniimagenet", tmp_path)
    found, refused = read_all(listing)
    assert same(found, truth)
    assert refused == []
    assert listing.splits == SPLITS
    assert listing.classes == ("n01", "n02", "n03", "n04")
    import_domain(listing, tmp_path / "out")
    domain = open_domain(tmp_path / "out" / "miniimagenet")
    assert domain.counts() == dict.fromkeys(listing.classes, 2)
    assert np.array_equal(np.asarray(domain.image(0)), truth["mini-imagenet-cache-train.pkl#0"][1])


@pytest.mark.parametrize("python", [2, 3])
@pytest.mark.parametrize(
    ("kind", "pattern", "train", "named"),
    [
        ("miniimagenet", "miniImageNet_category_split_{}.pickle", "train_phase_train", True),
        ("cifar-fs", "CIFAR_FS_{}.pickle", "train", False),
        ("fc100", "FC100_{}.pickle", "train", False),
    ],
)
def test_batches_of_data_and_labels(
    kind: str, pattern: str, train: str, named: bool, python: int, tmp_path: Path
) -> None:
    truth = make_batches(tmp_path, pattern, python, named, train)
    listing = only(kind, tmp_path)
    found, refused = read_all(listing)
    assert same(found, truth)
    assert refused == []
    assert listing.splits == (SPLITS if named else {"train": ("0", "1"), "val": ("2",), "test": ("3",)})
    assert listing.name == kind


def test_numbers_that_begin_anew_in_each_split_are_different_classes(tmp_path: Path) -> None:
    for seed, split in enumerate(SPLITS):
        content = {"data": pixels(seed, 2), "labels": [0, 1 + seed]}
        write(tmp_path, {f"CIFAR_FS_{split}.pickle": pickle.dumps(content)})
    assert only("cifar-fs", tmp_path).splits == {
        "train": ("train 0", "1"),
        "val": ("val 0", "2"),
        "test": ("test 0", "3"),
    }


def test_mini_imagenet_as_images_and_tables(tmp_path: Path) -> None:
    truth: Truth = {}
    for split, names in SPLITS.items():
        files = {f"{name}0000{i}.jpg": name for name in names for i in range(2)}
        truth |= {f"images/{file}": (name, photo(len(truth) + i)) for i, (file, name) in enumerate(files.items())}
        rows = "".join(f"{file},{name}\n" for file, name in files.items())
        write(tmp_path, {f"{split}.csv": f"filename,label\n{rows}"})
    write(tmp_path, {path: content for path, (_, content) in truth.items()})
    (tmp_path / "images" / "n0400001.jpg").unlink()
    listing = only("miniimagenet", tmp_path)
    found, refused = read_all(listing)
    assert found == {name: entry for name, entry in truth.items() if name != "images/n0400001.jpg"}
    assert said(refused) == "test.csv, line 3: there is no file 'images/n0400001.jpg'"
    assert listing.splits == SPLITS


def make_tiered(root: Path, python: int, named: bool = True) -> Truth:
    """Encoded images with labels from 0 in each split; one of them has very few bytes."""
    truth: Truth = {}
    for split, names in SPLITS.items():
        labels = [row % len(names) for row in range(2 * len(names))]
        encoded = [encode(noise(len(truth) + row, (9 * (row != 1) + 1, 8)), "PNG") for row in range(len(labels))]
        arrays = [np.frombuffer(one, np.uint8)[:, None] for one in encoded]
        content: dict[str, Any] = {"label_specific": np.array(labels), "label_specific_str": list(names)}
        if python == 2:
            content["label_specific_str"] = [name.encode() for name in names]
        write(root, {f"{split}_images_png.pkl": dumped(arrays, python)})
        write(root, {f"{split}_labels.pkl": dumped(content if named else {"labels": labels}, python)})
        for row, label in enumerate(labels):
            truth[f"{split}_images_png.pkl#{row}"] = names[label], encoded[row]
    return truth


@pytest.mark.parametrize("python", [2, 3])
def test_tiered_imagenet_as_encoded_images(python: int, tmp_path: Path) -> None:
    truth = make_tiered(tmp_path / "tiered", python)
    listing = only("tieredimagenet", tmp_path)
    found, refused = read_all(listing)
    assert found == truth
    assert refused == []
    assert listing.splits == SPLITS


def test_tiered_imagenet_as_arrays(tmp_path: Path) -> None:
    truth: Truth = {}
    for seed, (split, names) in enumerate(SPLITS.items()):
        images = pixels(seed, 2 * len(names))
        labels = [10 * seed + row % len(names) for row in range(len(images))]
        np.savez(tmp_path / f"{split}_images.npz", images=images)
        write(tmp_path, {f"{split}_labels.pkl": pickle.dumps({"labels": labels})})
        truth |= {f"{split}_images.npz#{row}": (str(label), images[row]) for row, label in enumerate(labels)}
    listing = only("tieredimagenet", tmp_path)
    assert same(read_all(listing)[0], truth)
    assert listing.splits == {"train": ("0", "1"), "val": ("10",), "test": ("20",)}
    np.savez_compressed(tmp_path / "val_images.npz", images=pixels(0, 2))
    (tmp_path / "test_images.npz").write_bytes(b"PK nothing")
    refused = said(only("tieredimagenet", tmp_path).refused)
    assert "val_images.npz: none of it is read" in refused
    assert "save it with numpy.savez instead of savez_compressed" in refused
    assert "is no archive of NumPy's with 'images'" in refused


def test_cifar_fs_as_class_folders_and_lists(tmp_path: Path) -> None:
    truth: Truth = {}
    for split, names in SPLITS.items():
        lines = [*names, *(["gone", "n01"] if split == "test" else [])]
        write(tmp_path / "cifar100", {f"splits/bertinetto/{split}.txt": "\n".join(lines) + "\n"})
        truth |= {f"data/{name}/{i}.png": (name, photo(i + len(truth), "PNG")) for name in names for i in range(2)}
    write(tmp_path / "cifar100", {path: content for path, (_, content) in truth.items()})
    write(tmp_path / "cifar100", {"data/other/1.png": photo(1)})
    listing = only("cifar-fs", tmp_path)
    found, refused = read_all(listing)
    assert found == truth
    assert said(refused).splitlines() == [
        "splits/bertinetto/test.txt: there is no folder 'data/gone'",
        "splits/bertinetto/test.txt: class 'n01' is in the list of train too",
        "data/other: no list of a split has this class",
    ]
    assert listing.splits == SPLITS


def test_a_split_without_a_file_is_noted_and_a_damaged_one_refused(tmp_path: Path) -> None:
    make_cache(tmp_path, 3)
    (tmp_path / "mini-imagenet-cache-val.pkl").unlink()
    path = tmp_path / "mini-imagenet-cache-test.pkl"
    path.write_bytes(path.read_bytes()[:-50])
    listing = only("miniimagenet", tmp_path)
    assert listing.splits == {"train": SPLITS["train"]}
    assert listing.notes == ("there is no file of val: its classes are missing",)
    assert said(listing.refused).startswith("mini-imagenet-cache-test.pkl: none of it is read: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image_data": pixels(0, 3), "class_dict": {"a": [0, 9], "b": [0, 1]}}, "class 'a' has image 9"),
        ({"image_data": pixels(0, 3), "class_dict": {"a": [0, 1], "b": [1]}}, "it is of several classes: 'a' and 'b'"),
        ({"image_data": pixels(0, 3), "class_dict": {"a": [0]}}, "it is of no class"),
        ({"data": pixels(0, 3), "labels": [0, "x", 1]}, "its label is a str"),
        ({"data": pixels(0, 3), "labels": [0, 5, 0], "catname2label": {"a": 0}}, "its label 5 is none of those"),
    ],
)
def test_images_whose_class_is_not_clear_are_refused_one_by_one(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, {"mini-imagenet-cache-train.pkl": pickle.dumps(content)})
    assert message in said(only("miniimagenet", tmp_path).refused)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": pixels(0, 3), "labels": [0]}, "1 labels for 3 images: which belong together cannot be known"),
        ({"data": pixels(0, 3)}, "has no 'labels'; it has data"),
        ({"labels": [1]}, "has no 'data'; it has labels"),
        ({"data": pixels(0, 3)[..., :2], "labels": [0, 0, 0]}, r"expected uint8 \[images, height, width, 3\]"),
        ({"data": pixels(0, 3).astype(np.float32), "labels": [0, 0, 0]}, "expected whole numbers"),
        ([1, 2], "holds a list; expected a dictionary"),
        ({"image_data": pixels(0, 3), "class_dict": {"a": 3}}, "class 'a' with a int; expected a list"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"mini-imagenet-cache-train.pkl": pickle.dumps(content)})
    with pytest.raises(DataError, match=message):
        only("miniimagenet", tmp_path)
