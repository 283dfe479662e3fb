"""TFRecord files without TensorFlow: their framing with its checksums, and `tf.train.Example` messages.

A file is records one after the other, little endian: the length of the data (8 bytes), a checksum of the length
(4 bytes), the data, a checksum of the data (4 bytes). A checksum is the CRC-32C, turned by 15 bits, plus a constant.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_FRAME = _HEADER.size + _CHECKSUM.size


@dataclass(frozen=True)
class Run:
    """Records of a file that lie one after the other.

    Attributes:
        path: the file.
        offset: where the first of them starts, in bytes.
        first: its number in the file, from 0.
        count: how many there are.
    """

    path: str
    offset: int
    first: int
    count: int


@dataclass(frozen=True)
class Survey:
    """Where the records of a file are.

    Attributes:
        runs: all of them that can be reached.
        records: how many these are.
        lost: why the file cannot be followed to its end; None if it can.
    """

    runs: tuple[Run, ...]
    records: int
    lost: str | None


def survey(path: Path, most: int = 500) -> Survey:
    """Where a file's records are: goes from length to length and reads nothing else.

    Args:
        path: the file.
        most: records that a run may have.

    Raises:
        OSError: the file cannot be read.
    """
    runs: list[Run] = []
    number = position = start = 0
    lost = None
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while position < size:
            length = _length(os.pread(file.fileno(), _HEADER.size, position), size - position)
            if isinstance(length, str):
                lost = length
                break
            if number and number % most == 0:
                runs.append(Run(str(path), start, number - most, most))
                start = position
            position += _FRAME + length
            number += 1
    if number:
        first = (number - 1) // most * most
        runs.append(Run(str(path), start, first, number - first))
    return Survey(tuple(runs), number, lost)


def read_run(run: Run) -> Iterator[tuple[int, bytes | str]]:
    """The records of a run: number in the file, and the data or, as a string, what is wrong with it.

    A record whose data has the wrong checksum is one that is lost. Where a length is not to be trusted, or the file
    ends, no further record can be found: that is said once, with how many are lost.

    Raises:
        OSError: the file cannot be read.
    """
    end = run.first + run.count
    with open(run.path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = file.seek(run.offset)
        for number in range(run.first, end):
            length = _length(file.read(_HEADER.size), size - position)
            if isinstance(length, str):
                yield number, f"{length}; {end - number} records are lost from here on"
                return
            data = file.read(length)
            checksum = file.read(_CHECKSUM.size)
            position += _FRAME + length
            good = len(checksum) == _CHECKSUM.size and _CHECKSUM.unpack(checksum)[0] == _masked_crc(data)
            yield number, data if good else "its data does not have the checksum that it was written with"


def image_and_label(data: bytes) -> tuple[bytes, int]:
    """The image and the label of a serialised `tf.train.Example`.

    Raises:
        ValueError: it is none, or has not one `image` of bytes and one whole number as `label`.
    """
    example: Any = _EXAMPLE()
    try:
        example.ParseFromString(data)
    except DecodeError as error:
        raise ValueError("it is no tf.train.Example") from error
    features = example.features.feature
    values: list[Any] = []
    for name, kind in (("image", "bytes_list"), ("label", "int64_list")):
        if name not in features:
            raise ValueError(f"it has no '{name}', only {sorted(features)[:10]}")
        feature = features[name]
        value = getattr(feature, kind).value if feature.WhichOneof("kind") == kind else ()
        if len(value) != 1:
            raise ValueError(f"its '{name}' should be {'bytes' if name == 'image' else 'a whole number'}, once")
        values.append(value[0])
    return values[0], values[1]


def _length(header: bytes, left: int) -> int | str:
    """Length of a record's data, or why it cannot be known; `left`: bytes of the file from its header on."""
    if len(header) < _HEADER.size:
        return "the file is cut in the middle of the record"
    length, checksum = _HEADER.unpack(header)
    if checksum != _masked_crc(header[:8]):
        return "its length does not have the checksum that it was written with"
    if length > left - _FRAME:
        return f"the file is cut in the middle of the record: {left} of its {length + _FRAME} bytes are there"
    return length


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _example() -> Any:
    """The message class of `tf.train.Example`, in a pool of its own: TensorFlow may be in the same process."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="smat/example.proto", package="smat", syntax="proto3")
    for name, kind in (("Bytes", field.TYPE_BYTES), ("Floats", field.TYPE_FLOAT), ("Int64s", field.TYPE_INT64)):
        values = file.message_type.add(name=name)
        values.field.add(name="value", number=1, label=field.LABEL_REPEATED, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate((("bytes", "Bytes"), ("float", "Floats"), ("int64", "Int64s")), start=1):
        one = feature.field.add(name=f"{name}_list", number=number, label=field.LABEL_OPTIONAL, oneof_index=0)
        one.type, one.type_name = field.TYPE_MESSAGE, f".smat.{kind}"
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    value = entry.field.add(name="value", number=2, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE)
    value.type_name = ".smat.Feature"
    each = features.field.add(name="feature", number=1, label=field.LABEL_REPEATED, type=field.TYPE_MESSAGE)
    each.type_name = ".smat.Features.FeatureEntry"
    example = file.message_type.add(name="Example")
    whole = example.field.add(name="features", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE)
    whole.type_name = ".smat.Features"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("smat.Example"))


_EXAMPLE = _example()
