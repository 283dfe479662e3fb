"""Cartoon faces: each class a choice of head, eyes, mouth and top, each image another sitting."""

from dataclasses import dataclass

import numpy as np

from smat.domains.pocket.drawing import Pixels, Points, Rng, Sheet, finish, palette, pose

HEADS = {"round": 32, "square": 4, "hexagon": 6, "shield": 3}
EYES = ("dots", "rings", "dashes", "crosses")
MOUTHS = ("smile", "frown", "flat", "open", "zigzag")
TOPS = ("bald", "ears", "hat", "hair", "antenna")
INK, SKIN = 255.0, 128.0


@dataclass(frozen=True)
class Face:
    """Names of the parts, and how wide the head is and how far apart the eyes are."""

    head: str
    eyes: str
    mouth: str
    top: str
    width: float
    eye_gap: float


def define_faces(rng: Rng, count: int) -> list[Face]:
    """Faces of which any two differ in at least two parts."""
    faces: list[Face] = []
    while len(faces) < count:
        parts = (str(rng.choice(list(HEADS))), *(str(rng.choice(p)) for p in (EYES, MOUTHS, TOPS)))
        face = Face(*parts, width=rng.uniform(0.7, 1.0), eye_gap=rng.uniform(0.2, 0.38))
        others = ((f.head, f.eyes, f.mouth, f.top) for f in faces)
        if all(sum(a != b for a, b in zip(parts, other, strict=True)) >= 2 for other in others):
            faces.append(face)
    return faces


def arc(centre: tuple[float, float], radii: tuple[float, float], start: float = 0.0, stop: float = 2 * np.pi) -> Points:
    """Points on an ellipse between two angles (radians, from the right, clockwise); the whole of it by default."""
    angles = np.linspace(start, stop, 12)
    return np.array(centre) + np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def outline(face: Face) -> Points:
    """The head's outline."""
    corners = HEADS[face.head]
    turn = {4: np.pi / 4, 3: np.pi / 2}.get(corners, 0.0)
    angles = np.arange(corners) * 2 * np.pi / corners + turn
    reach = {4: 1.0, 3: 1.05}.get(corners, 0.8)
    return np.stack([face.width * reach * np.cos(angles), reach * np.sin(angles)], axis=1)


def parts(face: Face) -> list[tuple[str, float, Points]]:
    """What is drawn, in order: ("fill" or "line", tone or width, points)."""
    drawn: list[tuple[str, float, Points]] = []
    side = face.width * 0.7
    if face.top == "ears":
        drawn += [("fill", INK, arc((x, -0.55), (0.3, 0.35))) for x in (-side, side)]
    if face.top == "antenna":
        drawn += [("line", 0.09, np.array([[0, -0.6], [0.0, -1.1]]))]
        drawn += [("fill", INK, arc((0.0, -1.12), (0.14, 0.14)))]
    drawn.append(("fill", SKIN, outline(face)))
    if face.top == "hat":
        drawn.append(("fill", INK, np.array([[-side, -0.5], [side, -0.5], [side * 0.6, -1.15], [-side * 0.6, -1.15]])))
    if face.top == "hair":
        xs = np.linspace(-side, side, 7)
        drawn.append(("line", 0.16, np.stack([xs, -0.75 + 0.16 * (-1.0) ** np.arange(7)], axis=1)))
    for x in (-face.eye_gap, face.eye_gap):
        drawn += eye(face.eyes, x)
    drawn += mouth(face.mouth)
    return drawn


def eye(kind: str, x: float) -> list[tuple[str, float, Points]]:
    """One eye, centred at (x, -0.2)."""
    y = -0.2
    if kind == "dots":
        return [("fill", INK, arc((x, y), (0.12, 0.14)))]
    if kind == "rings":
        return [("line", 0.08, arc((x, y), (0.17, 0.17)))]
    if kind == "dashes":
        return [("line", 0.1, np.array([[x - 0.15, y], [x + 0.15, y]]))]
    return [("line", 0.08, np.array([[x - 0.13, y - d], [x + 0.13, y + d]])) for d in (-0.13, 0.13)]


def mouth(kind: str) -> list[tuple[str, float, Points]]:
    """The mouth, around (0, 0.3)."""
    if kind == "smile":
        return [("line", 0.1, arc((0.0, 0.15), (0.35, 0.28), 0.2, np.pi - 0.2))]
    if kind == "frown":
        return [("line", 0.1, arc((0.0, 0.48), (0.35, 0.28), np.pi + 0.2, 2 * np.pi - 0.2))]
    if kind == "flat":
        return [("line", 0.12, np.array([[-0.3, 0.3], [0.3, 0.3]]))]
    if kind == "open":
        return [("fill", INK, arc((0.0, 0.32), (0.2, 0.2)))]
    xs = np.linspace(-0.36, 0.36, 5)
    return [("line", 0.09, np.stack([xs, 0.3 + 0.11 * (-1.0) ** np.arange(5)], axis=1))]


def draw_face(face: Face, rng: Rng, size: int) -> Pixels:
    """The face tilted and squeezed a little, features moved, in three random colours."""
    drawn = parts(face)
    moved = np.concatenate([p + rng.normal(0, 0.035, 2) for _, _, p in drawn])
    seen = pose(moved * 0.85 + [0, 0.08], rng, turn=0.3, scale=(0.75, 1.05), stretch=0.12, shift=0.12)
    sheet = Sheet(size)
    start, thickness = 0, rng.uniform(0.8, 1.3)
    for how, value, points in drawn:
        piece = seen[start : start + len(points)]
        start += len(points)
        if how == "fill":
            sheet.polygon(piece, tone=int(value))
        else:
            sheet.line(piece, value * thickness, tone=int(INK))
    # Grey levels of the sheet are mixtures of the three colours: paper 0, skin 128, ink 255.
    shade = sheet.mask()[..., None] * (INK / SKIN)
    ink, skin, paper = palette(rng, 3, contrast=0.22)
    colours = np.where(shade < 1, paper + (skin - paper) * shade, skin + (ink - skin) * (shade - 1))
    return finish(colours, rng)
