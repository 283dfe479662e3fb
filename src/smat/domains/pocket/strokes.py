"""Hand-drawn signs: each class a pen program of a few curved strokes, each image a shaky redrawing of it."""

import numpy as np
from jaxtyping import Float

from smat.domains.pocket.drawing import Pixels, Rng, Sheet, paint, pose

T = np.linspace(0, 1, 10)[:, None]
BERNSTEIN = np.concatenate([(1 - T) ** 3, 3 * T * (1 - T) ** 2, 3 * T**2 * (1 - T), T**3], axis=1)

Program = Float[np.ndarray, "strokes 4 2"]


def define_strokes(rng: Rng, count: int) -> list[Program]:
    """Pen programs of which no two are the same: three of eight curves, each at one of four places.

    The curves (cubic Beziers) are the same for all classes, as the strokes of a script are for its characters.
    """
    curves = rng.uniform(-0.75, 0.75, (8, 4, 2))
    curves -= curves.mean(axis=1, keepdims=True)
    places = np.array([[-0.4, -0.4], [0.4, -0.4], [-0.4, 0.4], [0.4, 0.4]])
    programs: dict[bytes, Program] = {}
    while len(programs) < count:
        which = np.sort(rng.choice(len(curves), 3, replace=False))
        strokes = curves[which] + places[rng.choice(len(places), 3, replace=False)][:, None]
        programs.setdefault(strokes.tobytes(), strokes / np.abs(strokes).max())
    return list(programs.values())


def draw_strokes(program: Program, rng: Rng, size: int) -> Pixels:
    """Redraw the program: control points jittered, the whole turned a little, any pen, any colours."""
    shaky = program + rng.normal(0, rng.uniform(0.06, 0.2), program.shape)
    seen = pose(shaky.reshape(-1, 2), rng, turn=0.5, scale=(0.6, 0.95)).reshape(program.shape)
    sheet = Sheet(size)
    width = rng.uniform(0.08, 0.22)
    for stroke in seen:
        sheet.line(BERNSTEIN @ stroke, width)
    return paint(sheet.mask(), rng)
