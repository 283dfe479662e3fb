"""One image as it will be stored: its own bytes, or made smaller once."""

import io
import math
import warnings

import numpy as np
from PIL import Image, ImageOps

from smat.domains.formats import FORMATS
from smat.domains.images import GREY_MODES, to_rgb, why_unreadable
from smat.errors import DataError
from smat.importing.files import MOST_BYTES

QUALITY = 95


def stored_image(image: bytes | np.ndarray | Image.Image, max_side: int | None) -> bytes:
    """An image's bytes as they are stored; it is decoded, so that what is stored can be read.

    Args:
        image: encoded; or pixels, `[height, width]` or `[height, width, 3]` of uint8; or a cut-out of an image.
        max_side: longest side in pixels. Larger images are brought to it with antialiasing, the right way up and with
            transparency on white, as JPEG of quality 95, grey ones in grey. None: none is too large.

    Returns:
        The bytes that were given where the image is not larger; of pixels and cut-outs that are not, a PNG file, or a
        JPEG file of cut-outs in colour, which are of photographs. Without `max_side` always PNG.

    Raises:
        DataError: it cannot be decoded, or has more pixels than an image can be meant to have (Pillow's limit).
    """
    # Codecs raise almost anything for damaged images; whatever it is, the image is of no use.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Pillow mends by itself
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _stored(image, max_side)
    except (DataError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"it is not decoded, since it has too many pixels to be meant: {error}") from error
    except Exception as error:
        raise DataError(f"it cannot be decoded: {why_unreadable(error)}") from error


def _stored(image: bytes | np.ndarray | Image.Image, max_side: int | None) -> bytes:
    if isinstance(image, bytes):
        if not image:
            raise DataError("it has no bytes")
        if len(image) > MOST_BYTES:
            raise DataError(f"it has {len(image)} bytes; an image has at most {MOST_BYTES}")
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            if max_side is None or max(opened.size) <= max_side:
                opened.load()
                return image
            return _jpeg(opened, max_side)
    picture = _from_pixels(image) if isinstance(image, np.ndarray) else image
    if not min(picture.size):
        raise DataError(f"it is empty: {picture.width} x {picture.height} pixels")
    if math.prod(picture.size) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
    photograph = picture is image and picture.mode not in GREY_MODES
    if max_side is None or (max(picture.size) <= max_side and not photograph):
        return _png(picture)
    return _jpeg(picture, max_side)


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise DataError(f"pixels are [height, width] or [height, width, 3] of uint8, not {pixels.shape} {pixels.dtype}")
    return Image.fromarray(pixels) if pixels.size else Image.new("L", pixels.shape[1::-1])


def _png(picture: Image.Image) -> bytes:
    picture.load()
    buffer = io.BytesIO()
    (picture if picture.mode in ("L", "RGB") else _plain(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(picture: Image.Image, max_side: int) -> bytes:
    """Made smaller, if it is larger, so that its longest side has `max_side` pixels."""
    shrink = min(1.0, max_side / max(picture.size))
    # A JPEG is decoded at a half, a quarter or an eighth where that leaves twice the pixels needed: much faster.
    picture.draft(None, (math.ceil(2 * picture.width * shrink), math.ceil(2 * picture.height * shrink)))
    plain = _plain(ImageOps.exif_transpose(picture))
    if max(plain.size) > max_side:
        shrink = max_side / max(plain.size)
        plain = plain.resize(
            (max(1, round(plain.width * shrink)), max(1, round(plain.height * shrink))), Image.Resampling.BICUBIC
        )
    buffer = io.BytesIO()
    plain.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _plain(picture: Image.Image) -> Image.Image:
    """In RGB, or in grey where it is stored in grey."""
    return to_rgb(picture).convert("L") if picture.mode in GREY_MODES else to_rgb(picture)
