"""Which folders are classes, which are splits, and what is left out and why."""

import os
from pathlib import Path

import pytest

from small_images import encode, noise, write_folders
from smat.domains import list_images, open_domain, read_class_folders
from smat.domains.layout import Layout, read_layout, split_of
from smat.errors import DataError
from smat.left_out import collecting

SIX = {"a": 2, "b": 1}


def flat(folder: Path, images: int = 2) -> Path:
    """A folder with so many images and no folders."""
    write_folders(folder.parent, {folder.name: images})
    return folder


def reasons(layout: Layout) -> dict[str, str]:
    return {entry.name: entry.reason for entry in layout.unused}


def sizes(layout: Layout) -> dict[str, int]:
    return {name: len(paths) for name, paths in layout.images.items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("TRAIN_images", "train"),
        ("seg_train", "train"),
        ("train2017", "train"),
        ("training set", "train"),
        ("Validation", "val"),
        ("valid", "val"),
        ("dev", "val"),
        ("Testing", "test"),
        ("test-set", "test"),
        ("tests of strength", None),
        ("trains", None),
        ("steam train", None),
        ("images", None),
        ("2017", None),
    ],
)
def test_names_of_split_folders(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing"), ("train_set", "Test Images")])
def test_split_folders_with_the_same_classes_divide_images(tmp_path: Path, train: str, test: str) -> None:
    write_folders(tmp_path / "set" / train, SIX)
    write_folders(tmp_path / "set" / test, SIX)
    layout = read_layout(tmp_path / "set")
    assert sizes(layout) == {"a": 4, "b": 2}
    assert layout.divides_images
    assert layout.splits is None
    with collecting() as left_out:
        paths, labels, names = read_class_folders(tmp_path / "set")
    assert (names, labels) == (["a", "b"], [0, 0, 1])
    assert {path.parts[-3] for path in paths} == {train}
    assert f"the labelled images are those of '{train}'" in str(left_out[0])
    assert [*left_out[0].names] == [f"{tmp_path / 'set' / test}"]


def test_split_folders_with_other_classes_divide_classes(tmp_path: Path) -> None:
    for split, names in (("Train", "ab"), ("dev", "c"), ("Valid", "d"), ("TEST", "e")):
        write_folders(tmp_path / "set" / split, dict.fromkeys(names, 1))
    layout = read_layout(tmp_path / "set")
    assert layout.splits == {"train": ("a", "b"), "val": ("d", "c"), "test": ("e",)}
    assert not layout.unused


def test_a_split_folder_without_class_folders_is_left_out_beside_one_with_them(tmp_path: Path) -> None:
    write_folders(tmp_path / "set" / "train", SIX)
    flat(tmp_path / "set" / "test")
    flat(tmp_path / "set" / "sample_images")
    layout = read_layout(tmp_path / "set")
    assert sizes(layout) == SIX
    assert layout.splits is None
    assert "no class folders" in reasons(layout)["test"]
    assert "beside the split folders 'train'" in reasons(layout)["sample_images"]
    assert open_domain(tmp_path / "set").splits == {"test": ("a", "b")}
    assert read_class_folders(tmp_path / "set")[2] == ["a", "b"]


def test_a_split_folder_beside_class_folders_is_no_class(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "set", {**SIX, "test": 3})
    layout = read_layout(root)
    assert sizes(layout) == SIX
    assert "classes.txt" in reasons(layout)["test"]
    (root / "classes.txt").write_text("test\nno folder\n")
    assert sizes(read_layout(root)) == {**SIX, "test": 3}
    assert not read_layout(root).unused


def test_trains_beside_other_vehicles_are_a_class(tmp_path: Path) -> None:
    vehicles = {"Bus": 1, "Car": 1, "Train": 1}
    assert sizes(read_layout(write_folders(tmp_path / "set", vehicles))) == vehicles


def test_folders_that_can_be_meant_in_two_ways_are_refused(tmp_path: Path) -> None:
    flat(tmp_path / "flat" / "train")
    flat(tmp_path / "flat" / "test")
    with pytest.raises(DataError, match=r"images in 'test' and 'train', which are called like splits.*classes\.txt"):
        read_layout(tmp_path / "flat")
    (tmp_path / "flat" / "classes.txt").write_text("train\ntest\n")
    assert sizes(read_layout(tmp_path / "flat")) == {"test": 2, "train": 2}
    write_folders(tmp_path / "mixed" / "train", SIX)
    flat(tmp_path / "mixed" / "car")
    with pytest.raises(DataError, match=r"split folder 'train' beside 'car'.*give .*mixed/train"):
        read_layout(tmp_path / "mixed")
    write_folders(tmp_path / "no" / "val", SIX)
    write_folders(tmp_path / "no" / "test", SIX)
    with pytest.raises(DataError, match=r"'test', 'val' and none for training; give .*no/test"):
        read_class_folders(tmp_path / "no")


def test_one_folder_too_many_is_looked_through(tmp_path: Path) -> None:
    write_folders(tmp_path / "set" / "dataset" / "inner", SIX)
    layout = read_layout(tmp_path / "set")
    assert sizes(layout) == SIX
    assert [*reasons(layout)] == ["dataset", "dataset/inner"]
    assert "set/dataset/inner" in reasons(layout)["dataset"]
    write_folders(tmp_path / "kaggle" / "seg_train" / "seg_train", SIX)
    write_folders(tmp_path / "kaggle" / "seg_test" / "seg_test", SIX)
    assert sizes(read_layout(tmp_path / "kaggle")) == {"a": 4, "b": 2}
    write_folders(tmp_path / "around" / "data" / "train", {"a": 1})
    write_folders(tmp_path / "around" / "data" / "test", {"b": 1})
    assert read_layout(tmp_path / "around").splits == {"train": ("a",), "test": ("b",)}


def test_folders_within_a_single_class_are_of_it(tmp_path: Path) -> None:
    write_folders(tmp_path / "set" / "owl", {"2019": 1})
    noise(0).save(tmp_path / "set" / "owl" / "x.png")
    assert sizes(read_layout(tmp_path / "set")) == {"owl": 2}


@pytest.mark.parametrize("tables", [[], ["train.csv", "test.csv"]])
def test_one_folder_of_images_is_no_class(tmp_path: Path, tables: list[str]) -> None:
    root = flat(tmp_path / "set" / "images").parent
    for name in tables:
        (root / name).write_text("filename,label\n")
    with pytest.raises(DataError, match=r"its images in 'images'.*not in a folder for each class"):
        read_layout(root)


def test_what_systems_leave_in_folders_is_not_looked_at(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "set", SIX)
    for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "lost+found", "$RECYCLE.BIN"):
        for folder in (root, root / "a"):
            flat(folder / name)
    for name in ("Thumbs.db", ".DS_Store", "._0.png", "desktop.ini"):
        (root / "a" / name).write_bytes(encode(noise(0)))
    layout = read_layout(root)
    assert sizes(layout) == SIX
    assert len(layout.unused) == 14
    assert len({entry.reason for entry in layout.unused}) == 1


def test_everything_that_is_not_used_is_said_by_its_reason(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "set", {**SIX, "empty": 0})
    for name in ("photo.heic_", "notes.txt", "b/SCAN.PSD", "bare"):
        (root / name).write_bytes(b"")
    noise(0).save(root / "loose.png")
    (root / "a" / "gone.png").symlink_to("nowhere.png")
    (root / "a" / "round.png").symlink_to("round.png")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "other").symlink_to("../b")
    (root / "c").symlink_to(flat(tmp_path / "elsewhere"))
    os.mkfifo(root / "a" / "pipe.png")
    layout = read_layout(root)
    assert sizes(layout) == {**SIX, "c": 2}
    found = reasons(layout)
    assert "outside class folders" in found["loose.png"]
    assert "no images" in found["empty"]
    assert ".txt" in found["notes.txt"]
    assert ".psd" in found["b/SCAN.PSD"]
    assert "without a suffix" in found["bare"]
    assert "points nowhere" in found["a/gone.png"]
    assert "points nowhere" in found["a/round.png"]
    assert "not followed" in found["a/up"]
    assert "not followed" in found["a/other"]
    assert found["a/pipe.png"] == "it is no file"
    inside = read_layout(root, stay_inside=True)
    assert sizes(inside) == SIX
    assert "leaves the source" in reasons(inside)["c"]
    with collecting() as left_out:
        assert len(list_images(root)) == 4
        assert len(read_class_folders(root)[0]) == 5
    assert {entry.what for entry in left_out} == {"file", "folder"}
    assert str(root / "notes.txt") in {name for entry in left_out for name in entry.names}


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = write_folders(tmp_path / "set", {**SIX, "secret": 1}), os.scandir

    def refusing(path: Path):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:  # the folder is removed before other patches are
        patch.setattr(os, "scandir", refusing)
        layout = read_layout(root)
    assert sizes(layout) == SIX
    assert reasons(layout)["secret"] == "it cannot be read: Permission denied"


def test_folders_of_links_to_folders_have_no_images(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "link").symlink_to(flat(tmp_path / f"elsewhere {name}"))
    with pytest.raises(DataError, match=r"no class folders with images(.|\n)*a/link: links to folders"):
        read_layout(tmp_path / "set")


def test_two_names_that_are_written_alike_are_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "set", {"a": 1, "b\\xe9": 1, os.fsdecode(b"b\xe9"): 1})
    with pytest.raises(DataError, match="two folders that are both called"):
        read_layout(root)
