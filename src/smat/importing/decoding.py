"""Images of a source that are decoded on the way in, because only a part of them is wanted or they are changed."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from smat.domains.grey import GreyRange
from smat.domains.images import upright, why_unreadable
from smat.domains.imported import Refused
from smat.domains.opening import MAX_PIXELS, opened, shrink
from smat.importing.files import read_image

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels, the latter two outside."""


@dataclass(frozen=True)
class Decoding:
    """How an import decodes; a context manager, in which `decoded` goes by it.

    Attributes:
        range: values that are black and white in grey images of more than 8 bits; None: as each says.
        max_pixels: most pixels that an image is decoded to.
    """

    range: GreyRange | None = None
    max_pixels: int = MAX_PIXELS

    def __enter__(self) -> None:
        _current.append(self)

    def __exit__(self, *_: object) -> None:
        _current.pop()


_current = [Decoding()]  # of this process, which decodes for one import at a time


def decoded(root: Path, path: Path) -> Image.Image | Refused:
    """The pixels of an image file of the source `root`, not turned as its EXIF data say, and of 8 bits."""
    found = read_image(root, path)
    if isinstance(found, Refused):
        return found
    assert isinstance(found.image, bytes)  # as `read_image` gives it; for the type checker
    # Damaged files make Pillow and its codecs raise almost anything; whatever it is, the image is of no use.
    try:
        with opened(found.image) as image:
            now = _current[-1]
            shrink(image, None, now.max_pixels)
            return upright(image, now.range, max_pixels=now.max_pixels, turn=False)
    except MemoryError:
        raise
    except Exception as error:
        return Refused(found.name, f"it cannot be decoded: {why_unreadable(error)}")


def cut(image: Image.Image, box: Box) -> Image.Image | str:
    """The part of an image that a box has, or why there is none: it is empty, or not all in the image."""
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        return f"its box {box} is empty or not within the image of {image.width} x {image.height} pixels"
    piece = image.crop(box)
    piece.info = {}  # what it says of the whole image's colours and orientation
    return piece
