"""Cut-out signs: each class a polygon with a polygonal hole, each image a pose, colours and clutter."""

from dataclasses import dataclass

import numpy as np

from smat.domains.pocket.drawing import Pixels, Points, Rng, Sheet, paint, pose


@dataclass(frozen=True)
class Ring:
    """A closed line around the centre whose radius goes up and down.

    Attributes:
        corners: how many outer corners, 2 or more (2 is a slab).
        depth: radius of the inner corners relative to the outer; 1 leaves them out: a regular polygon.
        twist: by how much of a corner's step the inner corners are turned, in [-0.4, 0.4]; 0 is symmetric.
    """

    corners: int
    depth: float
    twist: float

    def points(self, radius: float, turn: float) -> Points:
        """The corners of the line, in unit coordinates."""
        step = 2 * np.pi / self.corners
        outer = np.arange(self.corners) * step + turn
        if self.depth >= 1:
            return radius * np.stack([np.cos(outer), np.sin(outer)], axis=1)
        inner = outer + step * (0.5 + self.twist)
        angles = np.stack([outer, inner], axis=1).ravel()
        radii = radius * np.tile([1.0, self.depth], self.corners)
        return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@dataclass(frozen=True)
class Sign:
    """A ring, the hole in it (None: no hole), the hole's radius and its turn against the ring."""

    body: Ring
    hole: Ring | None
    hole_radius: float
    hole_turn: float


def random_ring(rng: Rng) -> Ring:
    """A regular polygon (3 to 7 corners), or a star (2 to 8 points), at times a twisted one."""
    if rng.random() < 0.35:
        return Ring(int(rng.integers(3, 8)), 1.0, 0.0)
    return Ring(int(rng.integers(2, 9)), rng.uniform(0.3, 0.75), float(rng.choice([0, 0, -0.35, 0.35])))


def define_polygons(rng: Rng, count: int) -> list[Sign]:
    """Signs of which no two have bodies and holes of the same kinds."""
    signs: dict[tuple, Sign] = {}
    while len(signs) < count:
        body = random_ring(rng)
        hole = random_ring(rng) if rng.random() < 0.7 else None
        core = body.depth * np.cos(np.pi / body.corners) if body.depth >= 1 else body.depth
        sign = Sign(body, hole, max(0.3, 0.9 * float(core)), rng.uniform(0, np.pi))
        kind = tuple(r and (r.corners, round(4 * r.depth), r.twist) for r in (body, hole))
        signs.setdefault(kind, sign)
    return list(signs.values())


def draw_polygon(sign: Sign, rng: Rng, size: int) -> Pixels:
    """The sign in any orientation, filled or as outlines, before a few thin straws."""
    sheet = Sheet(size)
    for _ in range(rng.integers(0, 3)):
        sheet.line(rng.uniform(-1.2, 1.2, (2, 2)), 0.04, tone=170)
    turn, scale = rng.uniform(0, 2 * np.pi), (0.65, 0.95)
    body = sign.body.points(1.0, turn)
    hole = sign.hole.points(sign.hole_radius, turn + sign.hole_turn) if sign.hole else body[:0]
    seen = pose(np.concatenate([body, hole]), rng, turn=0.0, scale=scale)
    body, hole = seen[: len(body)], seen[len(body) :]
    if rng.random() < 0.3:
        for ring in (body, hole):
            if len(ring):
                sheet.line(np.concatenate([ring, ring[:2]]), 0.1)
    else:
        sheet.polygon(body)
        if len(hole):
            sheet.polygon(hole, tone=0)
    return paint(sheet.mask(), rng)
