"""What the pocket generators share: poses, pens, backgrounds and colours.

Shapes live in a square with corners (-1, -1) and (1, 1), y downwards; pens draw them on a grey sheet `OVERSAMPLE`
times as fine as the image, which is then averaged down to a coverage mask between 0 and 1.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

OVERSAMPLE = 3
LUMINANCE = np.array([0.299, 0.587, 0.114])

Rng: TypeAlias = np.random.Generator
Points: TypeAlias = Float[np.ndarray, "points 2"]
Place: TypeAlias = Float[np.ndarray, " 2"]
Mask: TypeAlias = Float[np.ndarray, "height width"]
Pixels: TypeAlias = UInt8[np.ndarray, "height width 3"]


class Sheet:
    """A grey sheet to draw on with pens and brushes given in unit coordinates.

    Args:
        size: side of the finished mask in pixels.
    """

    def __init__(self, size: int) -> None:
        self.side = size * OVERSAMPLE
        self.image = Image.new("L", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image)

    def scaled(self, points: Points) -> list[float]:
        """The points on the sheet, as Pillow wants them: x, y, x, y, ..."""
        return ((points + 1) * (self.side / 2)).ravel().tolist()

    def line(self, points: Points, width: float, tone: int = 255) -> None:
        """A polyline with round joints and ends; `width` is in unit coordinates (2 is the whole side)."""
        pixels = max(1, round(width * self.side / 2))
        flat = self.scaled(points)
        self.pen.line(flat, fill=tone, width=pixels, joint="curve" if pixels > 2 else None)
        if pixels > 3:
            for x, y in (flat[:2], flat[-2:]):
                self.pen.circle((x, y), pixels / 2 - 0.5, fill=tone)

    def polygon(self, points: Points, tone: int = 255) -> None:
        """A filled polygon."""
        self.pen.polygon(self.scaled(points), fill=tone)

    def disc(self, centre: Place, radius: float, tone: int = 255) -> None:
        """A filled circle; centre and radius in unit coordinates."""
        x, y = self.scaled(centre[None])
        self.pen.circle((x, y), radius * self.side / 2, fill=tone)

    def mask(self) -> Mask:
        """The share of each pixel that is covered."""
        return np.asarray(self.image.reduce(OVERSAMPLE), dtype=np.float32) / 255


def similarity(angle: float, scale: float = 1.0) -> Float[np.ndarray, "2 2"]:
    """The matrix that turns row vectors by `angle` radians and scales them (`points @ similarity(...)`)."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, s], [-s, c]])


def pose(
    points: Points,
    rng: Rng,
    turn: float,
    scale: tuple[float, float] = (0.6, 0.9),
    stretch: float = 0.15,
    shift: float = 0.15,
) -> Points:
    """The points seen from a random viewpoint.

    Args:
        points: unit coordinates.
        rng: where the randomness comes from.
        turn: rotation is uniform within plus or minus this many radians.
        scale: range of the scale.
        stretch: standard deviation of the stretching and shearing.
        shift: the largest shift along each axis.
    """
    affine = np.eye(2) + rng.normal(0, stretch, (2, 2)) * 0.7
    turned = points @ affine @ similarity(rng.uniform(-turn, turn), rng.uniform(*scale))
    return turned + rng.uniform(-shift, shift, 2)


def smooth_field(rng: Rng, size: int, cells: int) -> Mask:
    """A smooth random field between 0 and 1: `cells` x `cells` random values, interpolated."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32) / 255


def palette(rng: Rng, count: int, contrast: float = 0.18) -> Float[np.ndarray, "count 3"]:
    """Random RGB colours in [0, 1], the darkest first, so that hues say nothing and only light and dark count.

    Args:
        rng: where the randomness comes from.
        count: how many, at most 4.
        contrast: the least difference between any two luminances (before colours are clipped to the range).
    """
    spare = 1 - contrast * (count - 1)
    luminances = np.sort(rng.uniform(0, spare, count)) + contrast * np.arange(count)
    tint = rng.uniform(-0.35, 0.35, (count, 3))
    tint -= (tint @ LUMINANCE)[:, None]
    return np.clip(luminances[:, None] + tint, 0, 1)


def finish(colours: Float[np.ndarray, "height width 3"], rng: Rng) -> Pixels:
    """Add sensor noise of a random strength (0 to 0.06) to colours in [0, 1] and make bytes of them."""
    noise = rng.standard_normal(colours.shape, dtype=np.float32) * rng.uniform(0, 0.06)
    return (np.clip(colours + noise, 0, 1) * 255).astype(np.uint8)


def paint(mask: Mask, rng: Rng) -> Pixels:
    """Dark ink, where the mask says, on lighter paper, flat or uneven.

    Hues are drawn for each image, so that they say nothing about its class.
    """
    size = len(mask)
    ink, paper = palette(rng, 2, contrast=0.35).astype(np.float32)
    ground = np.broadcast_to(paper, (size, size, 3))
    if rng.random() < 0.6:
        unevenness = smooth_field(rng, size, int(rng.integers(2, 6)))[..., None] - 0.5
        ground = ground + unevenness * rng.uniform(-0.4, 0.4, 3).astype(np.float32)
    alpha = mask[..., None]
    return finish(ground * (1 - alpha) + ink * alpha, rng)
