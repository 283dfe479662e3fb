import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from small_images import encode, noise, write_folders
from smat.domains import open_domain
from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing import Found, import_domain, list_sources

CLASSES = {"海鷗": 3, "Weiß kopf": 2, "owl": 1}


def test_class_folders_become_a_domain_for_testing(tmp_path: Path) -> None:
    write_folders(tmp_path / "birds", CLASSES)
    (tmp_path / "birds" / "owl" / "deeper").mkdir()
    noise(77).save(tmp_path / "birds" / "owl" / "deeper" / "x.PNG")
    (tmp_path / "birds" / "owl" / "notes.txt").write_text("no image")
    (tmp_path / "birds" / "owl" / ".hidden.png").write_bytes(b"no image")
    [listing] = list_sources("folder", tmp_path / "birds")
    assert listing.name == "birds"
    assert listing.classes == ("Weiß kopf", "owl", "海鷗")
    assert listing.splits == {"test": listing.classes}
    assert [entry.place for entry in listing.refused] == ["owl/.hidden.png", "owl/notes.txt"]
    assert listing.flip is None
    assert "all classes are for testing" in listing.notes[0]
    import_domain(listing, tmp_path / "out")
    domain = open_domain(tmp_path / "out" / "birds")
    assert domain.counts() == {"Weiß kopf": 2, "owl": 2, "海鷗": 3}
    assert [domain.image_name(row) for row in domain.rows("owl").tolist()] == ["owl/0.png", "owl/deeper/x.PNG"]
    assert np.array_equal(np.asarray(domain.image(int(domain.rows("owl")[1]))), np.asarray(noise(77)))
    assert np.array_equal(np.asarray(domain.image(int(domain.rows("海鷗")[2]))), np.asarray(noise(2)))
    assert domain.encoded(0) == (tmp_path / "birds" / "Weiß kopf" / "0.png").read_bytes()


def test_images_of_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "birds", CLASSES) / "owl"
    for name in ("a.jpe", "b.JP2"):
        noise(1).save(folder / name, "JPEG2000" if name.endswith("2") else "JPEG")
    (folder / "c.NEF").write_bytes(b"raw")
    [listing] = list_sources("folder", tmp_path / "birds")
    imported = import_domain(listing, tmp_path / "out")
    assert imported.classes["owl"] == 3
    [refused] = imported.refused
    assert str(refused) == "owl/c.NEF: .nef files are a camera's raw data: convert them to JPEG or PNG"


def test_folders_of_splits_divide_the_classes(tmp_path: Path) -> None:
    for split, classes in (("train", {"a": 2, "b": 1}), ("valid", {"c": 1}), ("test", {"d": 2})):
        write_folders(tmp_path / "x" / split, classes)
    [listing] = list_sources("folder", tmp_path / "x")
    assert listing.splits == {"train": ("a", "b"), "val": ("c",), "test": ("d",)}
    assert not listing.notes
    assert import_domain(listing, tmp_path / "out").classes == {"a": 2, "b": 1, "c": 1, "d": 2}


def test_folders_that_divide_images_are_joined_and_it_is_said(tmp_path: Path) -> None:
    for split, classes in (("train", {"a": 2, "b": 1}), ("test", {"a": 3, "c": 1})):
        write_folders(tmp_path / "x" / split, classes)
    [listing] = list_sources("folder", tmp_path / "x")
    assert listing.splits == {"test": ("a", "b", "c")}
    assert "divide the images of a class, not the classes: they are joined" in listing.notes[0]
    imported = import_domain(listing, tmp_path / "out")
    assert imported.classes == {"a": 5, "b": 1, "c": 1}
    assert imported.notes == listing.notes


def test_a_splits_file_beside_the_folder_is_a_hint(tmp_path: Path) -> None:
    write_folders(tmp_path / "x", {"a": 1, "b": 1})
    (tmp_path / "splits.json").write_text(json.dumps({"x": {"train": ["b"], "test": ["a"]}}))
    [listing] = list_sources("folder", tmp_path / "x")
    assert listing.splits == {"train": ("b",), "test": ("a",)}
    (tmp_path / "splits.json").write_text(json.dumps({"x": {"train": ["b"]}}))
    [listing] = list_sources("folder", tmp_path / "x")
    assert listing.splits == {"test": ("a", "b")}
    assert "says nothing of 1 classes, such as 'a'" in listing.notes[0]
    (tmp_path / "splits.json").write_text(json.dumps({"x": {"train": ["zebra"]}}))
    with pytest.raises(DataError, match="zebra"):
        list_sources("folder", tmp_path / "x")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "x", {"a": 2, "b": 1})
    write_folders(tmp_path / "elsewhere", {"c": 1})
    (root / "empty").mkdir()
    (root / "stray.png").write_bytes(encode(noise(0)))
    (root / "out").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "a" / "out.png").symlink_to(tmp_path / "elsewhere" / "c" / "0.png")
    (root / "a" / "in.png").symlink_to(root / "b" / "0.png")
    (root / "a" / "loop.png").symlink_to("loop.png")
    (root / "a" / "missing.png").symlink_to("no.png")
    (root / "a" / "up").symlink_to("..")
    os.mkfifo(root / "a" / "pipe.png")
    write_folders(root, {os.fsdecode(b"caf\xe9"): 1})
    [listing] = list_sources("folder", root)
    reasons = {entry.place: entry.reason for entry in listing.refused}
    assert "outside class folders" in reasons["stray.png"]
    assert "no images" in reasons["empty"]
    assert "leaves the source" in reasons["out"]
    assert "leaves the source" in reasons["a/out.png"]
    assert "not followed" in reasons["a/up"]
    assert reasons.keys() > {"a/loop.png", "a/missing.png", "a/pipe.png"}
    assert import_domain(listing, tmp_path / "out").classes == {"a": 3, "b": 1, "caf\\xe9": 1}


def test_files_that_change_while_they_are_imported_are_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "x", {"a": 4})
    [listing] = list_sources("folder", root)
    [part] = listing.parts
    (root / "a" / "1.png").unlink()
    (root / "a" / "2.png").rename(tmp_path / "secret.png")
    (root / "a" / "2.png").symlink_to(tmp_path / "secret.png")
    first, missing, link, last = listing.read(part)
    assert isinstance(first, Found)
    assert isinstance(last, Found)
    assert missing == Refused("a/1.png", "there is no such file")
    assert link == Refused("a/2.png", "it is a symbolic link that leaves the source folder")


@pytest.mark.parametrize("make", [lambda root: None, lambda root: (root / "x").mkdir(), lambda root: root.rmdir()])
def test_nothing_to_import(tmp_path: Path, make) -> None:
    root = tmp_path / "source"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=r"no class folders with images|is empty|is no folder"):
        list_sources("folder", root)


FORMATS = {
    "a/1.png": encode(noise(1)),
    "a/2.jpg": encode(noise(2, (40, 30)), "JPEG"),
    "b/3.png": encode(noise(3, mode="L")),
    "b/4.gif": encode(noise(4), "GIF"),
    "c/5.webp": encode(noise(5), "WEBP"),
    "c/6.tif": encode(noise(6), "TIFF"),
    "c/7.bmp": encode(noise(7), "BMP"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what it mends
@given(data=st.data())
def test_damaged_images_are_refused_or_still_images_of_their_class(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    which = data.draw(st.sampled_from(sorted(FORMATS)))
    content = bytearray(FORMATS[which])
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(200, len(content) - 1)))] ^= data.draw(st.integers(1, 255))
    for name, image in FORMATS.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if name == which else image)
    [listing] = list_sources("folder", folder / "source")
    imported = import_domain(listing, folder / "out", max_side=24)
    domain = open_domain(folder / "out" / "source")
    names = {domain.image_name(row): label for label in imported.classes for row in domain.rows(label).tolist()}
    assert names.keys() >= FORMATS.keys() - {which}
    assert all(name.startswith(label) for name, label in names.items())
    assert (which in names) != any(entry.place == which for entry in imported.refused)
    for row in range(imported.images):
        assert isinstance(domain.image(row), Image.Image)
