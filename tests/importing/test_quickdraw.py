import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from smat.errors import DataError
from smat.importing import Listing, list_sources, quickdraw
from smat.importing.quickdraw import draw
from tiny_sources import make_bitmaps, make_ndjson, read_all, said, strokes, write


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


def inked(drawing: list[list[list[int]]], fine: int = 10) -> np.ndarray:
    """How much of each pixel is at most half a line's width from a stroke, by measuring it at points within."""
    side = 28 * fine
    grid = (np.arange(side) + 0.5) * 304 / side
    x, y = np.meshgrid(grid, grid)
    arrays = [np.array(stroke[:2], dtype=float) for stroke in drawing]
    shift = 24 + (256 - np.concatenate(arrays, axis=1).max(axis=1, keepdims=True)) / 2
    ink = np.zeros((side, side), dtype=bool)
    for stroke in arrays:
        points = (stroke + shift).T
        for start, end in pairwise(points):
            along = end - start
            place = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-9)
            place = place.clip(0, 1)
            ink |= (x - start[0] - place * along[0]) ** 2 + (y - start[1] - place * along[1]) ** 2 <= 8**2
    return 255 * ink.reshape(28, fine, 28, fine).mean(axis=(1, 3))


@pytest.mark.parametrize("seed", range(4))
def test_strokes_are_drawn_as_the_bitmaps_are(seed: int) -> None:
    drawing = strokes(seed)
    image = draw([np.array(stroke, dtype=float) for stroke in drawing])
    difference = np.abs(image - inked(drawing))
    assert difference.mean() < 2.5
    assert difference.max() < 32


def test_where_a_drawing_lies_and_how_large_it_is_does_not_matter() -> None:
    drawing = [np.array(stroke, dtype=float) for stroke in strokes(3)]
    moved = [stroke * 2.5 + [[300], [-70]] for stroke in drawing]
    difference = np.abs(draw(drawing).astype(int) - draw(moved))
    assert difference.max() <= 8  # numbers are not exact


def test_a_dot_is_in_the_middle() -> None:
    image = draw([np.array([[90.0], [10.0]])])
    assert image.sum() / 255 == pytest.approx(np.pi * (8 * 28 / 304) ** 2, rel=0.1)
    assert image[13:15, 13:15].min() > 50
    assert image.any(axis=0).sum() <= 4


def test_bitmaps_become_images(tmp_path: Path) -> None:
    cats = make_bitmaps(tmp_path / "cat.npy", 3)
    walls = make_bitmaps(tmp_path / "full_numpy_bitmap_The Great Wall of China.npy", 2, 1)
    bits = np.random.default_rng(2).random((2, 784)) < 0.5
    np.save(tmp_path / "кошка.npy", bits)
    listing = one(list_sources("quickdraw", tmp_path))
    found, refused = read_all(listing)
    assert refused == []
    assert listing.classes == ("The Great Wall of China", "cat", "кошка")
    assert listing.splits == {"train": ("The Great Wall of China", "cat"), "test": ("кошка",)}
    expected = {f"cat.npy#{i}": ("cat", row) for i, row in enumerate(cats)}
    expected |= {
        f"full_numpy_bitmap_The Great Wall of China.npy#{i}": (listing.classes[0], r) for i, r in enumerate(walls)
    }
    expected |= {f"кошка.npy#{i}": ("кошка", 255 * row.astype(np.uint8)) for i, row in enumerate(bits)}
    assert set(found) == set(expected)
    for name, (label, row) in expected.items():
        assert found[name][0] == label
        assert np.array_equal(found[name][1], row.reshape(28, 28))


def test_strokes_become_the_same_images(tmp_path: Path) -> None:
    truth = make_ndjson(tmp_path / "full_simplified_sea turtle.ndjson", "sea turtle", 5)
    listing = one(list_sources("quickdraw", tmp_path))
    found, refused = read_all(listing)
    assert refused == []
    assert listing.classes == ("sea turtle",)
    assert set(found) == set(truth)
    for name, drawing in truth.items():
        assert np.array_equal(found[name][1], draw([np.array(stroke, dtype=float) for stroke in drawing]))


def test_raw_drawings_have_times_and_are_placed_like_simplified_ones(tmp_path: Path) -> None:
    simple = strokes(1)
    raw = [
        [[4.5 + 2 * x for x in xs], [9 + 2 * y for y in ys], [17 * i for i, _ in enumerate(xs)]] for xs, ys in simple
    ]
    lines = [{"word": "cat", "key_id": str(i), "drawing": drawing} for i, drawing in enumerate((simple, raw))]
    write(tmp_path, {"cat.ndjson": "\n".join(map(json.dumps, lines))})
    found, refused = read_all(one(list_sources("quickdraw", tmp_path)))
    assert refused == []
    difference = np.abs(found["cat.ndjson#0"][1].astype(int) - found["cat.ndjson#1"][1])
    assert difference.max() <= 8


def test_drawings_of_long_files_come_once_each_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickdraw, "_PART", 100)
    truth = make_ndjson(tmp_path / "cat.ndjson", "cat", 250)
    listing = one(list_sources("quickdraw", tmp_path))
    assert len(listing.parts) == 3
    assert sum(part.images for part in listing.parts) == pytest.approx(250, rel=0.02)
    found, refused = read_all(listing)
    assert refused == []
    assert list(found) == list(truth)
    bitmaps = make_bitmaps(tmp_path / "dog.npy", 250)
    listing = one(list_sources("quickdraw", tmp_path))
    assert [part.images for part in listing.parts[-3:]] == [100, 100, 50]
    found, _ = read_all(listing)
    assert np.array_equal(found["dog.npy#249"][1].ravel(), bitmaps[249])
    assert sum(label == "dog" for label, _ in found.values()) == 250


def test_of_bitmaps_and_strokes_the_bitmaps_are_taken(tmp_path: Path) -> None:
    make_ndjson(tmp_path / "cat.ndjson", "cat", 2)
    make_bitmaps(tmp_path / "cat.npy", 3)
    make_bitmaps(tmp_path / "full_numpy_bitmap_cat.npy", 3)
    listing = one(list_sources("quickdraw", tmp_path))
    found, refused = read_all(listing)
    assert set(found) == {f"cat.npy#{i}" for i in range(3)}
    assert "1 classes, such as 'cat', have bitmaps and strokes: the bitmaps are taken" in listing.notes
    assert said(refused) == "full_numpy_bitmap_cat.npy: class 'cat' has such a file already"


def test_wrong_lines_are_named_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "cat.ndjson"
    truth = make_ndjson(path, "cat", 3)
    start = path.stat().st_size
    good = json.dumps({"word": "cat", "key_id": "1", "drawing": strokes(9)})
    wrong = [
        json.dumps({"word": "dog", "key_id": "2", "drawing": strokes(9)}),
        json.dumps({"word": "cat", "key_id": "3"}),
        json.dumps({"word": "cat", "key_id": "4", "drawing": []}),
        json.dumps({"word": "cat", "key_id": "5", "drawing": [[[1, 2], [3]]]}),
        json.dumps({"word": "cat", "key_id": "6", "drawing": [[[1, float("nan")], [3, 4]]]}),
        json.dumps({"word": "cat", "key_id": "7", "drawing": [[[1, 1e9], [3, 4]]]}),
        json.dumps({"word": "cat", "key_id": "7", "drawing": [[[10**400, 1], [3, 4]]]}),
        json.dumps({"word": "cat", "key_id": "8", "drawing": [[[], []]]}),
        json.dumps({"word": "cat", "key_id": "9", "drawing": ["ab", {"a": 1}, None, 3]}),
        "[" * 50_000,
        "[1]",
        "x" * (2**20 + 100),
        good[: len(good) // 2],
    ]
    with path.open("a") as file:
        file.write("\n".join([*wrong[:-1], "", good, wrong[-1]]))
    found, refused = read_all(one(list_sources("quickdraw", tmp_path)))
    assert set(found) == {*truth, "cat.ndjson#1"}
    assert len(refused) == len(wrong)
    for line, entry in zip(wrong, refused, strict=True):
        assert entry.place == f"cat.ndjson, byte {start}", entry
        start += len(line) + 1 + (line == wrong[-2]) * (1 + len(good) + 1)
    reasons = [entry.reason for entry in refused]
    assert reasons[0] == "it is of 'dog'; expected 'cat', as the file's name says"
    assert all(reason == "its 'drawing' is no list of strokes with coordinates x and y" for reason in reasons[1:9])
    assert "more than" in reasons[-2]
    assert reasons[-1].startswith("the line is cut or damaged")


def test_a_line_without_end_is_passed_over_once(tmp_path: Path) -> None:
    truth = make_ndjson(tmp_path / "cat.ndjson", "cat", 3)
    with (tmp_path / "cat.ndjson").open("a") as file:
        file.write("x" * 3 * 2**20)
    listing = one(list_sources("quickdraw", tmp_path))
    assert len(listing.parts) > 5
    found, refused = read_all(listing)
    assert set(found) == set(truth)
    assert [entry.reason for entry in refused] == [f"a line of more than {2**20} bytes is no drawing"]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 783), np.uint8), "expected uint8 [drawings, 784], row by row"),
        (np.zeros((3, 784), np.int16), "expected uint8"),
        (np.zeros((3, 28, 28), np.uint8), "expected uint8"),
        (np.zeros(784, np.uint8), "expected uint8"),
        (np.asfortranarray(np.zeros((3, 784), np.uint8)), "row by row"),
        (np.array([{"a": 1}], dtype=object), "expected uint8"),
    ],
)
def test_arrays_that_are_no_drawings_are_refused(array: np.ndarray, reason: str, tmp_path: Path) -> None:
    make_bitmaps(tmp_path / "cat.npy", 2)
    np.save(tmp_path / "dog.npy", array)
    found, refused = read_all(one(list_sources("quickdraw", tmp_path)))
    assert set(found) == {"cat.npy#0", "cat.npy#1"}
    assert len(refused) == 1
    assert refused[0].place == "dog.npy"
    assert reason in refused[0].reason


def test_cut_bitmaps_are_kept_as_far_as_they_go(tmp_path: Path) -> None:
    make_bitmaps(tmp_path / "cat.npy", 5)
    content = (tmp_path / "cat.npy").read_bytes()
    (tmp_path / "cat.npy").write_bytes(content[:-800])
    (tmp_path / "dog.npy").write_bytes(content[:20])
    listing = one(list_sources("quickdraw", tmp_path))
    found, refused = read_all(listing)
    assert set(found) == {"cat.npy#0", "cat.npy#1", "cat.npy#2"}
    said_of = {entry.place: entry.reason for entry in refused}
    assert (
        said_of["cat.npy"] == "its header says 5 drawings; it has the bytes of 3 and a piece of one: download it again"
    )
    assert said_of["dog.npy"].startswith("it is no NumPy file")
    (tmp_path / "cat.npy").write_bytes(content[:-1600])  # cut while it is imported
    found, refused = read_all(listing)
    assert set(found) == {"cat.npy#0", "cat.npy#1"}
    assert "cat.npy, row 2: the file ends here: 1 drawings are lost" in said(refused)
    (tmp_path / "cat.npy").unlink()
    assert "cat.npy: it cannot be read: No such file" in said(read_all(listing)[1])


def test_files_that_leave_the_source_or_hold_nothing_are_refused(tmp_path: Path) -> None:
    make_bitmaps(tmp_path / "cat.npy", 5)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/cat.npy").symlink_to(tmp_path / "cat.npy")
    (tmp_path / "source/dog.npy").mkdir()
    with pytest.raises(
        DataError, match=r"no drawings .*(.|\n)*cat\.npy: it is a symbolic link(.|\n)*dog\.npy: it is no"
    ):
        list_sources("quickdraw", tmp_path / "source")
