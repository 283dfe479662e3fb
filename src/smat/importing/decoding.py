"""Images of a source that are decoded on the way in, because only a part of them is wanted or they are changed."""

import io
import warnings
from pathlib import Path

from PIL import Image

from smat.domains.formats import FORMATS
from smat.domains.images import why_unreadable
from smat.domains.imported import Refused
from smat.importing.files import read_image

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels, the latter two outside."""


def decoded(root: Path, path: Path) -> Image.Image | Refused:
    """The pixels of an image file of the source `root`, as they are stored: not turned as its EXIF data say."""
    found = read_image(root, path)
    if isinstance(found, Refused):
        return found
    assert isinstance(found.image, bytes)  # as `read_image` gives it; for the type checker
    # Damaged files make Pillow and its codecs raise almost anything; whatever it is, the image is of no use.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(found.image), formats=FORMATS)
            image.load()
            return image
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
