"""Grey images of more than 8 bits: which of their values is black and which white.

Cameras store 10, 12 or 14 bits in 16, and floats can be anything. The range is a collection's, never that of one image:
two images can be compared only on one range. An image is read on the range that was given for all; else on that which
its file states; else on that of its type, where its values leave no doubt; and else it is refused.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from smat.errors import ConfigError, DataError

Number = int | float
RangeOption = tuple[Number, Number] | Literal["auto"] | None
"""The values of deep grey images that are black and white; `"auto"`: of all images; None: not said."""

_BLOCK = 2**22  # values that are scaled at a time, as floats


@dataclass(frozen=True)
class GreyRange:
    """What deep grey images are read on: values from `low`, which is black, to `high`, which is white.

    Raises:
        ConfigError: numbers that are not finite, or not in this order.
    """

    low: Number
    high: Number

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"the range is {self}: give two numbers, the value that is black and a larger one that is white, as in "
                "--range 0 4095 (range)"
            )

    def __str__(self) -> str:
        return f"{_text(self.low)} {_text(self.high)}"

    def scaled(self, values: np.ndarray) -> UInt8[np.ndarray, "..."]:
        """Values as 8 bits; those outside the range become black and white."""
        flat = np.ascontiguousarray(values).reshape(-1)
        grey = np.empty(flat.shape, np.uint8)
        for start in range(0, len(flat), _BLOCK):
            share = (flat[start : start + _BLOCK].astype(np.float64) - self.low) / (self.high - self.low)
            grey[start : start + _BLOCK] = np.rint(share.clip(0, 1) * 255)
        return grey.reshape(values.shape)


FULL = GreyRange(0, 65535)
UNIT = GreyRange(0, 1)


@dataclass(frozen=True)
class Extremes:
    """Smallest and largest finite value of one image or several, and whether they are whole numbers."""

    whole: bool
    low: float
    high: float
    name: str

    @classmethod
    def of(cls, values: np.ndarray, name: str) -> "Extremes | None":
        """Those of an image's values; None if none is finite."""
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        return cls(values.dtype.kind != "f", float(finite.min()), float(finite.max()), name) if finite.size else None


def common_range(found: Iterable[Extremes]) -> GreyRange | None:
    """The range that holds all images of a collection; None without any.

    For whole numbers that are not negative, it is 0 to the largest number of as many bits as they take, such as 4095;
    for others, their smallest value, or 0 if that is smaller, to their largest.

    Raises:
        DataError: whole numbers and floats, which have no range in common.
    """
    first: dict[bool, str] = {}
    low, high = 0.0, 0.0
    for one in found:
        first.setdefault(one.whole, one.name)
        low, high = min(low, one.low), max(high, one.high)
    if len(first) > 1:
        raise DataError(
            f"there is no one range for whole numbers, as in {first[True]}, and floats, as in {first[False]}: give "
            "these apart, or convert one kind to 8 bits"
        )
    if not first or low == high:
        return None  # black all over, on any range
    return GreyRange(0, bits_for(high)) if first.keys() == {True} and low == 0 else GreyRange(low, high)


def eight_bits(values: np.ndarray, told: GreyRange | None, stated: Number | None = None) -> UInt8[np.ndarray, "..."]:
    """Values of a deep image as 8 bits.

    Args:
        values: of numbers of any type.
        told: the collection's range.
        stated: value that is white, as the file says.

    Raises:
        DataError: values that are no numbers, or whose range is not known.
    """
    floats = values.dtype.kind == "f"
    if floats and (wrong := int(np.isnan(values).sum())):
        raise DataError(
            f"{wrong} of its {values.size} values are no numbers (NaN): put a number of 0..1, or of the range, there"
        )
    if told:
        grey = told.scaled(values)
        if floats and grey.min() == grey.max() and values.min() < values.max():
            raise DataError(
                f"its values are {_span(values)}, floats, which all come out alike on the range {told}: give the range "
                "of such images with --range LOW HIGH (range), apart from others"
            )
        return grey
    if stated is not None:
        return GreyRange(0, stated).scaled(values)
    if values.dtype == np.uint16 and (values.max() >= 2**15 or not values.any()):
        return FULL.scaled(values)
    if floats and values.min() >= 0 and values.max() <= 1:
        return UNIT.scaled(values)
    raise DataError(_unknown(values))


def _unknown(values: np.ndarray) -> str:
    usual = "within 0..1" if values.dtype.kind == "f" else "of all 16 bits" if values.dtype == np.uint16 else None
    found = f"its values are {_span(values)}" + (f", not {usual}" if usual else f" of type {values.dtype}")
    low, high = min(0, values.min()), values.max()
    such = f", such as --range {low} {bits_for(int(high))}" if values.dtype.kind in "iu" else ""
    dark = ", or --range 0 65535 if they are only dark" if values.dtype == np.uint16 else ""
    return (
        f"{found}, so it is not known which value is white: say it for all images by --range LOW HIGH (range){such}"
        f"{dark}; --range auto takes it from all of them"
    )


def bits_for(value: Number) -> int:
    """The largest whole number of as many bits as a value takes, at least 8."""
    return 2 ** max(8, int(value).bit_length()) - 1


def _span(values: np.ndarray) -> str:
    return f"{_text(float(values.min()))}..{_text(float(values.max()))}"


def _text(value: Number) -> str:
    return f"{value:.0f}" if math.isfinite(value) and value == int(value) else f"{value:g}"
