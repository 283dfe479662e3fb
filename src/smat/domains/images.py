"""One picture: from a file, bytes, array or PIL image to RGB, and to a square of the size that is needed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from smat.domains.depth import Depth
from smat.domains.formats import FORMATS
from smat.domains.grey import FULL, UNIT, Extremes, GreyRange, common_range, eight_bits
from smat.domains.opening import MAX_PIXELS, opened, pillows_limit, shrink
from smat.errors import ConfigError, DataError

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})

ImageSource = str | Path | bytes | Image.Image | np.ndarray
"""What `load_image` takes: a path, an encoded image's bytes, a PIL image or an array."""


def load_image(
    source: ImageSource | object,
    size: int | None = None,
    *,
    range: GreyRange | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Any picture as an RGB image, the right way up.

    Transparent pictures are laid on white, those of more than 8 bits scaled to 8, and the camera's orientation (EXIF)
    is applied.

    Args:
        source: a path; an encoded image's bytes; a PIL image; or an array `[height, width]` or `[height,
            width, 1, 3 or 4]`, of uint8, uint16, bool, or floats in 0..1; with `range`, of numbers of any type.
        size: side of the square that will be cut from it, in pixels. A large JPEG is then decoded at a
            fraction of its size (at least twice `size`), which is several times faster. None: decode in full.
        range: values that are black and white in arrays and in grey images of more than 8 bits; other images have
            theirs. None: as the file or the type says, where the values leave no doubt.
        max_pixels: most pixels that it is decoded to.

    Raises:
        DataError: it cannot be read as an image (damaged, cut short, not an image, larger than `max_pixels`, closed),
            or it is not known which of its values is white.
    """
    if isinstance(source, np.ndarray):
        return to_rgb(_from_array(source, range))
    if isinstance(source, Image.Image):
        return _given(source, range, max_pixels)
    if not isinstance(source, str | Path | bytes):
        raise DataError(
            f"it is of type {type(source).__name__}; an image is a path, bytes, a PIL image, or an array with its "
            "channels last"
        )
    what = "these bytes" if isinstance(source, bytes) else f"'{source}'"
    # Damaged files make Pillow and its codecs raise almost anything; whatever it is, the image is of no use.
    try:
        with opened(source) as image:
            shrink(image, (2 * size, 2 * size) if size else None, max_pixels)
            return to_rgb(upright(image, range, max_pixels=max_pixels))
    except Exception as error:
        raise DataError(f"{what} cannot be read as an image: {why_unreadable(error)}") from error


def why_unreadable(error: BaseException | None) -> str:
    """What the error that `load_image` met says, in words that help."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}, or stores its pixels in a form that Pillow does not read"
    return str(error) or type(error).__name__


def image_mode(source: bytes | str | Path) -> str | None:
    """The PIL mode that an encoded image is stored in, from its header alone; None if that cannot be read."""
    try:
        with opened(source, check=False) as image:
            return image.mode
    except Exception:  # as in `load_image`
        return None


def find_range(option: Any, sources: Iterable[object], max_pixels: int = MAX_PIXELS) -> GreyRange | None:
    """The range that an option says, for all images of a collection.

    Args:
        option: as `RangeOption`; with `"auto"` the deep images are decoded to find it, once.
        sources: all images; those that cannot be read are passed over.
        max_pixels: most pixels that one is decoded to.

    Raises:
        ConfigError: an option that is no range.
        DataError: as for `common_range`.
    """
    if option is None or isinstance(option, GreyRange):
        return option
    if option == "auto":
        return common_range(found for source in sources if (found := extremes(source, max_pixels)))
    try:
        low, high = map(float, option)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the range is {option!r}; give two numbers, LOW and HIGH, or auto") from error
    return GreyRange(*(int(value) if value.is_integer() else value for value in (low, high)))


def extremes(source: object, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Extremes | None:
    """The smallest and the largest value of a deep grey image or array; None of another, or where it cannot be read.

    Args:
        source: as for `load_image`.
        max_pixels: most pixels that it is decoded to.
        name: what it is called in messages.
    """
    name = name or ("an image" if isinstance(source, bytes | Image.Image | np.ndarray) else f"'{source}'")
    if isinstance(source, np.ndarray):
        deep = source.size and source.dtype.kind in "iuf" and source.dtype != np.uint8
        return Extremes.of(source, name) if deep else None
    try:
        if isinstance(source, Image.Image):
            return _extremes(source, name, max_pixels)
        if not isinstance(source, str | Path | bytes):
            return None
        with opened(source, check=False) as image:
            if Depth.of(image) is None:
                return None
        with opened(source) as image:
            return _extremes(image, name, max_pixels)
    except Exception:  # as in `load_image`
        return None


def _extremes(image: Image.Image, name: str, max_pixels: int) -> Extremes | None:
    depth = Depth.of(image)
    if depth is None or depth.colour:
        return None
    shrink(image, None, max_pixels)
    with pillows_limit(max_pixels):
        return Extremes.of(depth.values(image), name)


def _given(image: Image.Image, range: GreyRange | None, max_pixels: int) -> Image.Image:
    try:
        shrink(image, None, max_pixels)
        return to_rgb(upright(image, range, max_pixels=max_pixels))
    except DataError:
        raise
    except Exception as error:  # as in `load_image`
        closed = getattr(image, "fp", image) is None or "closed" in str(error)
        raise DataError(
            "it is closed; load it (image.load()) within the block that opens it, or give its path"
            if closed
            else f"it cannot be decoded: {why_unreadable(error)}"
        ) from error


def upright(
    image: Image.Image, range: GreyRange | None = None, *, max_pixels: int = MAX_PIXELS, turn: bool = True
) -> Image.Image:
    """An image that is open, decoded to 8 bits per channel.

    Args:
        image: of any mode.
        range: values that are black and white in grey images of more than 8 bits.
        max_pixels: most pixels that a tile of it may have, as what was given to `shrink`.
        turn: whether the camera's orientation is applied.

    Raises:
        DataError: it is not known which of its values is white.
        Exception: whatever Pillow raises.
    """
    depth = Depth.of(image)
    with pillows_limit(max_pixels):
        image.load()
    image = ImageOps.exif_transpose(image) if turn else image
    return depth.reduce(image, range) if depth else image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode as RGB: transparency on white; 16-bit and float grey scaled to 8 bits, if its range is known."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if depth := Depth.of(image):
        image = depth.reduce(image, None)
    if image.has_transparency_data:
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_array(array: np.ndarray, range: GreyRange | None) -> Image.Image:
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DataError(
            f"image arrays have shape [height, width] or [height, width, 1, 3 or 4], not "
            f"{list(array.shape)}; move the channels last"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind not in "iuf":
        raise DataError(f"an image array is of numbers, not {array.dtype}; convert it to uint8")
    elif array.dtype != np.uint8 or range:
        if array.dtype == np.uint8 and range and not 0 <= range.low < range.high <= 255:
            raise DataError(f"it is an array of uint8, which cannot be on the range {range}: leave range out for such")
        array = _deep_array(array, range)
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _deep_array(array: np.ndarray, range: GreyRange | None) -> np.ndarray:
    if array.ndim == 2 or array.shape[2] < 4:
        return eight_bits(array, range)
    opacity = UNIT if array.dtype.kind == "f" else range or FULL
    return np.concatenate([eight_bits(array[:, :, :3], range), opacity.scaled(array[:, :, 3:])], axis=2)


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
