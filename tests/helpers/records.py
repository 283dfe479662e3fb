"""TFRecord files and messages, written by hand from the description of the formats."""

import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c


def varint(value: int) -> bytes:
    value %= 2**64
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    """A field of a message that has a length: bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def bytes_list(*values: bytes) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


def int64_list(*values: int) -> bytes:
    return field(3, field(1, b"".join(varint(value) for value in values)))


def loose_int64_list(*values: int) -> bytes:
    """As older writers have it: each number is a field."""
    return field(3, b"".join(varint(1 << 3) + varint(value) for value in values))


def float_list(*values: float) -> bytes:
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


def message(**features: bytes) -> bytes:
    """A `tf.train.Example`."""
    entries = [field(1, field(1, name.encode()) + field(2, value)) for name, value in features.items()]
    return field(1, b"".join(entries))


def example(image: bytes, label: int) -> bytes:
    return message(image=bytes_list(image), label=int64_list(label))


def checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    rotated = (crc // 2**15) + (crc * 2**17) % 2**32
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def write_records(path: Path, images: Sequence[bytes], label: int) -> None:
    path.write_bytes(b"".join(framed(example(image, label)) for image in images))


def damaged(path: Path, place: int, change: int = 0x40) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= change
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
