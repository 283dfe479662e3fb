"""Fractals of iterated function systems: each class a system, each image perturbed maps, a turn and colours.

Kataoka et al. (2020), *Pre-training without natural images*; the systems are drawn by their singular values, as in
Anderson & Farrell (2022), *Improving fractal pre-training*, so that nearly all of them fill a good part of the image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from smat.domains.pocket.drawing import Mask, Pixels, Points, Rng, paint, similarity

CHAINS, STEPS, BURN_IN = 256, 20, 8


@dataclass(frozen=True)
class System:
    """An iterated function system: x -> matrices[k] x + offsets[k], map k chosen with probability weights[k]."""

    matrices: Float[np.ndarray, "maps 2 2"]
    offsets: Float[np.ndarray, "maps 2"]
    weights: Float[np.ndarray, " maps"]


def random_system(rng: Rng) -> System:
    """A contractive system of two to four maps whose singular values sum to a fitting total."""
    maps = int(rng.integers(2, 5))
    # Anderson & Farrell: sum of (first + 2 * second singular value) between (5 + maps)/2 and (6 + maps)/2.
    total = rng.uniform(0.5 * (5 + maps), 0.5 * (6 + maps))
    while True:
        first = rng.uniform(0.3, 0.95, maps)
        second = first * rng.uniform(0.2, 1, maps)
        factor = total / (first + 2 * second).sum()
        if (first * factor).max() < 0.95:
            break
        total *= 0.97
    singular = np.stack([first, second], axis=1) * factor
    matrices = np.stack(
        [
            similarity(rng.uniform(0, 2 * np.pi))
            @ (np.diag(s) * rng.choice([-1, 1], (2, 1)))
            @ similarity(rng.uniform(0, 2 * np.pi))
            for s in singular
        ]
    )
    areas = np.abs(np.linalg.det(matrices)) + 0.02
    return System(matrices, rng.uniform(-1, 1, (maps, 2)), areas / areas.sum())


def chaos_game(system: System, rng: Rng) -> Points:
    """Points of the attractor: many short random walks side by side, without their first steps."""
    choice: Int[np.ndarray, "steps chains"] = rng.choice(
        len(system.weights), p=system.weights, size=(STEPS + BURN_IN, CHAINS)
    )
    # x and y apart: products of single arrays are several times faster than small matrix products.
    (a, b), (c, d) = (system.matrices[:, i].T[:, choice] for i in range(2))
    u, v = system.offsets.T[:, choice]
    x, y = np.zeros(CHAINS), np.zeros(CHAINS)
    walk = np.empty((2, STEPS + BURN_IN, CHAINS))
    for t in range(STEPS + BURN_IN):
        x, y = a[t] * x + b[t] * y + u[t], c[t] * x + d[t] * y + v[t]
        walk[0, t], walk[1, t] = x, y
    return walk[:, BURN_IN:].reshape(2, -1).T


def density(points: Points, size: int) -> Mask:
    """How often each pixel is hit, on a logarithmic scale, 1 where most often."""
    cells = np.floor((points + 1) * (size / 2)).astype(np.int64)
    inside = ((cells >= 0) & (cells < size)).all(axis=1)
    cells = cells[inside]
    hits = np.bincount(cells[:, 1] * size + cells[:, 0], minlength=size * size).astype(np.float32)
    shades = np.log1p(hits)
    return (shades / max(float(shades.max()), 1.0)).reshape(size, size)


def fit(points: Points) -> Points:
    """Shift and scale the points so that nearly all lie in the unit square."""
    low, high = np.quantile(points[::8], 0.02, axis=0), np.quantile(points[::8], 0.98, axis=0)
    return (points - (low + high) / 2) / (0.55 * max(float((high - low).max()), 1e-6))


def define_fractals(rng: Rng, count: int) -> list[System]:
    """Systems that fill at least a tenth of the image, and no more than three quarters of it."""
    systems: list[System] = []
    while len(systems) < count:
        system = random_system(rng)
        filled = (density(fit(chaos_game(system, rng)), 32) > 0).mean()
        if 0.1 < filled < 0.75:
            systems.append(system)
    return systems


def draw_fractal(system: System, rng: Rng, size: int, wobble: float = 0.25, turn: float = np.pi) -> Pixels:
    """The attractor of somewhat other maps, turned, faint or bold.

    Args:
        system: the class.
        rng: where the randomness comes from.
        size: side of the image in pixels.
        wobble: the largest relative change of a matrix element.
        turn: the largest turn, radians.
    """
    matrices = system.matrices * rng.uniform(1 - wobble, 1 + wobble, system.matrices.shape)
    largest = np.linalg.norm(matrices, ord=2, axis=(1, 2)).max()
    matrices *= min(1.0, 0.97 / largest)
    offsets = system.offsets + rng.normal(0, 0.05, system.offsets.shape)
    points = fit(chaos_game(System(matrices, offsets, system.weights), rng))
    points = points @ similarity(rng.uniform(-turn, turn), rng.uniform(0.7, 1.0)) + rng.uniform(-0.12, 0.12, 2)
    return paint(density(points, size) ** rng.uniform(0.3, 0.8), rng)
