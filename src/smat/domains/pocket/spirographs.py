"""Spirographs: each class the wheels of one, each image a pen, a turn, and slightly bent wheels."""

from dataclasses import dataclass

import numpy as np

from smat.domains.pocket.drawing import Pixels, Rng, Sheet, paint, pose

T = np.linspace(0, 2 * np.pi, 181)


@dataclass(frozen=True)
class Wheels:
    """Three circles that turn on one another: turns (whole, signed) a round, and radii."""

    turns: tuple[int, int, int]
    radii: tuple[float, float, float]


def define_spirographs(rng: Rng, count: int) -> list[Wheels]:
    """Wheels with rotational symmetry of order 2 to 7; no two have the same turns."""
    found: dict[tuple[int, int, int], Wheels] = {}
    while len(found) < count:
        order = int(rng.integers(2, 8))
        # Turns that differ by multiples of `order` make a curve that repeats `order` times round.
        first = int(rng.choice([1, 2] if order % 2 else [1]))
        second = first - order * int(rng.choice([-1, 1, 1]))
        third = first + order * int(rng.choice([-2, 2]))
        turns = (first, second, third)
        found.setdefault(turns, Wheels(turns, (1.0, rng.uniform(0.3, 1.2), rng.uniform(0, 0.45))))
    return list(found.values())


def draw_spirograph(wheels: Wheels, rng: Rng, size: int) -> Pixels:
    """The curve in any orientation, with radii off by up to three tenths."""
    curve = np.zeros((len(T), 2))
    for turns, radius in zip(wheels.turns, wheels.radii, strict=True):
        radius *= rng.uniform(0.7, 1.3)
        curve += radius * np.stack([np.cos(turns * T), np.sin(turns * T)], axis=1)
    curve /= np.linalg.norm(curve, axis=1).max()
    sheet = Sheet(size)
    sheet.line(pose(curve, rng, turn=np.pi, scale=(0.65, 1.0), stretch=0.2), rng.uniform(0.05, 0.12))
    return paint(sheet.mask(), rng)
