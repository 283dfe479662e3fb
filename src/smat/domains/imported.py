"""An imported domain on disk: `images.arrow`, sorted by class, and `domain.json`, which says what it is."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from smat.domains.arrow_files import DamagedStream, map_stream
from smat.domains.hierarchy import Hierarchy
from smat.errors import DataError
from smat.schema import Number, read_json

IMAGES = "images.arrow"
DESCRIPTION = "domain.json"
PROGRESS = "progress.jsonl"
FORMAT = 1
_COLUMNS = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
_NAMES_AND_NUMBERS = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")


@dataclass(frozen=True)
class Refused:
    """Something that was left out, and why.

    Attributes:
        place: the file, and where there is one the record or line.
        reason: what is wrong with it, and what to do where that is not plain.
    """

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def by_reason(refused: Sequence[Refused]) -> dict[str, list[str]]:
    """Places by reason; reasons that differ in names and numbers only are one, worded as the first of them."""
    worded: dict[str, str] = {}
    places: dict[str, list[str]] = {}
    for entry in refused:
        reason = worded.setdefault(_NAMES_AND_NUMBERS.sub("", entry.reason), entry.reason)
        places.setdefault(reason, []).append(entry.place)
    return places


def listed(refused: Sequence[Refused]) -> str:
    """Lines for a message: each reason with the first of its places, and how many more there are."""
    return "".join(
        f"\n  {places[0]}: {reason}" + f" (and {len(places) - 1:,} more like it)" * (len(places) > 1)
        for reason, places in by_reason(refused).items()
    )


@dataclass(frozen=True)
class Imported:
    """What `domain.json` says.

    Attributes:
        name: name of the domain.
        classes: number of images per class, in the order of the labels; 0 where all were refused.
        splits: names of the classes of `train`, `val` and `test` that have images.
        hierarchy: hierarchy of these classes.
        flip: whether a mirrored image is still of its class; None: not said.
        sha256: hash of the images, their names and labels in order, the class names and the options.
        options: how images were brought in: `{"max_side": 256}` or `{"keep": true}`.
        source: kind and folder of the source, the state of its files, and versions of the software at that time.
        refused: what was left out.
        notes: what to know of the import besides.
        tracks: pattern of the tracks in the images' names, as for `smat.domains.tracks.read_tracks`; None: not said.
    """

    name: str
    classes: Mapping[str, Number]
    splits: Mapping[str, tuple[str, ...]]
    hierarchy: Hierarchy | None
    flip: bool | None
    sha256: str
    options: Mapping[str, Any]
    source: Mapping[str, Any]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    tracks: str | None = None

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.classes.values())


@dataclass(frozen=True, kw_only=True)
class _Description(Imported):
    """The keys of `domain.json`."""

    format: Literal[1]
    complete: Literal[True]
    images: Number


def is_imported(folder: Path) -> bool:
    """Whether the folder is an imported domain, finished or not."""
    return any((folder / name).is_file() for name in (DESCRIPTION, PROGRESS))


def read_imported(folder: Path) -> Imported:
    """What `domain.json` of an imported domain says.

    Raises:
        DataError: the import was not finished, or the file is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError(
            f"the import of '{folder}' was not finished: run the same `smat data import` again and it goes on"
            if (folder / PROGRESS).is_file()
            else f"'{folder}' is no imported domain: it has no {DESCRIPTION}"
        )
    said = read_json(path, _Description, DataError, "Delete the folder and import it again")
    return Imported(**{field.name: getattr(said, field.name) for field in fields(Imported)})


def open_images(folder: Path) -> pa.Table:
    """The columns `image` and `label` of an imported domain, mapped into memory.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = folder / IMAGES
    try:
        return map_stream(path, _COLUMNS)
    except (FileNotFoundError, DamagedStream) as error:
        what, why = ("missing", "") if isinstance(error, FileNotFoundError) else ("damaged", f" ({error})")
        raise DataError(f"'{path}' is {what}: delete its folder and import it again{why}") from error


def first_hash(classes: Sequence[str], options: Mapping[str, Any]) -> bytes:
    """The hash of an import without images yet."""
    return hashlib.sha256(json.dumps([list(classes), dict(options)], sort_keys=True).encode()).digest()


def row_hash(label: int, name: str, image: bytes) -> bytes:
    """The hash of one row."""
    encoded = name.encode()
    head = label.to_bytes(4, "little") + len(encoded).to_bytes(4, "little") + encoded
    return hashlib.sha256(head + hashlib.sha256(image).digest()).digest()


def next_hash(before: bytes, row: bytes) -> bytes:
    """The hash of an import, from that without its last row; so it can go on where it was, and rows be hashed apart."""
    return hashlib.sha256(before + row).digest()


def content_hash(folder: Path, imported: Imported) -> str:
    """The hash of what is in `images.arrow` now; equal to `imported.sha256` unless something was changed."""
    start = first_hash(tuple(imported.classes), imported.options)
    return reduce(next_hash, _row_hashes(open_images(folder)), start).hex()


def _row_hashes(table: pa.Table) -> Iterator[bytes]:
    for batch in table.to_batches():
        images, names = batch.column(0).flatten()
        for label, name, image in zip(batch.column(1), names, images, strict=True):
            yield row_hash(label.as_py(), name.as_py(), image.as_py())
