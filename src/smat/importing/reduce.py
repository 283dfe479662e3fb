"""One image as it will be stored: its own bytes, or made smaller once."""

import io
import math
import warnings

import numpy as np
from PIL import Image

from smat.domains.depth import Depth
from smat.domains.grey import GreyRange
from smat.domains.images import GREY_MODES, to_rgb, upright, why_unreadable
from smat.domains.opening import MAX_PIXELS, opened, shrink
from smat.errors import DataError
from smat.importing.files import MOST_BYTES

QUALITY = 95


def stored_image(
    image: bytes | np.ndarray | Image.Image,
    max_side: int | None,
    *,
    range: GreyRange | None = None,
    max_pixels: int = MAX_PIXELS,
) -> bytes:
    """An image's bytes as they are stored; it is decoded, so that what is stored can be read.

    Args:
        image: encoded; or pixels, `[height, width]` or `[height, width, 3]` of uint8; or a cut-out of an image.
        max_side: longest side in pixels. Larger images are brought to it with antialiasing, the right way up and with
            transparency on white, as JPEG of quality 95, grey ones in grey. None: none is too large.
        range: values that are black and white in grey images of more than 8 bits.
        max_pixels: most pixels that it is decoded to.

    Returns:
        The bytes that were given where the image is not larger and of 8 bits per channel; of other images that are not
        larger a PNG file of 8 bits, or a JPEG file of cut-outs in colour, which are of photographs. Without `max_side`
        always PNG.

    Raises:
        DataError: it cannot be decoded, has more pixels than that, or it is not known which of its values is white.
    """
    # Codecs raise almost anything for damaged images; whatever it is, the image is of no use.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Pillow mends by itself
            if isinstance(image, bytes):
                return _of_file(image, max_side, range, max_pixels)
            return _of_pixels(image, max_side, range, max_pixels)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"it cannot be decoded: {why_unreadable(error)}") from error


def _of_file(content: bytes, max_side: int | None, range: GreyRange | None, max_pixels: int) -> bytes:
    if not content:
        raise DataError("it has no bytes")
    if len(content) > MOST_BYTES:
        raise DataError(f"it has {len(content)} bytes; an image has at most {MOST_BYTES}")
    with opened(content) as image:
        smaller, deep, grey = _share(image.size, max_side), Depth.of(image), image.mode in GREY_MODES
        # A JPEG is decoded at a half, a quarter or an eighth where that leaves twice the pixels needed: much faster.
        enough = (math.ceil(2 * image.width * smaller), math.ceil(2 * image.height * smaller))
        shrink(image, enough if smaller < 1 else None, max_pixels)
        decoded = upright(image, range, max_pixels=max_pixels)
        if smaller == 1 and not deep:
            return content
        return _png(_plain(decoded, grey)) if smaller == 1 else _jpeg(_plain(decoded, grey), max_side)


def _of_pixels(
    image: np.ndarray | Image.Image, max_side: int | None, range: GreyRange | None, max_pixels: int
) -> bytes:
    picture = _from_pixels(image) if isinstance(image, np.ndarray) else image
    if not min(picture.size):
        raise DataError(f"it is empty: {picture.width} x {picture.height} pixels")
    shrink(picture, None, max_pixels)
    grey = picture.mode in GREY_MODES
    photograph = picture is image and not grey
    plain = _plain(upright(picture, range, max_pixels=max_pixels), grey)
    if max_side is None or (_share(picture.size, max_side) == 1 and not photograph):
        return _png(plain)
    return _jpeg(plain, max_side)


def _share(size: tuple[int, int], max_side: int | None) -> float:
    """What sides are multiplied by so that the longer one has at most so many pixels."""
    return 1.0 if max_side is None else min(1.0, max_side / max(size))


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise DataError(f"pixels are [height, width] or [height, width, 3] of uint8, not {pixels.shape} {pixels.dtype}")
    return Image.fromarray(pixels) if pixels.size else Image.new("L", pixels.shape[1::-1])


def _png(plain: Image.Image) -> bytes:
    buffer = io.BytesIO()
    plain.save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(plain: Image.Image, max_side: int | None) -> bytes:
    """Made smaller, if it is larger, so that its longest side has `max_side` pixels."""
    share = _share(plain.size, max_side)
    if share < 1:
        size = max(1, round(plain.width * share)), max(1, round(plain.height * share))
        plain = plain.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    plain.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _plain(picture: Image.Image, grey: bool) -> Image.Image:
    """In RGB, or in grey."""
    if picture.mode == ("L" if grey else "RGB") and not picture.has_transparency_data:
        return picture
    return to_rgb(picture).convert("L") if grey else to_rgb(picture)
