"""Memory-mapped tables of encoded images and their labels: of imports, folders and the hub."""

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
from jaxtyping import Int

from smat.domains.arrow_files import IMAGE_COLUMN, as_dataset, kept_images
from smat.domains.columns import ColumnNames, read_labels
from smat.domains.folders import printable, say_unused
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import IMAGES, content_hash, open_images, read_imported
from smat.domains.layout import read_layout
from smat.errors import DataError
from smat.left_out import leave_out

_ENCODED = datasets.Image(decode=False)
_ROWS = 100_000  # paths of a folder that are written at a time


@dataclass(frozen=True)
class ImageTable:
    """Encoded images by row, on disk, and their labels, in memory.

    Attributes:
        images: one column, `image`, of `{"bytes", "path"}`; memory-mapped.
        labels: the label of each row; what is not in 0..classes-1 is no label.
        names: class names.
        origin: where it came from, for messages.
        digest: SHA-256 of the content (of the names and sizes of the files, for folders).
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
    digest: str
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
    def _column(self) -> pa.ChunkedArray:
        return self.images.data.column("image")

    def _item(self, row: int) -> dict[str, Any]:
        # Past `datasets`, which takes several times as long for a row.
        return self._column[row].as_py() or {"bytes": None, "path": None}

    def __getstate__(self) -> dict[str, Any]:
        # Sent to another process, the images are mapped there from their file; the column would be copied.
        return {name: value for name, value in vars(self).items() if name != "_column"}


def imported_table(folder: Path, *, verify: bool = False) -> ImageTable:
    """The table of a folder that `smat data import` made.

    Args:
        folder: the folder.
        verify: compare the hash of all images with that of the import.

    Raises:
        DataError: the import was not finished, or its files are damaged.
    """
    imported = read_imported(folder)
    rows = open_images(folder)
    counts = list(imported.classes.values())
    labels = rows.column("label").to_numpy()
    if not np.array_equal(labels, np.repeat(np.arange(len(counts)), counts)):
        raise DataError(f"'{folder}' has other images than its domain.json says: delete it and import it again")
    if verify and content_hash(folder, imported) != imported.sha256:
        raise DataError(f"'{folder}' has other images than were imported: delete it and import it again")
    images = as_dataset(rows, folder / IMAGES, imported.sha256)
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
    # The paths go to a file as well, so that a million of them cost no memory; the digest finds it.
    images = kept_images(digest, lambda: _path_batches([printable(name) for name in relative]))
    labels = np.array([index[name] for name, _ in rows], dtype=np.int64)
    return ImageTable(images, labels, names, str(root), digest, root, layout.splits, renamed=renamed)


def _path_batches(paths: list[str]) -> Iterator[pa.RecordBatch]:
    kind = IMAGE_COLUMN.field("image").type
    for start in range(0, len(paths), _ROWS):
        some = [{"bytes": None, "path": path} for path in paths[start : start + _ROWS]]
        yield pa.record_batch([pa.array(some, kind)], schema=IMAGE_COLUMN)


def hub_table(name: str, columns: ColumnNames) -> ImageTable:
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
    image, label = columns.choose(first.features, name)
    pieces = [_renamed(part.cast_column(image, _ENCODED).select_columns([image]), image) for part in parts.values()]
    column = pa.chunked_array([c for part in parts.values() for c in part.data.column(label).chunks])
    labels, names = read_labels(column, first.features[label], name)
    digest = hashlib.sha256("".join(part._fingerprint for part in parts.values()).encode()).hexdigest()
    return ImageTable(datasets.concatenate_datasets(pieces), labels, names, name, digest)


def _renamed(images: datasets.Dataset, column: str) -> datasets.Dataset:
    return images if column == "image" else images.rename_column(column, "image")


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
