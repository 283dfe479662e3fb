"""Arrow streams on disk: checked, mapped into memory, and kept in a cache by the hash of what they are made from."""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import config
from datasets.table import MemoryMappedTable

from smat.errors import DataError

IMAGE_COLUMN = pa.schema([("image", pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]))])
"""What a kept table has: encoded images, or the paths of their files."""

_SETTLED = 2.0  # seconds after which another change of a file has another time stamp, on any file system in use


class DamagedStream(ValueError):
    """A file that is no whole Arrow stream of the columns that it should have."""


def map_stream(path: Path, columns: pa.Schema) -> pa.Table:
    """The columns of an Arrow stream, mapped into memory.

    All offsets, lengths and names are checked, in one pass that reads no images: Arrow itself trusts them, and a
    flipped bit could end the process later.

    Raises:
        DamagedStream: it is damaged, cut short, or has other columns.
        FileNotFoundError: there is no such file.
    """
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            schema = reader.schema.remove_metadata()
            if not schema.equals(columns):
                raise DamagedStream(f"it has the columns {schema}; expected {columns}")
            batches = []
            for batch in reader:
                batch.validate(full=True)
                batches.append(batch.replace_schema_metadata(None))
            return pa.Table.from_batches(batches, columns)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise DamagedStream((str(error).splitlines() or [type(error).__name__])[0]) from error


def as_dataset(table: pa.Table, path: Path, digest: str) -> datasets.Dataset:
    """A mapped table that other processes get as the name of its file; `datasets` would hash all images for a name."""
    return datasets.Dataset(MemoryMappedTable(table, str(path.resolve())), fingerprint=digest[:16])


def kept_images(digest: str, batches: Callable[[], Iterable[pa.RecordBatch]]) -> datasets.Dataset:
    """A table of images from the cache folder of `datasets` (`HF_DATASETS_CACHE`); written there if it is not there.

    Args:
        digest: hash of all that the table is made from.
        batches: function that gives the batches, with the columns `IMAGE_COLUMN`.

    Raises:
        DataError: the cache folder cannot be written to.
    """
    path = _cache() / f"{digest}.arrow"
    try:
        return as_dataset(map_stream(path, IMAGE_COLUMN), path, digest)
    except (FileNotFoundError, DamagedStream):
        _write_stream(path, batches())
    return as_dataset(map_stream(path, IMAGE_COLUMN), path, digest)


def file_digest(file: io.BufferedReader, *, anew: bool = False) -> str:
    """SHA-256 of an open file; remembered in the cache folder, so that a large one is not read at every start.

    It is remembered for the device, inode, size and times of the file. The time of the inode's last change is among
    them: what copies a file with its time stamp, such as `cp -p`, cannot set that.

    Args:
        file: the file, at its start; it is there again afterwards.
        anew: read it even if its hash is remembered.
    """
    state = file_state(file)
    kept = _cache() / f"{hashlib.sha256(json.dumps(state).encode()).hexdigest()}.sha256"
    if not anew and kept.is_file() and len(digest := kept.read_text(encoding="ascii", errors="replace")) == 64:
        return digest
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    # A file that was written just now may be written again within the same tick of the clock.
    if file_state(file) == state and time.time() - max(state[-2:]) / 1e9 > _SETTLED:
        _write(kept, lambda out: out.write(digest.encode()))
    return digest


def file_state(file: io.BufferedReader) -> tuple[int, ...]:
    """What changes when an open file does: device, inode, size, and times of the last change of content and inode."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _cache() -> Path:
    return Path(config.HF_DATASETS_CACHE) / "smat"


def _write_stream(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    def write(out: io.BufferedWriter) -> None:
        with pa.ipc.new_stream(out, IMAGE_COLUMN) as stream:
            for batch in batches:
                stream.write_batch(batch)

    _write(path, write)


def _write(path: Path, write: Callable[[io.BufferedWriter], object]) -> None:
    """Write a file of the cache so that it is whole or not there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as out:
                write(out)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"'{path.parent}' cannot be written: {error.strerror or error}; make room there, or give another folder as "
            "HF_DATASETS_CACHE in the environment"
        ) from error
