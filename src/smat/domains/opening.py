"""Encoded images, opened with all checks and not yet decoded."""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from smat.domains.depth import stored_as
from smat.domains.formats import FORMATS
from smat.errors import DataError

MAX_PIXELS = 2**30 // 3
"""Most pixels that an image is decoded to, unless another number is given: as RGB, 1 GiB."""

_PNG = b"\x89PNG\r\n\x1a\n"


@contextmanager
def opened(source: bytes | str | Path, *, check: bool = True) -> Iterator[Image.Image]:
    """An encoded image, open but not decoded.

    Args:
        source: a path, or the image's bytes.
        check: compare the checksums of a PNG, which Pillow does not.

    Raises:
        DataError: a checksum is wrong, or a PNG is cut short.
        Exception: whatever Pillow raises.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        content: BinaryIO = file
        if check and file.read(len(_PNG)) == _PNG:
            content = io.BytesIO(_PNG + file.read())
            _check_png(content.getvalue())
        content.seek(0)
        with pillows_limit(2**62):  # ours is of what a JPEG is decoded to
            image = Image.open(content, formats=FORMATS)
        with image:
            scale = {"L;2": 85, "L;4": 17}.get(stored_as(image))
            if scale and isinstance(clear := image.info.get("transparency"), int):
                image.info["transparency"] = scale * clear  # as Pillow scales the pixels, but not this
            yield image


def _check_png(content: bytes) -> None:
    start = len(_PNG)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(memoryview(content)[start + 4 : end]) != int.from_bytes(content[end : end + 4]):
            raise DataError(f"it is damaged: the checksum of its {kind.decode('latin-1')} data is wrong")
        if kind == b"IEND":
            return
        start = end + 4
    raise DataError("it is cut short: its end is missing")


_lock = threading.Lock()
_limits: list[int] = []
_pillows: list[int | None] = []


@contextmanager
def pillows_limit(most: int) -> Iterator[None]:
    """Within the block Pillow's own limit of pixels is this; the largest of them where several threads set one."""
    with _lock:
        if not _limits:
            _pillows[:] = [Image.MAX_IMAGE_PIXELS]
        _limits.append(most)
        Image.MAX_IMAGE_PIXELS = max(_limits)
    try:
        yield
    finally:
        with _lock:
            _limits.remove(most)
            Image.MAX_IMAGE_PIXELS = max(_limits) if _limits else _pillows[0]


def shrink(image: Image.Image, size: tuple[int, int] | None, most: int) -> None:
    """Have an image decoded smaller where its format can (JPEG), and refuse it where it would still be too large.

    Args:
        image: open, but not decoded.
        size: width and height that are enough; None: decode it as it is.
        most: most pixels that it may be decoded to.

    Raises:
        DataError: it has more.
    """
    width, height = image.size
    if size:
        image.draft(None, size)
    if not image.info.get("progressive"):  # those are decoded whole all the same
        width, height = image.size
    if width * height > most:
        raise DataError(
            f"it has {width} x {height} pixels, more than {most:,}: make it smaller, or allow more by --max-pixels "
            "(max_pixels)"
        )
