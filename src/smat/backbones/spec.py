"""What a backbone is, in values that fit a JSON file."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from smat.errors import BackboneError, CheckpointError, ConfigError
from smat.schema import Finite, Positive, Range, from_plain

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Triple = tuple[Finite, Finite, Finite]
Pixels = Annotated[int, Range(1, 4096)]
Margin = Annotated[float, Range(1, 10)]


@dataclass(frozen=True)
class ImageFormat:
    """The images that a network takes: square, of one size, normalised channel by channel.

    Attributes:
        size: height and width in pixels.
        mean: what is subtracted from the red, green and blue of an image in [0, 1].
        std: what the difference is then divided by; with the default of both, images stay in [0, 1].
    """

    size: int
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class ImageOptions:
    """What the images of a backbone are, where it is not to be what its checkpoint says.

    Attributes:
        image_size: side of a backbone's images in pixels; by default that of its checkpoint.
        mean: mean that the red, green and blue of a backbone's images, in 0..1, are normalised with, or one number for
            all three; by default that of its checkpoint.
        std: standard deviation of the colours, likewise.

    Raises:
        BackboneError: no number of pixels from 1 to 4096.
        ConfigError: not one number or three, or a standard deviation that is not above 0.
    """

    image_size: int | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        size = self.image_size
        if size is not None and not 1 <= size <= 4096:
            raise BackboneError(f"image_size {size} (--image-size): give a positive number of pixels, at most 4096")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _per_colour(name, getattr(self, name)))


@dataclass(frozen=True)
class BackboneSpec:
    """Enough to rebuild a backbone's architecture without the hub; `dataclasses.asdict` makes it JSON-able.

    Attributes:
        kind: `"transformers"`, `"timm"`, `"own"` for a network that the user's own code makes, or `"module"` for one
            that the caller brings.
        name: what was asked for: a hub name, a folder, `"pocket"`, `"timm:NAME"`, `"module:PATH"`, or a module's class
            name.
        config: the transformers configuration, timm's arguments, import path and arguments of the user's own code, or
            `{}` for a module.
        image_size: height and width of the images in pixels.
        mean: what is subtracted from the red, green and blue of an image in [0, 1].
        std: what the difference is then divided by.
        feature: which output is the feature: `"pooler"`, `"cls"` (the first token), `"mean"` (over the
            tokens), or `"output"` (what the network returns).
        margin: side of the square that an image is cut to over `image_size`, of which the network sees the centre; 8/7
            is what ImageNet networks are usually tested with (256 to 224), 1 cuts nothing away.
    """

    kind: str
    name: str
    config: dict[str, Any]
    image_size: Pixels
    mean: Triple
    std: tuple[Positive, Positive, Positive]
    feature: str
    margin: Margin = 8 / 7

    @property
    def image_format(self) -> ImageFormat:
        """The images that the network takes."""
        return ImageFormat(self.image_size, self.mean, self.std)

    @property
    def hub_name(self) -> str | None:
        """Its name on the Hugging Face hub, as seen from where it was loaded; None for networks from elsewhere."""
        name = self.name.removeprefix("timm:hf-hub:")
        owned = re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name, re.ASCII)
        return name if self.kind in ("transformers", "timm") and owned and not Path(name).exists() else None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BackboneSpec":
        """The inverse of `dataclasses.asdict`, also after JSON, which turns tuples into lists.

        Raises:
            CheckpointError: a value that is missing, unknown or of a wrong kind.
        """
        return from_plain(values, cls, "backbone", CheckpointError)


def _per_colour(name: str, given: float | Sequence[float] | None) -> Triple | None:
    """A mean or standard deviation as three numbers."""
    if given is None:
        return None
    values = [given] * 3 if isinstance(given, int | float) else list(given)
    fits = len(values) == 3 and all(isinstance(x, int | float) and math.isfinite(x) for x in values)
    if not fits or (name == "std" and min(values) <= 0):
        above = " above 0" if name == "std" else ""
        raise ConfigError(f"{name} is {given} (--{name}): give one number{above}, or three: of red, green and blue")
    red, green, blue = map(float, values)
    return red, green, blue
