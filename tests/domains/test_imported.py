import json
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pytest

from made import listing_of
from small_images import encode, noise
from smat.domains import open_domain
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import Refused, content_hash, open_images, read_imported
from smat.errors import DataError
from smat.importing import import_domain
from smat.importing.writing import write_imported

NAMES = ("owl", "Weiß kopf", "海鷗", "wren", "crow", "rook")


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Six classes of 1, 2, … 6 images, in two splits, with a hierarchy."""
    images = {name: [(f"{name} {i}.png", encode(noise(10 * place + i))) for i in range(place + 1)]
              for place, name in enumerate(NAMES)}  # fmt: skip
    splits = {"train": (NAMES[3], NAMES[0]), "test": (*NAMES[1:3], *NAMES[4:])}
    groups = {"train": {"small": (NAMES[3], NAMES[0])}, "test": {"black": NAMES[4:], "white": NAMES[1:3]}}
    listing = listing_of(
        images,
        splits,
        tmp_path,
        name="birds",
        hierarchy=Hierarchy("groups", groups),
        flip=False,
        origin={"kind": "folder"},
    )
    import_domain(listing, tmp_path / "out")
    return tmp_path / "out" / "birds"


def test_an_imported_domain_opens_as_a_domain(birds: Path) -> None:
    domain = open_domain(birds)
    assert domain.name == "birds"
    assert domain.splits == {"train": (NAMES[3], NAMES[0]), "test": (*NAMES[1:3], *NAMES[4:])}
    assert domain.counts() == {name: place + 1 for place, name in enumerate(NAMES)}
    assert domain.rows("海鷗").tolist() == [3, 4, 5]
    assert domain.image_name(5) == "海鷗 2.png"
    assert np.array_equal(np.asarray(domain.image(5)), np.asarray(noise(22)))
    assert domain.flip is False
    assert open_domain(birds, flip=True).flip is True
    assert open_domain(birds, splits={"val": ["owl"]}).classes("val") == ("owl",)
    assert domain.hierarchy("train") is not None


def test_datasets_opens_the_same_file(birds: Path) -> None:
    rows = datasets.Dataset.from_file(str(birds / "images.arrow"))
    assert rows.features["label"] == datasets.ClassLabel(names=list(NAMES))
    assert rows["label"] == [label for label in range(6) for _ in range(label + 1)]
    assert np.array_equal(np.asarray(rows[5]["image"]), np.asarray(noise(22)))


def test_what_was_written_is_read_back(birds: Path, tmp_path: Path) -> None:
    imported = read_imported(birds)
    assert imported.images == 21
    assert imported.options == {"max_side": 256}
    assert imported.source["kind"] == "folder"
    assert set(imported.source["versions"]) == {"smat", "pillow"}
    write_imported(tmp_path, imported)
    assert read_imported(tmp_path) == imported
    assert (tmp_path / "domain.json").read_text() == (birds / "domain.json").read_text()
    assert json.loads((birds / "domain.json").read_text())["complete"] is True


def test_the_hash_is_of_images_names_classes_and_options(birds: Path, tmp_path: Path) -> None:
    imported = read_imported(birds)
    assert content_hash(birds, imported) == imported.sha256
    images = {name: [(f"{i}", encode(noise(i)))] for i, name in enumerate("ab")}
    variants = {
        "same": import_domain(listing_of(images, None, tmp_path), tmp_path / "1"),
        "image": import_domain(listing_of({**images, "b": [("1", encode(noise(7)))]}, None, tmp_path), tmp_path / "2"),
        "name": import_domain(listing_of({**images, "b": [("2", encode(noise(1)))]}, None, tmp_path), tmp_path / "3"),
        "class": import_domain(
            listing_of(dict(zip("ac", images.values(), strict=True)), None, tmp_path), tmp_path / "4"
        ),
        "options": import_domain(listing_of(images, None, tmp_path), tmp_path / "5", keep=True),
        "label": import_domain(listing_of({"a": images["a"] + images["b"], "b": []}, None, tmp_path), tmp_path / "6"),
    }
    assert len({variant.sha256 for variant in variants.values()}) == len(variants)
    assert import_domain(listing_of(images, None, tmp_path), tmp_path / "7").sha256 == variants["same"].sha256


def test_one_changed_byte_changes_the_hash(birds: Path) -> None:
    imported = read_imported(birds)
    content = bytearray((birds / "images.arrow").read_bytes())
    place = content.index(encode(noise(22))) + 60
    content[place] ^= 1
    (birds / "images.arrow").write_bytes(content)
    assert content_hash(birds, imported) != imported.sha256


def test_the_refused_are_remembered(tmp_path: Path) -> None:
    images = {"a": [("good", encode(noise(0))), ("empty", b"")], "b": [("text", b"no image")], "c": []}
    imported = import_domain(listing_of(images, {"train": ("a", "b"), "test": ("c",)}, tmp_path), tmp_path / "out")
    assert [entry.place for entry in imported.refused] == ["empty", "text", "class 'b'", "class 'c'"]
    assert imported.refused[0] == Refused("empty", "it has no bytes")
    assert read_imported(tmp_path / "out" / "made") == imported
    assert open_domain(tmp_path / "out" / "made").splits == {"train": ("a",)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "domain.json").write_text("{"), r"cannot be used.* Delete the folder"),
        (lambda folder: (folder / "domain.json").write_text('{"format": 9}'), "cannot be used"),
        (lambda folder: (folder / "domain.json").write_text("[]"), "cannot be used"),
        (lambda folder: (folder / "images.arrow").unlink(), "is missing"),
        (lambda folder: (folder / "images.arrow").write_bytes(b"ARROW"), "is damaged: delete"),
        (
            lambda folder: (folder / "images.arrow").write_bytes((folder / "images.arrow").read_bytes()[:-3000]),
            "images",
        ),
        (lambda folder: (folder / "domain.json").rename(folder / "progress.jsonl"), "not finished: run the same"),
    ],
)
def test_damaged_folders_are_refused(birds: Path, damage, message: str) -> None:
    damage(birds)
    with pytest.raises(DataError, match=message):
        open_domain(birds)


def test_flipped_bits_are_refused_or_do_no_harm(birds: Path) -> None:
    """In the offsets, lengths and messages of the file: without a check of these a process ends, with no exception."""
    content = (birds / "images.arrow").read_bytes()
    good, damaged = np.random.default_rng(0), birds / "images.arrow"
    for _ in range(200):
        changed = bytearray(content)
        for place in good.integers(0, len(content), 3).tolist():
            changed[place] ^= 1 << int(good.integers(8))
        damaged.write_bytes(changed)
        with suppress(DataError):
            table = open_images(birds)
            assert table.schema.names == ["image", "label"]
            table.to_pylist()


def test_images_that_were_changed_are_found_by_their_hash(birds: Path) -> None:
    content = bytearray((birds / "images.arrow").read_bytes())
    content[content.index(encode(noise(22))) + 60] ^= 1
    (birds / "images.arrow").write_bytes(content)
    open_domain(birds)
    with pytest.raises(DataError, match="other images than were imported"):
        open_domain(birds, verify=True)
