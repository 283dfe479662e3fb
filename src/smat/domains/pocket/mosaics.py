"""Tilings: each class a lattice, a colouring rule and a tile, each image a size, turn, shift and colours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from smat.domains.pocket.drawing import Pixels, Rng, finish, palette, similarity

LATTICES = ("square", "brick", "triangle", "hexagon")
TILES = ("full", "disc", "diamond", "ring")
OVERSAMPLE = 2

Grid = Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Mosaic:
    """A tiling's rule: tile (i, j) has colour (i * step[0] + j * step[1]) mod `tones`.

    Attributes:
        lattice: one of `LATTICES`.
        tile: what is drawn in a tile over the grout, one of `TILES`.
        tones: number of colours, 1 to 3, besides the grout.
        step: the colouring's coefficients.
    """

    lattice: str
    tile: str
    tones: int
    step: tuple[int, int]


def define_mosaics(rng: Rng, count: int) -> list[Mosaic]:
    """Rules that are all different; full tiles have at least two colours, else nothing would show."""
    found: dict[Mosaic, None] = {}
    while len(found) < count:
        tile = str(rng.choice(TILES))
        tones = int(rng.integers(2 if tile == "full" else 1, 4))
        step = (int(rng.integers(1, max(tones, 2))), int(rng.integers(0, tones)))
        found[Mosaic(str(rng.choice(LATTICES)), tile, tones, step)] = None
    return list(found)


def cells(lattice: str, x: Grid, y: Grid) -> tuple[Grid, Grid, Grid, Grid]:
    """The tile's indices (i, j) at each point, and the point's offset (u, v) from the tile's centre.

    Offsets are in units of a tile's side; triangles count in i twice, once for each half of a rhombus.
    """
    if lattice == "hexagon":
        # Two shifted rectangular lattices; the nearer centre wins.
        height = np.sqrt(3)
        i0, j0 = np.round(x), np.round(y / height)
        i1, j1 = np.floor(x) + 0.5, np.floor(y / height) + 0.5
        far = (x - i0) ** 2 + (y - j0 * height) ** 2 > (x - i1) ** 2 + (y - j1 * height) ** 2
        i, j = np.where(far, i1, i0), np.where(far, j1, j0)
        return np.round(i - j), np.round(2 * j), x - i, y - j * height
    if lattice == "triangle":
        skew_y = y / (np.sqrt(3) / 2)
        skew_x = x - skew_y / 2
        i, j = np.floor(skew_x), np.floor(skew_y)
        upper = (skew_x - i) + (skew_y - j) > 1
        third = np.where(upper, 2 / 3, 1 / 3)
        u, v = skew_x - i - third, skew_y - j - third
        return 2 * i + upper, j, (u + v / 2) * 1.5, v * np.sqrt(3) / 2 * 1.5
    j = np.floor(y)
    x = x + (0.5 * np.mod(j, 2) if lattice == "brick" else 0)
    i = np.floor(x)
    return i, j, x - i - 0.5, y - j - 0.5


def coverage(tile: str, u: Grid, v: Grid) -> Float[np.ndarray, "height width"]:
    """1 where the tile is, 0 where the grout shows."""
    if tile == "diamond":
        return (np.abs(u) + np.abs(v) < 0.45).astype(float)
    radius = np.hypot(u, v)
    if tile == "disc":
        return (radius < 0.4).astype(float)
    if tile == "ring":
        return ((radius < 0.45) & (radius > 0.25)).astype(float)
    return np.ones_like(u)


def draw_mosaic(rule: Mosaic, rng: Rng, size: int) -> Pixels:
    """The tiling with 3 to 6 tiles a side."""
    side = size * OVERSAMPLE
    x, y = np.meshgrid(*[np.linspace(-0.5, 0.5, side) * rng.uniform(3, 6)] * 2)
    turn = similarity(rng.uniform(-0.6, 0.6)) @ (np.eye(2) + rng.normal(0, 0.07, (2, 2)))
    x, y = turn[0, 0] * x + turn[1, 0] * y, turn[0, 1] * x + turn[1, 1] * y
    x, y = x + rng.uniform(0, 12), y + rng.uniform(0, 12)
    i, j, u, v = cells(rule.lattice, x, y)
    tone = np.mod(i * rule.step[0] + j * rule.step[1], rule.tones).astype(np.int64)
    colours = palette(rng, rule.tones + 1)
    covered = coverage(rule.tile, u, v)[..., None]
    tiles = colours[1:][tone] * covered + colours[0] * (1 - covered)
    return finish(tiles.reshape(size, OVERSAMPLE, size, OVERSAMPLE, 3).mean(axis=(1, 3)), rng)
