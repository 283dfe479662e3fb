"""Hand-drawn signs: each class a pen program of a few curved strokes, each image a shaky redrawing of it."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from smat.episodes.pocket.drawing import Pixels, Rng, Sheet, paint, pose

T = np.linspace(0, 1, 10)[:, None]
BERNSTEIN = np.concatenate([(1 - T) ** 3, 3 * T * (1 - T) ** 2, 3 * T**2 * (1 - T), T**3], axis=1)

Program = Float[np.ndarray, "strokes 4 2"]


def define_strokes(rng: Rng, count: int) -> list[Program]:
    """Pen programs: 2 to 4 cubic Bezier strokes, spread over the sheet; a stroke often starts on the one before."""
    programs = []
    for _ in range(count):
        strokes = rng.uniform(-1, 1, (int(rng.integers(2, 5)), 4, 2))
        for previous, stroke in pairwise(strokes):
            if rng.random() < 0.6:
                stroke[0] = BERNSTEIN[rng.integers(len(T))] @ previous
        flat = strokes.reshape(-1, 2)
        strokes -= (flat.max(axis=0) + flat.min(axis=0)) / 2
        programs.append(strokes / np.abs(strokes).max())
    return programs


def draw_strokes(program: Program, rng: Rng, size: int) -> Pixels:
    """Redraw the program: control points jittered, the whole turned a little, any pen, any colours."""
    shaky = program + rng.normal(0, rng.uniform(0.03, 0.14), program.shape)
    seen = pose(shaky.reshape(-1, 2), rng, turn=0.35, scale=(0.65, 0.95)).reshape(program.shape)
    sheet = Sheet(size)
    width = rng.uniform(0.08, 0.22)
    for stroke in seen:
        sheet.line(BERNSTEIN @ stroke, width)
    return paint(sheet.mask(), rng)
