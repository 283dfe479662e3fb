"""Image files that Pillow does not write: of more than 8 bits, or with chunks and tags of one's own."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RAMP = np.linspace(20, 220, 64).reshape(8, 8)  # grey values, as the 8-bit image has them


def in_bits(bits: int, share: np.ndarray = RAMP / 255) -> np.ndarray:
    """Values of so many bits, stored in 16."""
    return np.rint(share * (2**bits - 1)).astype(np.uint16)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, extra: bytes = b"", bits: int | None = None) -> bytes:
    """A PNG file of grey (`[height, width]`) or colours (`[height, width, 3]`); of fewer bits than 8, packed."""
    height, width = values.shape[:2]
    bits = bits or 8 * values.dtype.itemsize
    if bits < 8:
        planes = [values >> shift & 1 for shift in reversed(range(bits))]
        rows = [np.packbits(row).tobytes() for row in np.stack(planes, axis=2).reshape(height, -1).astype(np.uint8)]
    else:
        rows = [row.tobytes() for row in values.astype(values.dtype.newbyteorder(">"))]
    head = struct.pack(">IIBBBBB", width, height, bits, 0 if values.ndim == 2 else 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, tags: dict[int, int] | None = None, bits: int | None = None) -> bytes:
    """An uncompressed TIFF file of grey, of any number type; of 12 bits, packed; tags by number over the usual ones."""
    height, width = values.shape
    bits = bits or 8 * values.dtype.itemsize
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if bits == 12:
        digits = "".join(f"{value:03x}" for value in values.reshape(-1).tolist())
        pixels = bytes.fromhex(digits)
    entries = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: 1,
        273: 0,
        277: 1,
        278: height,
        279: len(pixels),
        339: form,
    }
    entries |= tags or {}
    entries[273] = 8 + 2 + 12 * len(entries) + 4  # where the pixels begin
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4) + pixels


def grey(image: Image.Image) -> np.ndarray:
    """The values of an RGB image that is grey."""
    values = np.asarray(image)
    assert (values == values[:, :, :1]).all()
    return values[:, :, 0]


def encoded(values: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()
