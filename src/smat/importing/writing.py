"""An import under way: written part by part, so that it can go on where it was after any interruption."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from smat.domains.imported import DESCRIPTION, FORMAT, IMAGES, PROGRESS, Imported, Refused, first_hash, next_hash
from smat.errors import DataError
from smat.files import write_whole

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
HASH_BYTES = 32


@dataclass(frozen=True)
class PartDone:
    """What became of a part.

    Attributes:
        images: number of images.
        hashes: the hashes of their rows, one after the other.
        refused: what was left out.
    """

    images: int
    hashes: bytes
    refused: tuple[Refused, ...]


class Writing:
    """The files of an import that is under way; a context manager.

    `progress.jsonl` has a line for what is imported, and one for each part that is in `images.arrow`, written after it.
    Going on, what comes after the last whole line's part is cut off.

    Args:
        folder: folder of the domain; made if it is not there.
        classes: class names.
        options: how images are brought in.
        state: fingerprint of the source.

    Raises:
        DataError: the folder cannot be written to, holds something else, is being written by another import, or an
            unfinished import of another source or with other options.
    """

    def __init__(self, folder: Path, classes: Sequence[str], options: Mapping[str, Any], state: str) -> None:
        self.folder = folder
        self.parts: list[PartDone] = []
        self._hash = first_hash(classes, options)
        with writable(folder):
            if folder.is_dir() and any(folder.iterdir()) and not (folder / PROGRESS).is_file():
                raise DataError(f"'{folder}' holds something else: give another folder to import to, or empty this one")
            folder.mkdir(parents=True, exist_ok=True)
            self._log = (folder / PROGRESS).open("a+", encoding="utf-8", errors="replace")
            try:
                _lock(self._log.fileno(), folder)
                self._open(image_schema(classes).serialize().to_pybytes(), {"options": dict(options), "state": state})
            except BaseException:
                self._log.close()
                raise
        for left in folder.glob("parts-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def _open(self, start: bytes, header: dict[str, Any]) -> None:
        self._log.seek(0)
        text = self._log.read()
        lines = _whole_lines(text)  # a kill can leave half a line; what is after it is written anew
        images = self.folder / IMAGES
        size = images.stat().st_size if images.exists() else 0
        # A part is in the images before its line is in the log. So the log's lines say what is whole, unless the system
        # itself went down and lost images that it had not yet written to the disk.
        good, end = 0, len(start)
        if lines:
            self._compare(lines[0], header)
            for line in lines[1:] if size >= len(start) else []:
                if line["size"] > size:  # as after a loss of power
                    break
                self.parts.append(PartDone(line["images"], b"", tuple(Refused(*entry) for entry in line["refused"])))
                self._hash, end = bytes.fromhex(line["hash"]), line["size"]
            good = len(self.parts)
        kept = "".join(json.dumps(line) + "\n" for line in [header, *lines[1 : 1 + good]])
        if kept != text:
            self._log.truncate(0)
            self._log.write(kept)
            self._log.flush()
        self._images = images.open("r+b" if images.exists() else "w+b")
        self._images.truncate(end)  # of a part that has no line yet
        if not good:
            self._images.seek(0)
            self._images.write(start)
        self._images.seek(end)

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for key, what in (
            ("options", changed_options(before["options"], now["options"])),
            ("state", "of files with other sizes or times"),
        ):
            if before[key] != now[key]:
                raise DataError(
                    f"'{self.folder}' is an unfinished import {what}: delete it to begin anew, or give another folder"
                )

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, *_: object) -> None:
        self._images.close()
        self._log.close()  # and with it the lock

    def append(self, batches: Path, done: PartDone) -> None:
        """Add a part, whose serialised record batches are in a file."""
        with writable(self.folder):
            with batches.open("rb") as file:
                shutil.copyfileobj(file, self._images, 2**20)
            self._images.flush()
            for place in range(0, len(done.hashes), HASH_BYTES):
                self._hash = next_hash(self._hash, done.hashes[place : place + HASH_BYTES])
            line = {
                "images": done.images,
                "size": self._images.tell(),
                "hash": self._hash.hex(),
                "refused": [[entry.place, entry.reason] for entry in done.refused],
            }
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()
        self.parts.append(PartDone(done.images, b"", done.refused))

    @property
    def sha256(self) -> str:
        """The content's hash so far."""
        return self._hash.hex()

    def finish(self, imported: Imported) -> None:
        """Close the files; the domain can be opened from then on."""
        with writable(self.folder):
            self._images.write(_END_OF_STREAM)
            self._images.flush()
            os.fsync(self._images.fileno())
            write_imported(self.folder, imported)
            (self.folder / PROGRESS).unlink()

    def discard(self) -> None:
        """Remove what was written."""
        with writable(self.folder):
            for name in (IMAGES, PROGRESS):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()


def image_schema(classes: Sequence[str]) -> pa.Schema:
    """Columns of `images.arrow`, with the names in the form that `datasets` understands."""
    return datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}
    ).arrow_schema


def image_batch(label: int, names: Sequence[str], images: Sequence[bytes]) -> pa.RecordBatch:
    """Rows of one class."""
    columns = [pa.array(images, pa.binary()), pa.array(names, pa.string())]
    pixels = pa.StructArray.from_arrays(columns, names=["bytes", "path"])
    return pa.record_batch([pixels, pa.array([label] * len(names), pa.int64())], names=["image", "label"])


def write_imported(folder: Path, imported: Imported) -> None:
    """Write `domain.json`, whole or not at all; from then on the import is finished."""
    hierarchy = imported.hierarchy
    content = {
        "format": FORMAT,
        "complete": True,
        "name": imported.name,
        "sha256": imported.sha256,
        "images": imported.images,
        "options": dict(imported.options),
        "source": dict(imported.source),
        "flip": imported.flip,
        "tracks": imported.tracks,
        "splits": dict(imported.splits),
        "classes": dict(imported.classes),
        "hierarchy": hierarchy
        and {"kind": hierarchy.kind, "groups": {s: dict(g) for s, g in hierarchy.groups.items()}},
        "notes": list(imported.notes),
        "refused": [{"place": entry.place, "reason": entry.reason} for entry in imported.refused],
    }
    write_whole(folder / DESCRIPTION, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Words for two imports' different options."""
    was, is_now = (", ".join(f"{key} {value}" for key, value in options.items()) for options in (before, now))
    return f"with {was}, not {is_now}"


def _whole_lines(text: str) -> list[dict[str, Any]]:
    """The log's lines up to the first that is not whole, as the last may be."""
    lines: list[dict[str, Any]] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict) or not entry.keys() >= ({"size", "hash"} if lines else {"options", "state"}):
            break
        lines.append(entry)
    return lines


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Errors in writing as a `DataError` that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room" if full else "choose a folder that you may write to, or mend this one"
        raise DataError(
            f"'{folder}' cannot be written: {error.strerror or error}; {advice} and run the same import again: "
            "what is finished is kept"
        ) from error


def _lock(descriptor: int, folder: Path) -> None:
    """Keep other imports out until the file is closed, also by a kill; not on Windows, which has no such locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"another import is writing to '{folder}': wait for it, or give another folder") from error
    except OSError:  # a file system without locks
        return
