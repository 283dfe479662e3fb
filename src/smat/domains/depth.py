"""How image files store more than 8 bits, and such images as 8 bits."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from smat.domains.grey import FULL, GreyRange, Number, bits_for, eight_bits
from smat.errors import DataError

# Tags of TIFF.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _SMALLEST, _LARGEST = 258, 262, 339, 340, 341


@dataclass(frozen=True)
class Depth:
    """How an image that is open, but not decoded, stores more than 8 bits.

    Attributes:
        colour: more than one channel, of which Pillow keeps the upper 8 bits.
        type: number type of the values in the file; None: that which Pillow decodes them to.
        share: what decoded values are multiplied by to be the file's.
        stated: value that is white, as the file says.
        inverted: whether 0 is white.
        transparent: value of what is transparent.
    """

    colour: bool = False
    type: Literal["uint16", "uint32"] | None = None
    share: float = 1.0
    stated: Number | None = None
    inverted: bool = False
    transparent: int | None = None

    @classmethod
    def of(cls, image: Image.Image) -> "Depth | None":
        """That of an image; None for 8 bits."""
        grey = image.mode in ("I", "F") or image.mode.startswith("I;16")
        if image.format == "TIFF":
            return cls._of_tiff(image) if grey else _deep_colours(image)
        if image.format in ("JPEG2000", "PPM") and image.mode != "F":
            # What is not of 16 bits is scaled to them by Pillow, and colours of fewer to 8.
            white = _jpeg2000_white(image) if image.format == "JPEG2000" else _ppm_white(image)
            said = None if white == 65535 else white
            if grey:
                return cls(type="uint16", share=white / 65535, stated=said)
            return None if said else cls(colour=True)
        # A PNG's sBIT chunk says nothing of the range: values are of 16 bits whatever it says.
        return cls(transparent=image.info.get("transparency")) if grey else _deep_colours(image)

    @classmethod
    def _of_tiff(cls, image: Image.Image) -> "Depth":
        tags = getattr(image, "tag_v2", {})
        bits, form = (_first(tags.get(tag), 1) for tag in (_BITS_PER_SAMPLE, _SAMPLE_FORMAT))
        unsigned = form == 1
        least, most = _first(tags.get(_SMALLEST), 0), _first(tags.get(_LARGEST), 0)
        # The latter may be only what is in the image, unless they are of a number of bits.
        nominal = unsigned and least == 0 and 255 <= most == bits_for(most) < 2**bits - 1
        said = most if nominal else 2**bits - 1 if unsigned and 8 < bits < 16 else None
        return cls(
            type="uint32" if unsigned and bits == 32 else None, stated=said, inverted=tags.get(_PHOTOMETRIC) == 0
        )

    def values(self, image: Image.Image) -> np.ndarray:
        """The values of a decoded grey image, as in its file."""
        values = np.asarray(image)
        values = values if self.share == 1 else np.rint(values * self.share)
        return values.astype(self.type) if self.type else values

    def reduce(self, image: Image.Image, told: GreyRange | None) -> Image.Image:
        """A decoded image as one of 8 bits, grey if it is grey, with white where it was transparent.

        Raises:
            DataError: as for `eight_bits`; or colours that cannot be read on the range.
        """
        if self.colour:
            return _colours(image, told)
        values = self.values(image)
        grey = eight_bits(values, told, self.stated)
        if self.inverted:
            grey = 255 - grey
        if self.transparent is not None:
            grey = np.where(values == self.transparent, np.uint8(255), grey)
        return Image.fromarray(grey)


def _first(tag: Any, default: int) -> Number:
    value = tag[0] if isinstance(tag, tuple) and tag else tag
    return value if isinstance(value, int | float) else default


def stored_as(image: Image.Image) -> str:
    """How pixels are stored in a file that is open, but not decoded, in Pillow's words, such as `RGB;16B`."""
    args = tile[0].args if (tile := getattr(image, "tile", None)) else ()
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _deep_colours(image: Image.Image) -> Depth | None:
    return Depth(colour=True) if image.format in ("PNG", "TIFF") and ";16" in stored_as(image) else None


def _colours(image: Image.Image, told: GreyRange | None) -> Image.Image:
    bands = [band for band in image.getbands() if band not in "AaX"]
    peak = max(int(np.asarray(image.getchannel(band)).max()) for band in bands)
    dark = image.mode != "CMYK" and peak < 128
    if told not in (None, FULL) or (told is None and dark):
        advice = "" if told else ", or say --range 0 65535 (range) if it is only dark"
        raise DataError(
            f"it has colours of 16 bits, with values of at most {256 * peak + 255}, and only grey images can be read "
            f"on another range than 0 65535: convert it to 8 bits{advice}"
        )
    clear = image.info.get("transparency")
    if isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    return image


def _ppm_white(image: Image.Image) -> int:
    tile = getattr(image, "tile", None)
    args = tile[0].args if tile else ()
    return args[-1] if isinstance(args, tuple) and args else 65535 if image.mode == "I" else 255


def _jpeg2000_white(image: Image.Image) -> int:
    """From the bits per sample of the first component, in the head of the codestream."""
    head = b""
    if file := getattr(image, "fp", None):
        place = file.tell()
        file.seek(0)
        head = file.read(2**16)
        file.seek(place)
    start = head.find(b"\xff\x4f\xff\x51")
    bits = (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 16 if image.mode == "I;16" else 8
    return 2**bits - 1
