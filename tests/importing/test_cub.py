from pathlib import Path

import pytest

from smat.errors import DataError
from smat.importing import Listing, list_sources
from tiny_sources import make_cub, read_all, said

BIRDS = ("001.Black_footed_Albatross", "008.Rhinoceros_Auklet", "044.Frigatebird", "001.Vogel_mit_Weiß")


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


def test_lists_must_agree_with_the_folders_and_each_other(tmp_path: Path) -> None:
    truth = make_cub(tmp_path, BIRDS[:2])
    root = tmp_path / "CUB_200_2011"
    first, second, *_ = truth
    lines = {
        name: (root / f"{name}.txt").read_text().splitlines() for name in ("images", "image_class_labels", "classes")
    }
    lines["image_class_labels"][0] = "1 2"  # a class that is not the folder's
    lines["image_class_labels"][1] = "2 77"  # one that has no name
    lines["images"] += ["8", "x a/b.jpg", "3 001.Black_footed_Albatross/again.jpg"]
    for name, content in lines.items():
        (root / f"{name}.txt").write_text("\n".join(content) + "\n")
    found, refused = read_all(one(list_sources("cub", tmp_path)))
    assert found == {path: content for path, content in truth.items() if path not in (first, second)}
    message = said(refused)
    assert (
        "images.txt, line 1: '001.Black_footed_Albatross/Black_footed_Albatross_0001_7.jpg' is not in the folder"
        in message
    )
    assert "images.txt, line 2: " in message
    assert "has no class in image_class_labels.txt that classes.txt names" in message
    assert "images.txt, line 9: 3 is in images.txt, line 3 already" in message
    assert len(refused) == 5
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"classes\.txt' cannot be read"):
        list_sources("cub", tmp_path)
