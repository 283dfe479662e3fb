"""Images that lie at known places in large files: encoded in archives, or as rows of an array."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from smat.domains.imported import Refused
from smat.importing.files import MOST_BYTES, PART
from smat.importing.listing import Found, Part


@dataclass(frozen=True)
class Stored:
    """Images in one file.

    Attributes:
        file: the file, from the source's root on.
        shape: height, width and channels of images that are pixels (uint8, row by row); None: they are encoded.
    """

    file: str
    shape: tuple[int, int, int] | None = None


Place = tuple[str, int, int]
"""What an image is called within its file, its first byte, and how many there are."""


def array_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array that a NumPy file holds; it is read up to the content.

    A damaged header makes NumPy raise almost anything.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def stored_parts(label: int, root: Path, stored: Stored, places: Sequence[Place], size: int = PART) -> list[Part]:
    """Parts of images of one class in one file, for `read_stored`."""
    pieces = [tuple(places[start : start + size]) for start in range(0, len(places), size)]
    return [Part(label, len(piece), (str(root), stored, piece)) for piece in pieces]


def read_stored(part: Part) -> Iterator[Found | Refused]:
    """The images of a part made by `stored_parts`."""
    root, stored, places = part.payload
    try:
        with Path(root, stored.file).open("rb") as file:
            for name, start, size in places:
                file.seek(start)
                content = file.read(min(size, MOST_BYTES))
                called = f"{stored.file}#{name}"
                if len(content) != size:
                    yield Refused(called, f"it has {len(content)} bytes where {size} should be: the file has changed")
                elif stored.shape is None:
                    yield Found(called, content)
                else:
                    yield Found(called, np.frombuffer(content, np.uint8).reshape(stored.shape))
    except OSError as error:
        yield Refused(stored.file, f"it cannot be read: {error.strerror or error}")
