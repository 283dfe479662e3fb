"""Memory-mapped tables of encoded images and their labels: from parquet, folders or the hub."""

import glob
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features
from datasets.table import MemoryMappedTable
from jaxtyping import Int

from smat.domains.folders import printable, say_unused
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import IMAGES, open_images, read_imported
from smat.domains.layout import read_layout
from smat.errors import DataError
from smat.left_out import leave_out

_ENCODED = datasets.Image(decode=False)


@dataclass(frozen=True)
class ImageTable:
    """Encoded images by row, on disk, and their labels, in memory.

    Attributes:
        images: one column, `image`, of `{"bytes", "path"}`; memory-mapped.
        labels: the label of each row; what is not in 0..classes-1 is no label.
        names: class names.
        origin: where it came from, for messages.
        identity: a hash of the content, or the file whose content is to be hashed.
        root: folder that relative paths in `images` start from.
        splits: class names by split, where the source itself says so; a class may be in several.
        hierarchy: which classes lie together, where the source says so.
        flip: whether a mirrored image is still of its class, where the source says so.
        tracks: pattern of the tracks in `path`, as for `read_tracks`, where the source says so.
        renamed: real path by that in `images`, of files whose names are no UTF-8.
    """

    images: datasets.Dataset
    labels: Int[np.ndarray, " rows"]
    names: tuple[str, ...]
    origin: str
    identity: str | Path
    root: Path | None = None
    splits: Mapping[str, tuple[str, ...]] | None = None
    hierarchy: Hierarchy | None = None
    flip: bool | None = None
    tracks: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def encoded(self, row: int) -> bytes | Path:
        """A row's encoded image, or the file that holds it."""
        item = self._item(row)
        if item["bytes"] is None and item["path"]:
            return (self.root or Path()) / self.renamed.get(item["path"], item["path"])
        return item["bytes"] or b""

    def path(self, row: int) -> str | None:
        """What the image is called at its source; None if that is not known."""
        return self._item(row)["path"] or None

    def paths(self, rows: Int[np.ndarray, "_"]) -> list[str | None]:
        """`path` of several rows; reads no images."""
        place = self._column.type.get_field_index("path")
        return self._column.flatten()[place].take(pa.array(rows)).to_pylist()

    def used_names(self) -> tuple[str, ...]:
        """The class names that at least one row has."""
        used = set(np.unique(self.labels).tolist())
        return tuple(name for label, name in enumerate(self.names) if label in used)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content (of the names and sizes of the files, for folders)."""
        if isinstance(self.identity, str):
            return self.identity
        with self.identity.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _column(self) -> pa.ChunkedArray:
        return self.images.data.column("image")

    def _item(self, row: int) -> dict[str, Any]:
        # Past `datasets`, which takes several times as long for a row.
        return self._column[row].as_py() or {"bytes": None, "path": None}

    def __getstate__(self) -> dict[str, Any]:
        # Sent to another process, the images are mapped there from their file; the column would be copied.
        return {name: value for name, value in vars(self).items() if name != "_column"}


def parquet_table(path: Path) -> ImageTable:
    """The table of a parquet file with an image column and a label column.

    `datasets` keeps a copy that can be mapped into memory in its cache folder (`HF_DATASETS_CACHE`).

    Raises:
        DataError: it is no parquet file, or has no such columns.
    """
    try:
        features = Features.from_arrow_schema(pq.read_schema(path))
        image, label = _columns(features, str(path))
        labels, names = _labels(pq.read_table(path, columns=[label]).column(0), features[label], str(path))
        with _quiet():
            images = datasets.load_dataset(
                "parquet",
                data_files=glob.escape(str(path.resolve())),
                split="train",
                columns=[image],
                features=Features({image: _ENCODED}),
            )
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"'{path}' cannot be read as a parquet file of images: {_root_cause(error)}") from error
    assert isinstance(images, datasets.Dataset)  # what load_dataset gives for one split; for the type checker
    return ImageTable(_renamed(images, image), labels, names, str(path), path)


def imported_table(folder: Path) -> ImageTable:
    """The table of a folder that `smat data import` made.

    Raises:
        DataError: the import was not finished, or its files are damaged.
    """
    imported = read_imported(folder)
    rows = open_images(folder)
    counts = list(imported.classes.values())
    labels = rows.column("label").to_numpy()
    if not np.array_equal(labels, np.repeat(np.arange(len(counts)), counts)):
        raise DataError(f"'{folder}' has other images than its domain.json says: delete it and import it again")
    # With its file's name, other processes map it too; without a fingerprint, `datasets` would hash all images.
    images = datasets.Dataset(
        MemoryMappedTable(rows, str((folder / IMAGES).resolve())), fingerprint=imported.sha256[:16]
    )
    return ImageTable(
        images,
        labels,
        tuple(imported.classes),
        str(folder),
        imported.sha256,
        splits=imported.splits,
        flip=imported.flip,
        hierarchy=imported.hierarchy,
        tracks=imported.tracks,
    )


def folder_table(root: Path) -> ImageTable:
    """The table of a folder of class folders, with or without split folders around these.

    Raises:
        DataError: as for `read_layout`.
    """
    layout = read_layout(root)
    say_unused(layout.unused)
    if layout.divides_images:
        reason = "they divide the images of a class, not the classes: these are joined, and are all for testing"
        leave_out("split", reason, [printable(part.folder.name) for part in layout.parts])
    rows = [(name, path) for part in layout.parts for name, paths in part.classes.items() for path in paths]
    names = tuple(sorted({name for name, _ in rows}))
    index = {name: label for label, name in enumerate(names)}
    relative = [path.relative_to(root).as_posix() for _, path in rows]
    sizes = "\n".join(f"{name}\t{path.stat().st_size}" for name, (_, path) in zip(relative, rows, strict=True))
    digest = hashlib.sha256(sizes.encode("utf-8", "surrogateescape")).hexdigest()
    renamed = {printable(name): name for name in relative if name != printable(name)}
    with _quiet():
        # The listing goes to a file as well, so that a million names cost no memory; the digest finds it.
        images = datasets.Dataset.from_generator(
            _Listing([printable(name) for name in relative]), features=Features({"image": _ENCODED}), fingerprint=digest
        )
    assert isinstance(images, datasets.Dataset)  # not streamed; for the type checker
    labels = np.array([index[name] for name, _ in rows], dtype=np.int64)
    return ImageTable(images, labels, names, str(root), digest, root, layout.splits, renamed=renamed)


class _Listing:
    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __call__(self) -> Iterator[dict[str, Any]]:
        for path in self.paths:
            yield {"image": {"bytes": None, "path": path}}


def hub_table(name: str) -> ImageTable:
    """The table of a dataset of the Hugging Face hub: the rows of all its splits, since ours divide classes.

    Raises:
        DataError: it cannot be found or fetched, or has no image and label columns.
    """
    try:
        with _quiet():
            parts = datasets.load_dataset(name)
    except Exception as error:
        raise DataError(
            f"the hub dataset '{name}' cannot be opened: {_root_cause(error)}. Check the name on "
            "huggingface.co/datasets and the network (HF_HUB_OFFLINE is for what was fetched before)"
        ) from error
    assert isinstance(parts, datasets.DatasetDict)  # neither one split nor streamed; for the type checker
    first = next(iter(parts.values()))
    image, label = _columns(first.features, name)
    pieces = [_renamed(part.cast_column(image, _ENCODED).select_columns([image]), image) for part in parts.values()]
    column = pa.chunked_array([c for part in parts.values() for c in part.data.column(label).chunks])
    labels, names = _labels(column, first.features[label], name)
    digest = hashlib.sha256("".join(part._fingerprint for part in parts.values()).encode()).hexdigest()
    return ImageTable(datasets.concatenate_datasets(pieces), labels, names, name, digest)


def _renamed(images: datasets.Dataset, column: str) -> datasets.Dataset:
    return images if column == "image" else images.rename_column(column, "image")


def _columns(features: Features, origin: str) -> tuple[str, str]:
    """Names of the image and the label column."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    images = images or [name for name in ("image", "img") if name in features]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    labels = ["label"] if "label" in features else labels or [name for name in ("labels", "class") if name in features]
    for what, found in (("image", images), ("label", labels)):
        if len(found) != 1:
            raise DataError(
                f"'{origin}' has {'several' if found else 'no'} {what} columns among {list(features)}; "
                f"one is needed, called '{what}'"
            )
    return images[0], labels[0]


def _labels(column: pa.ChunkedArray, feature: Any, origin: str) -> tuple[Int[np.ndarray, " rows"], tuple[str, ...]]:
    """Labels as numbers, with -1 where there is none, and the class names."""
    if not len(column):
        raise DataError(f"'{origin}' has no rows; give a file with images")
    if isinstance(feature, ClassLabel):
        return column.fill_null(-1).to_numpy().astype(np.int64), tuple(feature.names)
    if not (
        pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_integer(column.type)
    ):
        raise DataError(f"'{origin}' has labels of type {column.type}; expected class names or whole numbers")
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values) + 1, dtype=np.int64)
    rank[order] = np.arange(len(values))
    rank[-1] = -1  # where fill_null(-1) below points
    return rank[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], tuple(str(values[i]) for i in order)


def _root_cause(error: BaseException) -> str:
    """The first line of the error at the bottom of a chain, which is the one that says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [""])[0] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of `datasets` within the block."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
