from pathlib import Path

import numpy as np
import pytest

from smat.domains import open_domain
from smat.errors import DataError
from smat.importing import Listing, import_domain, list_sources
from tiny_sources import Truth, make_omniglot, read_all, said


def make(root: Path) -> Truth:
    return make_omniglot(
        root,
        {
            "images_background/Greek": 3,
            "images_background/Tagalog": 2,
            "images_background/Японский (катакана)": 1,
            "images_evaluation/Angelic": 2,
        },
    )


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


def same(found: Truth, truth: Truth) -> bool:
    return set(found) == set(truth) and all(
        found[name][0] == label and np.array_equal(found[name][1], image) for name, (label, image) in truth.items()
    )


def test_characters_are_classes_and_alphabets_groups(tmp_path: Path) -> None:
    truth = make(tmp_path)
    listing = one(list_sources("omniglot", tmp_path))
    found, refused = read_all(listing)
    assert refused == []
    assert same(found, truth)
    greek = ("Greek/character01", "Greek/character02", "Greek/character03")
    katakana = ("Японский (катакана)/character01",)
    tagalog = ("Tagalog/character01", "Tagalog/character02")
    angelic = ("Angelic/character01", "Angelic/character02")
    assert listing.splits == {"train": greek + katakana, "val": tagalog, "test": angelic}
    assert listing.classes == (*greek, *tagalog, *katakana, *angelic)
    assert listing.hierarchy is not None
    assert listing.hierarchy.kind == "groups"
    assert listing.hierarchy.groups == {
        "train": {"Greek": greek, "Японский (катакана)": katakana},
        "val": {"Tagalog": tagalog},
        "test": {"Angelic": angelic},
    }
    assert listing.flip is False


def test_an_imported_omniglot_has_its_groups(tmp_path: Path) -> None:
    truth = make(tmp_path)
    import_domain(one(list_sources("omniglot", tmp_path)), tmp_path / "out")
    domain = open_domain(tmp_path / "out/omniglot")
    groups = domain.hierarchy("train")
    assert groups is not None
    assert [members.tolist() for members in groups.members] == [[0, 1, 2], [3]]
    row = int(domain.rows("Tagalog/character02")[1])
    image = truth[domain.image_name(row)][1]
    assert np.array_equal(np.asarray(domain.image(row))[:, :, 0], image)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    truth = make(tmp_path)
    image = "images_background/Greek/character01/0000_00.png"
    (tmp_path / image).write_bytes(b"")
    (tmp_path / "images_background/Greek/character04").mkdir()
    make_omniglot(tmp_path, {"images_evaluation/Greek": 1})
    (tmp_path / "images_evaluation/away").symlink_to(tmp_path.parent)
    found, refused = read_all(one(list_sources("omniglot", tmp_path)))
    assert same(found, {name: content for name, content in truth.items() if name != image})
    message = said(refused)
    assert f"{image}: it cannot be decoded" in message
    assert "images_background/Greek/character04: no images in this class folder" in message
    assert "images_evaluation/Greek/character01: this class is in the other set already" in message
    assert "images_evaluation/away: it is a symbolic link that leaves the source folder" in message


def test_one_of_the_two_sets_is_enough(tmp_path: Path) -> None:
    make_omniglot(tmp_path / "omniglot", {"images_evaluation/Angelic": 2})
    listing = one(list_sources("omniglot", tmp_path))
    assert list(listing.splits) == ["test"]
    assert "'images_background' is not there: unpack it beside the other one" in listing.notes


def test_folders_without_characters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images_background/Greek").mkdir(parents=True)
    with pytest.raises(DataError, match="no folders ALPHABET/CHARACTER with images"):
        list_sources("omniglot", tmp_path)
