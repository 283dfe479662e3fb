"""Plants grown by bracketed L-systems: each class a production rule, each image one plant of that kind.

Prusinkiewicz & Lindenmayer (1990), *The algorithmic beauty of plants*, section 1.6.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from smat.domains.pocket.drawing import Pixels, Rng, Sheet, paint

MOST_SEGMENTS = 160


@dataclass(frozen=True)
class Plant:
    """The segments of a grown plant, parents before children, and how it looks.

    Attributes:
        parents: the segment that each one grows on; -1 for the first.
        turns: turn against the parent, radians.
        depths: how many forks away from the stem.
        lengths: a segment's length.
        leaf: radius of the leaf on every tip, 0 for none.
    """

    parents: Int[np.ndarray, " segments"]
    turns: Float[np.ndarray, " segments"]
    depths: Int[np.ndarray, " segments"]
    lengths: Float[np.ndarray, " segments"]
    leaf: float

    @property
    def tips(self) -> Int[np.ndarray, " tips"]:
        """Segments on which nothing grows."""
        return np.setdiff1d(np.arange(len(self.parents)), self.parents)


def random_rule(rng: Rng) -> str:
    """A production for F such as `F[+F]F[-F]`: one or two stem pieces and one to three branches."""
    pieces = ["F"] * int(rng.integers(1, 3))
    for _ in range(rng.integers(1, 4)):
        branch = "[" + str(rng.choice(["+", "-", "++", "--"])) + "F" * int(rng.integers(1, 3)) + "]"
        pieces.insert(int(rng.integers(1, len(pieces) + 1)), branch)
    if rng.random() < 0.4:
        pieces.insert(1, str(rng.choice(["+", "-"])))
    return "".join(pieces)


def grow(rule: str, angle: float, shrink: float, leaf: float) -> Plant:
    """Rewrite F by the rule until the plant is big enough, and read the string with a turtle."""
    word = rule
    while word.count("F") * rule.count("F") <= MOST_SEGMENTS:
        word = word.replace("F", rule)
    parents, turns, depths, lengths = [], [], [], []
    tip, turn, depth = -1, 0.0, 0
    stack: list[tuple[int, float, int]] = []
    for sign in word:
        if sign == "F":
            parents.append(tip)
            turns.append(turn)
            depths.append(depth)
            lengths.append(shrink**depth)
            tip, turn = len(parents) - 1, 0.0
        elif sign == "[":
            stack.append((tip, turn, depth))
            depth += 1
        elif sign == "]":
            tip, turn, depth = stack.pop()
        else:
            turn += angle if sign == "+" else -angle
    return Plant(np.array(parents), np.array(turns), np.array(depths), np.array(lengths), leaf)


def define_plants(rng: Rng, count: int) -> list[Plant]:
    """Plants of which no two have the same rule."""
    plants: dict[str, Plant] = {}
    while len(plants) < count:
        rule = random_rule(rng)
        leaf = float(rng.choice([0, 0, 0.06, 0.1]))
        plant = grow(rule, rng.uniform(0.3, 0.9), rng.uniform(0.6, 0.95), leaf)
        if len(plant.parents) >= 16:
            plants.setdefault(rule, plant)
    return list(plants.values())


def draw_plant(plant: Plant, rng: Rng, size: int) -> Pixels:
    """One plant of the kind: every turn and length a little off, leaning, at times mirrored."""
    count = len(plant.parents)
    turns = plant.turns * rng.uniform(0.7, 1.3) + rng.normal(0, 0.16, count)
    lengths = plant.lengths * rng.uniform(0.7, 1.3, count)
    side = rng.choice([-1, 1])
    headings, x, y = [0.0] * count, [0.0] * count, [0.0] * count
    start = np.zeros((count, 2))
    lean = rng.normal(0, 0.15)
    for i, (parent, turn, length) in enumerate(
        zip(plant.parents.tolist(), (side * turns).tolist(), lengths.tolist(), strict=True)
    ):
        heading, x0, y0 = (lean, 0.0, 0.0) if parent < 0 else (headings[parent], x[parent], y[parent])
        heading += turn
        headings[i], start[i] = heading, (x0, y0)
        x[i], y[i] = x0 + length * np.sin(heading), y0 - length * np.cos(heading)
    end = np.stack([x, y], axis=1)
    corners = np.concatenate([start, end])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = rng.uniform(1.4, 1.85) / (high - low).max()
    shift = -(low + high) / 2 * scale + rng.uniform(-0.1, 0.1, 2)
    return paint(ink(plant, start * scale + shift, end * scale + shift, rng, size), rng)


def ink(
    plant: Plant,
    start: Float[np.ndarray, "segments 2"],
    end: Float[np.ndarray, "segments 2"],
    rng: Rng,
    size: int,
) -> Float[np.ndarray, "size size"]:
    """The mask of a plant whose segments go from `start` to `end`, thinner with every fork."""
    sheet = Sheet(size)
    widths = rng.uniform(0.05, 0.12) * 0.75**plant.depths
    for segment, width in zip(np.stack([start, end], axis=1), widths.tolist(), strict=True):
        sheet.line(segment, width)
    for tip in plant.tips if plant.leaf else ():
        sheet.disc(end[tip], plant.leaf)
    return sheet.mask()
