"""One picture: from a file, bytes, array or PIL image to RGB, and to a square of the size that is needed."""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from smat.domains.formats import FORMATS
from smat.errors import DataError

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})

ImageSource = str | Path | bytes | Image.Image | np.ndarray
"""What `load_image` takes: a path, an encoded image's bytes, a PIL image or an array."""


def load_image(source: ImageSource, size: int | None = None) -> Image.Image:
    """Any picture as an RGB image, the right way up.

    Transparent pictures are laid on white, 16-bit ones scaled to 8 bits, and the camera's orientation (EXIF)
    is applied.

    Args:
        source: a path; an encoded image's bytes; a PIL image; or an array `[height, width]` or `[height,
            width, 1, 3 or 4]`, of uint8, uint16, bool, or floats in 0..1.
        size: side of the square that will be cut from it, in pixels. A large JPEG is then decoded at a
            fraction of its size (at least twice `size`), which is several times faster. None: decode in full.

    Raises:
        DataError: it cannot be read as an image (damaged, cut short, not an image, or too large to be meant).
    """
    if isinstance(source, np.ndarray):
        return to_rgb(_from_array(source))
    if isinstance(source, Image.Image):
        return _finish(source)
    what = "these bytes" if isinstance(source, bytes) else f"'{source}'"
    # Damaged files make Pillow and its codecs raise almost anything; whatever it is, the image is of no use.
    try:
        with _open(source) as image:
            if size is not None:
                image.draft(None, (2 * size, 2 * size))
            return _finish(image)
    except Exception as error:
        raise DataError(f"{what} cannot be read as an image: {why_unreadable(error)}") from error


def why_unreadable(error: BaseException | None) -> str:
    """What the error that `load_image` met says, in words that help."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__


def image_mode(source: bytes | str | Path) -> str | None:
    """The PIL mode that an encoded image is stored in, from its header alone; None if that cannot be read."""
    try:
        with _open(source) as image:
            return image.mode
    except Exception:  # as in `load_image`
        return None


def _open(source: bytes | str | Path) -> Image.Image:
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def _finish(image: Image.Image) -> Image.Image:
    image.load()
    return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode as RGB: transparency on white; 16-bit and float grey scaled to 8 bits."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray, mode: str) -> np.ndarray:
    """Deep grey values as uint8. Modes I and F do not say their range: the largest value decides."""
    grey = grey.astype(np.float64)
    peak = grey.max(initial=0.0)
    if mode.startswith("I;16") or peak > 255:
        grey = grey / 257
    elif mode == "F" and peak <= 1:
        grey = grey * 255
    return np.rint(grey.clip(0, 255)).astype(np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DataError(
            f"image arrays have shape [height, width] or [height, width, 1, 3 or 4], not "
            f"{list(array.shape)}; move the channels last"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            raise DataError(f"float images lie in 0..1; this one lies in {low}..{high}: scale it, or use uint8")
        array = np.rint(array * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise DataError(f"an image array is of uint8, uint16, bool or floats, not {array.dtype}; convert it to uint8")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def canvas(image: Image.Image, size: int) -> UInt8[Tensor, "3 {size} {size}"]:
    """An RGB image as a square: shorter side brought to `size` pixels with antialiasing, centre cut out.

    Args:
        image: RGB, any size; enlarged where it is smaller.
        size: side of the square, in pixels.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    # Channels first in memory too: numpy turns one image faster than torch a stack of them.
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
