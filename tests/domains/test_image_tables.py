"""Rows of image tables, read past `datasets`: the same content, and nothing copied when a table is sent elsewhere."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from small_images import encode, noise, write_folders, write_parquet
from smat.backbones import ImageFormat
from smat.domains import ImageDomain, canvas, open_domain
from smat.domains.hierarchy import Hierarchy
from smat.domains.tables import ImageTable
from smat.episodes import EpisodeSource, FixedSampler, VariableSampler
from smat.importing import Found, Listing, Part, import_domain

FORMAT = ImageFormat(8)


def read_part(part: Part) -> Iterator[Found]:
    for number in range(part.images):
        yield Found(f"{part.label}/{number}.png", encode(noise(1000 * part.label + number)))


def imported(folder: Path, name: str, images: list[int], hierarchy: Hierarchy | None = None) -> Path:
    """An imported domain of classes `c0`, `c1`, ..., with so many images each, in parts of at most 7."""
    classes = tuple(f"c{label}" for label in range(len(images)))
    parts = [
        Part(label, min(7, count - start), start) for label, count in enumerate(images) for start in range(0, count, 7)
    ]
    splits = {"train": classes[:1], "test": classes[1:]}
    import_domain(Listing(name, classes, splits, parts, read_part, [], hierarchy=hierarchy), folder)
    return folder / name


@pytest.mark.parametrize("kind", ["parquet", "folders", "imported"])
def test_rows_are_those_of_the_dataset(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        domain = open_domain(write_parquet(tmp_path / "d.parquet", [i % 3 for i in range(20)], list("abc")))
    elif kind == "folders":
        domain = open_domain(write_folders(tmp_path / "d", {"a": 4, "b": 5}))
    else:
        domain = open_domain(imported(tmp_path, "d", [9, 20, 3]))
    rows = datasets.Dataset(domain._table.images.data).cast_column("image", datasets.Image(decode=False))
    assert len(rows) == len(domain._table.labels) > 8
    for row in range(len(rows)):
        item, found = rows[row]["image"], domain.encoded(row)
        assert found == (item["bytes"] if item["bytes"] is not None else tmp_path / "d" / item["path"])
        assert domain.image_name(row) == item["path"]
    with pytest.raises(IndexError):
        domain.image(len(rows))


def test_rows_without_an_image_or_a_name() -> None:
    kind = pa.struct(
        [("path", pa.string()), ("bytes", pa.large_binary())]
    )  # the other way round, as some files have it
    chunks = [
        pa.array([{"bytes": b"one", "path": "1"}, None], kind),
        pa.array([], kind),
        pa.array([{"bytes": None, "path": "folder/3"}, {"bytes": b"four", "path": None}], kind),
    ]
    images = datasets.Dataset(pa.table({"image": pa.chunked_array(chunks)}))
    table = ImageTable(images, np.zeros(4, dtype=np.int64), ("a",), "here", "hash", Path("/root"))
    assert [table.encoded(row) for row in range(4)] == [b"one", b"", Path("/root/folder/3"), b"four"]
    assert [table.path(row) for row in range(4)] == ["1", None, "folder/3", None]


@pytest.mark.parametrize("kind", ["parquet", "imported"])
def test_another_process_gets_the_file_and_not_the_images(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        domain = open_domain(write_parquet(tmp_path / "d.parquet", [i % 3 for i in range(90)], list("abc")))
    else:
        domain = open_domain(imported(tmp_path, "d", [30, 30, 30]))
    assert domain.canvas(5, 8).shape == (3, 8, 8)  # what reading has left in memory is not sent either
    sent = pickle.dumps(domain)
    content = sum(len(part) for row in range(90) if isinstance(part := domain.encoded(row), bytes))
    assert len(sent) < content / 8
    again = pickle.loads(sent)
    assert isinstance(again, ImageDomain)
    assert again.fingerprint == domain.fingerprint
    assert all(again.canvas(row, 8).equal(domain.canvas(row, 8)) for row in range(90))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(20, 16), (9, 31), (8, 8), (1, 1)])
def test_squares_have_their_channels_first_in_memory(mode: str, size: tuple[int, int]) -> None:
    image = noise(3, size, mode)
    square = canvas(image, 8)
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    kind = Image.Resampling.BICUBIC
    expected = np.asarray(image.resize((8, 8), kind, box=(left, top, left + side, top + side)).convert("RGB"))
    assert np.array_equal(square.permute(1, 2, 0).numpy(), expected)
    assert square.is_contiguous()
    square += 1  # memory of its own
    assert canvas(image, 8).equal(torch.from_numpy(expected.copy()).permute(2, 0, 1))


def test_an_imported_hierarchy_is_drawn_from(tmp_path: Path) -> None:
    scripts = {
        "train": {"runes": ("c0",)},
        "test": {"greek": ("c1", "c2", "c3"), "latin": ("c4", "c5"), "lone": ("c6",)},
    }
    sizes = [4] * 7
    domain = open_domain(imported(tmp_path / "with", "scripts", sizes, Hierarchy("groups", scripts)))
    flat = open_domain(imported(tmp_path / "without", "scripts", sizes))
    assert flat.hierarchy("test") is None
    assert domain.fingerprint != flat.fingerprint
    groups = domain.hierarchy("test")
    assert groups is not None
    assert [members.tolist() for members in groups.members] == [[0, 1, 2], [3, 4], [5]]
    source = EpisodeSource([domain], "test", VariableSampler(min_way=2, max_way=3), image_format=FORMAT)
    drawn = {frozenset(source.plan(n).classes) for n in range(60)}
    greek = {frozenset(pair) for pair in (("c1", "c2"), ("c1", "c3"), ("c2", "c3"), ("c1", "c2", "c3"))}
    assert drawn == greek | {frozenset(("c4", "c5"))}
    fixed = EpisodeSource([domain], "test", FixedSampler(3, 1, 1), image_format=FORMAT)
    other = EpisodeSource([flat], "test", FixedSampler(3, 1, 1), image_format=FORMAT)
    assert all(fixed.plan(n) == other.plan(n) for n in range(20))
    divided = open_domain(tmp_path / "with" / "scripts", splits={"test": ["c0", "c1", "c4", "c5"]})
    groups = divided.hierarchy("test")
    assert groups is not None
    assert [members.tolist() for members in groups.members] == [[0], [1], [2, 3]]
