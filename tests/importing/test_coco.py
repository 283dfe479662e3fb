import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smat.domains import open_domain
from smat.errors import DataError
from smat.importing import Listing, import_domain, list_sources
from smat.importing.coco import object_box
from tiny_sources import make_coco, photo, read_all, said, write

NAMES = {1: "person", 2: "bicycle", 18: "traffic light", 90: "зебра"}
BOXES = [
    (7, 1, (10.0, 10.0, 20.0, 10.0)),  # inside, also when enlarged
    (7, 2, (0.0, 0.0, 5.5, 7.25)),  # at the left upper corner
    (7, 90, (40.5, 30.0, 19.5, 10.0)),  # at the right lower corner
    (12, 1, (0, 0, 60, 40)),  # all of it
    (12, 18, (59.5, 39.5, 0.5, 0.5)),  # half a pixel in the corner
    (3, 1, (12.49, 5.51, 1.02, 20.98)),
]


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


def official(box: tuple[float, ...], width: int, height: int) -> tuple[int, int, int, int]:
    """The pixels whose centres' neighbourhood Meta-Dataset cuts out: worked out with exact fractions."""
    from fractions import Fraction

    x, y, w, h = (Fraction(value) for value in box)
    half = Fraction(1, 2)
    x, y, w, h = x - w / 10, y - h / 10, w * 6 / 5, h * 6 / 5
    return max(round(x - half), 0), max(round(y - half), 0), min(round(x + w - half) + 1, width), min(
        round(y + h - half) + 1, height
    )  # fmt: skip


def test_objects_are_cut_out_by_their_enlarged_boxes(tmp_path: Path) -> None:
    make_coco(tmp_path, BOXES, NAMES)
    listing = one(list_sources("coco", tmp_path))
    found, refused = read_all(listing)
    assert refused == []
    assert listing.classes == tuple(NAMES.values())
    assert listing.splits == {"val": ("person", "traffic light"), "test": ("bicycle", "зебра")}
    assert len(found) == len(BOXES)
    for place, (image, category, box) in enumerate(BOXES):
        label, piece = found[f"train2017/{image:012d}.jpg#{500 + place}"]
        assert label == NAMES[category]
        whole = np.asarray(Image.open(tmp_path / f"train2017/{image:012d}.jpg"))
        left, top, right, bottom = official(box, 60, 40)
        assert np.array_equal(np.asarray(piece), whole[top:bottom, left:right])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 20, 10), (8, 8, 33, 21)),  # 8 to 32 and 9 to 21; less a half, to the nearest even; plus one
        ((0, 0, 60, 40), (0, 0, 60, 40)),
        ((58, 38, 10, 10), (56, 36, 60, 40)),
    ],
)
def test_boxes_worked_out_by_hand(box: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert object_box((float(box[0]), float(box[1]), float(box[2]), float(box[3])), 60, 40) == expected


def test_an_import_of_grey_and_turned_photographs(tmp_path: Path) -> None:
    tables = make_coco(tmp_path, BOXES[:3], NAMES)
    turned = Image.open(tmp_path / "train2017" / tables["images"][0]["file_name"])
    exif = turned.getexif()
    exif[0x112] = 6
    turned.save(tmp_path / "train2017" / tables["images"][0]["file_name"], exif=exif)
    import_domain(one(list_sources("coco", tmp_path)), tmp_path / "out")
    domain = open_domain(tmp_path / "out/coco")
    assert domain.image(0).size == (25, 13)  # as the box says, which is one of the stored pixels
    for mode in ("L", "CMYK"):
        (tmp_path / "train2017" / tables["images"][0]["file_name"]).write_bytes(photo(1, size=(60, 40), mode=mode))
        found, refused = read_all(one(list_sources("coco", tmp_path)))
        assert len(found) == 3
        assert not refused


def test_the_annotations_may_lie_beside_the_images_and_those_of_2017_for_validation_do(tmp_path: Path) -> None:
    make_coco(tmp_path, BOXES, NAMES)
    expected = set(read_all(one(list_sources("coco", tmp_path)))[0])
    (tmp_path / "annotations/instances_train2017.json").rename(tmp_path / "instances_train2017.json")
    assert set(read_all(one(list_sources("coco", tmp_path)))[0]) == expected
    (tmp_path / "instances_train2017.json").rename(tmp_path / "instances_val2017.json")
    with pytest.raises(DataError, match=r"lacks instances_train2017\.json .* or the folder 'train2017'"):
        list_sources("coco", tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "val2017")
    assert {name.replace("val", "train") for name in read_all(one(list_sources("coco", tmp_path)))[0]} == expected


def change(tables: dict[str, Any], place: int, **values: Any) -> None:
    tables["annotations"][place].update(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"bbox": [1, 2, 0, 5]}, "has no extent"),
        ({"bbox": [1, 2, 5, -1]}, "has no extent"),
        ({"bbox": [1, 2, float("nan"), 5]}, "has no extent, or one that cannot be"),
        ({"bbox": [float("-inf"), 2, 5, 5]}, "one that cannot be"),
        ({"bbox": [1, 2, 1e300, 5]}, "one that cannot be"),
        ({"bbox": [1, 2, 10**400, 5]}, "one that cannot be"),
        ({"bbox": [200, 2, 5, 5]}, "is empty or not within the image of 60 x 40 pixels"),
        ({"bbox": [-90, 2, 5, 5]}, "is empty or not within"),
        ({"bbox": [1, 2, 5]}, "expected left, top, width and height"),
        ({"bbox": [1, 2, 5, "6"]}, "expected left, top"),
        ({"bbox": [1, 2, 5, True]}, "expected left, top"),
        ({"bbox": None}, "expected left, top"),
        ({"category_id": 3}, "its category 3 is none"),
        ({"category_id": "1"}, "its category '1' is none"),
        ({"category_id": True}, "its category True is none"),
        ({"category_id": [1]}, "its category"),
        ({"image_id": 8}, "its image 8 is none"),
        ({"image_id": None}, "its image None is none"),
        ({"image_id": 7.0}, "its image 7.0 is none"),
        ({"id": "a"}, "no number 'id'"),
    ],
)
def test_wrong_annotations_are_refused_and_the_others_kept(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    tables = make_coco(tmp_path, BOXES, NAMES)
    change(tables, 1, **values)
    write(tmp_path, {"annotations/instances_train2017.json": json.dumps(tables)})
    found, refused = read_all(one(list_sources("coco", tmp_path)))
    assert {int(name.partition("#")[2]) for name in found} == {500, 502, 503, 504, 505}
    assert len(refused) == 1
    assert "501" in refused[0].place or values.get("id") == "a"
    assert reason in refused[0].reason


def test_wrong_images_and_categories_are_refused(tmp_path: Path) -> None:
    tables = make_coco(tmp_path, BOXES, NAMES)
    tables["images"] = [
        {"id": 3, "file_name": "../secret.jpg"},
        {"id": 7, "file_name": "000000000007.jpg"},
        {"id": 7, "file_name": "000000000012.jpg"},
        {"id": "12", "file_name": "000000000012.jpg"},
        {"id": 13, "file_name": "\ud800.jpg"},
        "nothing",
    ]
    tables["categories"] += [{"id": 5}, {"id": 91, "name": "a\nb"}]
    write(tmp_path, {"annotations/instances_train2017.json": json.dumps(tables)})
    write(tmp_path.parent, {"secret.jpg": photo(0)})
    (tmp_path / "train2017/000000000007.jpg").write_bytes(b"broken")
    found, refused = read_all(one(list_sources("coco", tmp_path)))
    assert found == {}
    message = said(refused)
    for expected in (
        "image 3: '../secret.jpg' leaves the source folder",
        "image at 2: 7 is the number of an earlier one",
        "image at 3: it has no number 'id' and text 'file_name'",
        "image at 4: it has no number",
        "image at 5: it has no number",
        "category at 4: it has no number 'id' and text 'name'",
        "category at 5: it has no number",
        "annotation 503 at 3: its image 12 is none of those listed",
        "train2017/000000000007.jpg#500: it cannot be decoded",
    ):
        assert expected in message, (expected, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (b"\xff\xfe\xff", "is no JSON"),
        ("[]", "has not the lists annotations, categories, images"),
        ('{"annotations": [], "categories": {}, "images": []}', "has not the lists"),
        ('{"annotations": [], "categories": [], "images": []}', "has no object that can be imported"),
        (
            '{"annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "images": []}',
            "two categories of one name",
        ),
    ],
)
def test_damaged_annotations_are_refused(content: bytes | str, message: str, tmp_path: Path) -> None:
    make_coco(tmp_path, BOXES, NAMES)
    write(tmp_path, {"annotations/instances_train2017.json": content})
    with pytest.raises(DataError, match=message):
        list_sources("coco", tmp_path)
