"""Elementary cellular automata: each class a rule, each image its history from another random start.

Wolfram (1983), *Statistical mechanics of cellular automata*.
"""

import numpy as np
from PIL import Image

from smat.domains.pocket.drawing import Pixels, Rng, finish, palette

# Rules whose histories stay alive and differ in looks; of mirrored or complemented twins only one is here.
RULES = (
    18,
    22,
    25,
    26,
    28,
    30,
    37,
    41,
    45,
    50,
    54,
    57,
    60,
    62,
    73,
    90,
    94,
    105,
    110,
    122,
    126,
    150,
    154,
    184,
)
SETTLE = 12


def define_automata(rng: Rng, count: int) -> list[int]:
    """The first `count` of the rules, shuffled."""
    return [RULES[i] for i in rng.permutation(len(RULES))[:count]]


def draw_automaton(rule: int, rng: Rng, size: int) -> Pixels:
    """Time goes down; 14 to 24 cells a side, two colours, a start of any density, a few cells misread."""
    width = int(rng.integers(14, 25))
    table = (rule >> np.arange(8)) & 1
    ring = np.arange(2 * width)
    neighbours = np.stack([ring - 1, ring, ring + 1], axis=1) % len(ring)
    history = np.empty((SETTLE + width, len(ring)), dtype=np.int64)
    state = (rng.random(len(ring)) < rng.uniform(0.2, 0.8)).astype(np.int64)
    powers = np.array([4, 2, 1])
    for t in range(len(history)):
        history[t] = state
        state = table[state[neighbours] @ powers]
    cells = history[SETTLE:, :width] ^ (rng.random((width, width)) < rng.uniform(0, 0.05))
    picture = Image.fromarray((cells * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BOX)
    shade = np.asarray(picture, dtype=np.float32)[..., None] / 255
    low, high = palette(rng, 2, contrast=0.3)
    return finish(low + (high - low) * shade, rng)
