"""Parquet files of images: one, or several that are parts of one table."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smat.domains.arrow_files import IMAGE_COLUMN, file_digest, file_state, kept_images
from smat.domains.columns import ColumnNames, declared_features, read_labels
from smat.domains.folders import printable
from smat.domains.tables import ImageTable
from smat.errors import DataError

_ROWS = 64  # that are copied at a time
_UNREADABLE = (OSError, ValueError, MemoryError, NotImplementedError, pa.ArrowException)  # what pyarrow raises


def parquet_table(path: Path, columns: ColumnNames, *, verify: bool = False) -> ImageTable:
    """The table of a parquet file, or of a folder of parquet files with the same columns.

    A copy of the images that can be mapped into memory is kept in the cache folder of `datasets`
    (`HF_DATASETS_CACHE`), by the hash of the content.

    Args:
        path: the file or folder.
        columns: which columns have the images and the labels.
        verify: hash the content even if the hash of the same file is remembered.

    Raises:
        DataError: it cannot be read, has no such columns, or changes meanwhile.
    """
    shards = parquet_files(path) if path.is_dir() else [path]
    origin = printable(str(path))
    with ExitStack() as stack:
        parts = [_open(shard, stack) for shard in shards]
        states = [file_state(part.file) for part in parts]
        features = declared_features(parts[0].schema)
        image, label = columns.choose(features, origin)
        for part in parts[1:]:
            _check_same(parts[0], part, image, label)
        digests = [file_digest(part.file, anew=verify) for part in parts]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
        found = pa.chunked_array([chunk for part in parts for chunk in part.labels(label).chunks])
        labels, names = read_labels(found, features[label], origin)
        key = hashlib.sha256(f"{digest} {image}".encode()).hexdigest()
        images = kept_images(key, lambda: (batch for part in parts for batch in part.images(image)))
        if states != [file_state(part.file) for part in parts]:
            raise DataError(f"'{origin}' was changed while it was read: wait until it is whole, and start again")
    if len(images) != len(labels):
        raise DataError(f"'{origin}' has {len(labels)} labels for {len(images)} images: it is damaged; get it again")
    return ImageTable(images, labels, names, origin, digest)


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder, or of the `data` folder in it as on the hub, sorted."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


@dataclass(frozen=True)
class _Shard:
    """An open parquet file."""

    path: Path
    file: io.BufferedReader
    content: pq.ParquetFile

    @property
    def schema(self) -> pa.Schema:
        return self.content.schema_arrow

    def labels(self, column: str) -> pa.ChunkedArray:
        """A column, without pandas' categories, which may be others in each file."""
        try:
            found = self.content.read(columns=[column]).column(column)
            return found.cast(found.type.value_type) if pa.types.is_dictionary(found.type) else found
        except (KeyError, *_UNREADABLE) as error:
            raise _unreadable(self.path, error) from error

    def images(self, column: str) -> Iterator[pa.RecordBatch]:
        """The images, as batches of `IMAGE_COLUMN`."""
        try:
            for batch in self.content.iter_batches(_ROWS, columns=[column]):
                if len(batch):
                    yield pa.record_batch([_encoded(batch.column(column), column, self.path)], schema=IMAGE_COLUMN)
        except DataError:
            raise
        except (KeyError, *_UNREADABLE) as error:
            raise _unreadable(self.path, error) from error


def _open(path: Path, stack: ExitStack) -> _Shard:
    try:
        file = stack.enter_context(path.open("rb"))
        shard = _Shard(path, file, pq.ParquetFile(file))
        file.seek(0)
        return shard
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    why = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(f"'{printable(str(path))}' cannot be read as a parquet file of images: {why}")


def _check_same(first: _Shard, other: _Shard, image: str, label: str) -> None:
    """All files of a folder are parts of one table."""
    for column in (image, label):
        kinds = [_kind(shard, column) for shard in (first, other)]
        if kinds[0] != kinds[1]:
            raise DataError(
                f"'{printable(str(other.path))}' has another column '{column}' than '{printable(first.path.name)}' "
                f"({kinds[1]}; expected {kinds[0]}): the parquet files of a folder are read as parts of one table. "
                "Give others one by one"
            )


def _kind(shard: _Shard, column: str) -> Any:
    if column not in shard.schema.names:
        return "none"
    kind = shard.schema.field(column).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind, declared_features(shard.schema)[column]


def _encoded(column: pa.Array, name: str, path: Path) -> pa.Array:
    """A column of images of any form that is in use, as that of `IMAGE_COLUMN`."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    rows = len(column)
    parts: Sequence[pa.Array]
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        inner = dict(zip([field.name for field in kind], column.flatten(), strict=True))
        parts = [inner["bytes"], inner.get("path", pa.nulls(rows))]
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        parts = [column, pa.nulls(rows)]
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        parts = [pa.nulls(rows), column]
    else:
        raise DataError(
            f"'{printable(str(path))}' has images of type {kind} in its column '{name}'; expected encoded images, or a "
            "struct of their bytes and path: give another column (--image-column)"
        )
    fields = list(IMAGE_COLUMN.field("image").type)
    return pa.StructArray.from_arrays([part.cast(f.type) for part, f in zip(parts, fields, strict=True)], fields=fields)
