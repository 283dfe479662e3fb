"""The images that the pocket backbone is pre-trained on: four families of procedural images.

- fractals: iterated function systems, of the kind of the pocket domain of that name, but other systems;
- contours: nested closed curves (after Kataoka et al. 2022, *Replacing labeled real-image datasets with auto-generated
  contours*);
- islands: level sets and level lines of a few plane waves;
- noise: octaves of smooth noise.

Colours, grounds and sensor noise are put on by the code of the pocket domains.
"""

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smat.domains.pocket.drawing import Mask, Pixels, Rng, Sheet, finish, paint, palette, pose
from smat.domains.pocket.fractals import System, define_fractals, draw_fractal
from smat.rng import numpy_generator

SIZE = 32
ANGLES = np.linspace(0, 2 * np.pi, 97)
GRID = np.stack(np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE)), axis=-1).reshape(-1, 2)


def draw_steady_fractal(system: System, rng: Rng, size: int) -> Pixels:
    return draw_fractal(system, rng, size, wobble=0.12, turn=0.8)


@dataclass(frozen=True)
class Contour:
    """Radius 1 + sum of waves[k] around the centre, drawn `rings` times smaller and smaller, each one turned."""

    waves: np.ndarray
    rings: int
    gap: float
    turn: float
    filled: bool


def define_contours(rng: Rng, count: int) -> list[Contour]:
    found = []
    for _ in range(count):
        orders = rng.choice(np.arange(1, 12), int(rng.integers(1, 4)), replace=False)
        waves = np.stack([orders, rng.uniform(0.08, 0.45, len(orders)), rng.uniform(0, 2 * np.pi, len(orders))], 1)
        filled = bool(rng.random() < 0.4)
        rings = int(rng.integers(1, 4))
        found.append(Contour(waves, rings, rng.uniform(0.45, 0.75), rng.uniform(-0.6, 0.6), filled))
    return found


def draw_contour(contour: Contour, rng: Rng, size: int) -> Pixels:
    radius = np.ones_like(ANGLES)
    for order, height, phase in contour.waves:
        radius += height * rng.uniform(0.75, 1.25) * np.cos(order * ANGLES + phase + rng.normal(0, 0.15))
    radius /= np.abs(radius).max()
    rings = []
    for k in range(contour.rings):
        angles = ANGLES + contour.turn * k
        rings.append(contour.gap**k * radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    seen = pose(np.concatenate(rings), rng, turn=0.5, scale=(0.6, 1.0))
    sheet = Sheet(size)
    width = rng.uniform(0.05, 0.16)
    for k, ring in enumerate(np.split(seen, contour.rings)):
        if contour.filled:
            sheet.polygon(ring, tone=255 if k % 2 == 0 else 0)
        else:
            sheet.line(ring, width)
    return paint(sheet.mask(), rng)


@dataclass(frozen=True)
class Island:
    """A sum of plane waves in a round window: where it is above a level, or near it (`line`)."""

    waves: np.ndarray
    amplitudes: np.ndarray
    phases: np.ndarray
    level: float
    line: bool


def define_islands(rng: Rng, count: int) -> list[Island]:
    found = []
    for _ in range(count):
        n = int(rng.integers(4, 10))
        waves = rng.normal(0, rng.uniform(2, 5), (2, n))
        amplitudes = rng.uniform(0.3, 1, n) / math.sqrt(n)
        found.append(
            Island(waves, amplitudes, rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.2, 0.3), bool(rng.random() < 0.5))
        )
    return found


def draw_island(island: Island, rng: Rng, size: int) -> Pixels:
    places = pose(GRID, rng, turn=0.4, scale=(0.9, 1.5), shift=0.25)
    phases = island.phases + rng.normal(0, 0.3, len(island.phases))
    field = np.cos(places @ island.waves + phases) @ island.amplitudes
    window = np.hypot(*places.T)
    height = field - 2 * np.maximum(window - 0.8, 0) - island.level
    if island.line:
        shade = np.exp(-((height / rng.uniform(0.1, 0.25)) ** 2)) * (window < 1.1)
    else:
        shade = 1 / (1 + np.exp(-12 * height))
    return paint(shade.reshape(size, size).astype(np.float32), rng)


@dataclass(frozen=True)
class Octaves:
    """Layers of smooth noise: cells along x and y, and weights; then what becomes of their sum."""

    cells: np.ndarray
    weights: np.ndarray
    fold: int


def define_octaves(rng: Rng, count: int) -> list[Octaves]:
    found = []
    for index in range(count):
        n = int(rng.integers(1, 4))
        cells = np.exp(rng.uniform(math.log(2), math.log(24), (n, 2))).astype(int)
        found.append(Octaves(cells, rng.uniform(0.4, 1, n), index % 3))
    return found


def draw_octaves(octaves: Octaves, rng: Rng, size: int) -> Pixels:
    field = np.zeros((size, size))
    zoom = rng.uniform(0.85, 1.2)
    for cells, weight in zip(octaves.cells, octaves.weights, strict=True):
        field += weight * stretched_noise(rng, size, np.maximum(np.round(cells * zoom), 2).astype(int))
    field = (field - field.mean()) / (field.std() + 1e-6)
    shade = (
        np.clip(0.5 + 0.25 * field, 0, 1),
        1 / (1 + np.exp(-8 * field)),
        np.exp(-3 * field**2),
    )[octaves.fold]
    low, high = palette(rng, 2, contrast=0.3)
    return finish(low + (high - low) * shade[..., None], rng)


def stretched_noise(rng: Rng, size: int, cells: np.ndarray) -> Mask:
    """Smooth noise with different numbers of cells along x and y."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells[1], cells[0]), dtype=np.float32))
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[0, 0].numpy()


FAMILIES: dict[str, tuple[float, Callable[[Rng, int], list[Any]], Callable[[Any, Rng, int], Pixels]]] = {
    # share of the classes, define, draw
    "fractals": (0.3, define_fractals, draw_steady_fractal),
    "contours": (0.25, define_contours, draw_contour),
    "islands": (0.3, define_islands, draw_island),
    "noise": (0.15, define_octaves, draw_octaves),
}


def draw_class(job: tuple[str, int, Any, int, int]) -> np.ndarray:
    """All images of one class, uint8 [images, size, size, 3]."""
    torch.set_num_threads(1)
    name, index, parameters, images, seed = job
    draw = FAMILIES[name][2]
    rngs = (numpy_generator(seed, f"pretraining/{name}/images", index, i) for i in range(images))
    return np.stack([draw(parameters, rng, SIZE) for rng in rngs])


def make_images(classes: int, images: int, seed: int, workers: int) -> Tensor:
    """The training images, uint8 [classes, images, 3, size, size]."""
    jobs = []
    for name, (share, define, _) in FAMILIES.items():
        parameters = define(numpy_generator(seed, f"pretraining/{name}/classes"), round(share * classes))
        jobs += [(name, index, p, images, seed) for index, p in enumerate(parameters)]
    data = torch.empty(len(jobs), images, 3, SIZE, SIZE, dtype=torch.uint8)
    with ProcessPoolExecutor(workers) as pool:
        for index, drawn in enumerate(pool.map(draw_class, jobs, chunksize=4)):
            data[index] = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    return data
