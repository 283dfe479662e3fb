"""CIFAR-10 and CIFAR-100, the Python version: pickles of arrays, read without running them."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.apart import read_pickle
from smat.importing.files import inside
from smat.importing.kind import Kind, Known
from smat.importing.listing import Found, Listing, Part

_SIDE = 32
_PART = 1000


class _Version(NamedTuple):
    """Names in the files of one of the two."""

    name: str
    folder: str
    batches: tuple[str, ...]
    meta: str
    names: str
    labels: str


_VERSIONS = (
    _Version(
        "cifar10",
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
        "batches.meta",
        "label_names",
        "labels",
    ),
    _Version("cifar100", "cifar-100-python", ("train", "test"), "meta", "fine_label_names", "fine_labels"),
)


class Cifar(Kind):
    """CIFAR-10, CIFAR-100 or both, from a folder of theirs or one that holds these.

    Training and test images are joined by class, with CIFAR-100's fine labels; all classes are for testing, as in
    Meta-Dataset.
    """

    name = "cifar"
    summary = "CIFAR-10 and CIFAR-100, the Python version"
    files = "data_batch_1 … 5, test_batch and batches.meta; or train, test and meta"
    known = (
        Known(("cifar10",), "CIFAR-10", 10, 60_000, 6_000),
        Known(("cifar100",), "CIFAR-100", 100, 60_000, 600),
    )

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain or two."""
        listings: list[Listing] = []
        for version in _VERSIONS:
            for folder in (root, root / version.folder):
                if (folder / version.meta).is_file() and any((folder / batch).is_file() for batch in version.batches):
                    listings.append(_list(folder, version))
                    break
        if not listings:
            wanted = " nor ".join(f"{v.meta} with {v.batches[0]} ({v.name})" for v in _VERSIONS)
            raise DataError(
                f"'{root}' has neither {wanted}: unpack cifar-10-python.tar.gz or cifar-100-python.tar.gz there"
            )
        return listings


def _list(folder: Path, version: _Version) -> Listing:
    try:
        names = _class_names(_content(folder / version.meta, folder), version)
    except DataError as error:
        raise DataError(f"'{folder / version.meta}' cannot be used: {error}") from error
    refused: list[Refused] = []
    rows: list[dict[str, list[int]]] = [{} for _ in names]
    for batch in version.batches:
        try:
            labels = _labels(_content(folder / batch, folder), version)
        except DataError as error:
            refused.append(Refused(batch, f"none of it is read: {error}"))
            continue
        for row, label in enumerate(labels):
            if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names):
                rows[label].setdefault(batch, []).append(row)
            else:
                given = label if isinstance(label, int) and abs(label) < 10**9 else f"that is a {type(label).__name__}"
                refused.append(Refused(f"{batch}#{row}", f"label {given}; expected 0 to {len(names) - 1}"))
    parts = [
        Part(label, len(some), (str(folder), batch, tuple(some)))
        for label, by_batch in enumerate(rows)
        for batch, places in by_batch.items()
        for some in (places[start : start + _PART] for start in range(0, len(places), _PART))
    ]
    if not parts:
        raise DataError(f"no batch of {version.name} in '{folder}' can be read:{listed(refused)}")
    files = [folder / name for name in (version.meta, *version.batches)]
    return Listing(
        name=version.name,
        classes=names,
        splits={"test": names},
        parts=parts,
        read=read_rows,
        files=[file for file in files if file.is_file()],
        flip=True,
        refused=tuple(refused),
        notes=("the training and test images of each class are joined; all classes are for testing",),
    )


def read_rows(part: Part) -> Iterator[Found | Refused]:
    """Rows of a batch: 1024 red values each, then as many of green and of blue."""
    folder, batch, rows = part.payload
    path = Path(folder, batch)
    try:
        pixels, names = _pixels(path, path.stat().st_mtime_ns)
    except (DataError, OSError) as error:
        yield Refused(batch, f"none of it is read any more: {error}")
        return
    for row in rows:
        name = names[row] if row < len(names) else ""
        yield Found(f"{batch}#{row} {name}".rstrip(), pixels[row].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0))


@lru_cache(maxsize=6)
def _pixels(path: Path, changed: int) -> tuple[np.ndarray, list[str]]:
    """A batch's images and their file names; kept, since the parts of all classes come from the same files."""
    content = _content(path, path.parent)
    names = content.get("filenames", [])
    plain = [name.decode("latin-1") if isinstance(name, bytes) else "" for name in names]
    return content["data"], plain


def _content(path: Path, root: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError("there is no such file")
    if not inside(root, path):
        raise DataError("it is a symbolic link that leaves the folder")
    try:
        return read_pickle(path.read_bytes())
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}") from error


def _class_names(meta: dict[str, Any], version: _Version) -> tuple[str, ...]:
    names = meta.get(version.names)
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) and name for name in names):
        raise DataError(f"it has no list '{version.names}'")
    plain = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)
    if len(set(plain)) < len(plain) or not plain:
        raise DataError(f"'{version.names}' has no names, or one of them twice")
    return plain


def _labels(batch: dict[str, Any], version: _Version) -> list[Any]:
    """A batch's labels, after a look at whether they fit its images."""
    labels, data = batch.get(version.labels), batch.get("data")
    if not isinstance(labels, list) or not isinstance(data, np.ndarray):
        raise DataError(f"it has no list '{version.labels}' and array 'data'")
    if data.ndim != 2 or data.shape[1] != 3 * _SIDE**2:
        raise DataError(f"'data' has shape {data.shape}; expected [images, {3 * _SIDE**2}]")
    names = batch.get("filenames", labels)
    if not isinstance(names, list) or not len(labels) == len(data) == len(names):
        raise DataError(f"{len(labels)} labels for {len(data)} images: which belong together cannot be known")
    return labels
