import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from smat.importing import Listing, list_sources
from tiny_sources import make_aircraft, photo, read_all, said

VARIANTS = ("A340-300", "737-400", "F-16A/B", "Embraer Legacy 600", "Ту-144")


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


def test_aircraft_are_cut_to_their_boxes(tmp_path: Path) -> None:
    truth = make_aircraft(tmp_path, VARIANTS)
    listing = one(list_sources("aircraft", tmp_path))
    found, refused = read_all(listing)
    assert refused == []
    assert listing.classes == VARIANTS
    assert listing.splits == {"train": ("A340-300", "F-16A/B", "Embraer Legacy 600"), "test": ("737-400", "Ту-144")}
    assert {path: label for path, (label, _) in found.items()} == {path: label for path, (label, _) in truth.items()}
    for path, (_, (left, top, right, bottom)) in truth.items():
        whole = np.asarray(Image.open(tmp_path / "fgvc-aircraft-2013b" / path))
        assert np.array_equal(np.asarray(found[path][1]), whole[top:bottom, left:right])


def test_aircraft_with_wrong_boxes_are_refused(tmp_path: Path) -> None:
    make_aircraft(tmp_path, VARIANTS[:2])
    root = tmp_path / "fgvc-aircraft-2013b/data"
    boxes = (root / "images_box.txt").read_text().splitlines()
    boxes[0] = "1000000 1 2 13 9"  # outside
    boxes[1] = "1000001 5 2 5 9"  # empty
    boxes[2] = "1000002 -1 2 5 9"
    boxes[3] = "1000003 1 2 5"
    boxes[4] += "\n" + boxes[4]
    (root / "images_box.txt").write_text("\n".join(boxes))
    (root / "images" / "1000102.jpg").write_bytes(b"")
    (root / "images" / "1000103.jpg").write_bytes(photo(3)[:200])
    with (root / "images_variant_test.txt").open("a") as file:
        file.write("1000004 A340\n../1000101 A340-300\n")
    found, refused = read_all(one(list_sources("aircraft", tmp_path)))
    assert set(found) == {"data/images/1000101.jpg", "data/images/1000104.jpg"}
    message = said(refused)
    for expected in (
        "data/images/1000000.jpg: its box (1, 2, 13, 9) is empty or not within the image of 12 x 10 pixels",
        "data/images/1000001.jpg: its box (5, 2, 5, 9) is empty",
        "images_box.txt, line 3: it says '1000002 -1 2 5 9'; expected an image and four numbers",
        "images_box.txt, line 4: it says '1000003 1 2 5'",
        "images_box.txt, line 6: image '1000101' has a box already",
        "image '1000002' has no box in data/images_box.txt",
        "its class 'A340' is not in data/variants.txt",
        "it says '../1000101 A340-300'",
        "data/images/1000102.jpg: it cannot be decoded",
        "data/images/1000103.jpg: it cannot be decoded",
    ):
        assert expected in message, (expected, message)


def test_an_image_of_two_classes_is_refused(tmp_path: Path) -> None:
    truth = make_aircraft(tmp_path, VARIANTS)
    test = tmp_path / "fgvc-aircraft-2013b/data/images_variant_test.txt"
    test.write_text(test.read_text() + "1000000 737-400\n")
    found, refused = read_all(one(list_sources("aircraft", tmp_path)))
    assert set(found) == set(truth) - {"data/images/1000000.jpg"}
    assert len(refused) == 1
    assert refused[0].place == "data/images/1000000.jpg"
    assert "'A340-300' in data/images_variant_train.txt, line 1" in refused[0].reason
    assert f"'737-400' in data/images_variant_test.txt, line {len(VARIANTS) + 1}" in refused[0].reason


def bomb(side: int) -> bytes:
    """A PNG file that claims so many white pixels, and has the first rows of them."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(side) * 100)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_an_image_bomb_is_refused_not_decoded(tmp_path: Path) -> None:
    make_aircraft(tmp_path, VARIANTS[:2])
    picture = tmp_path / "fgvc-aircraft-2013b/data/images/1000000.jpg"
    picture.write_bytes(bomb(60_000))
    found, refused = read_all(one(list_sources("aircraft", tmp_path)))
    assert "data/images/1000000.jpg" not in found
    assert "it has 60000 x 60000 pixels, more than" in said(refused)
