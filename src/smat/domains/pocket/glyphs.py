"""Printed characters from the DejaVu fonts that matplotlib carries: each class a character, each image a style."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smat.domains.pocket.drawing import Pixels, Rng, paint, similarity

# Latin, Greek, Cyrillic and signs that all of the fonts below have; of look-alikes across scripts only one is kept.
CHARACTERS = (
    "ABCDEFGHIJKLMNPQRSTUVWXYZabdefghijkmnqrty0123456789ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπσφψωБДЖИЛЦЧЩЪЭЮЯ&@#%?!$€£§¶+×÷=±∞∫√≈≠≤∂"
)
FACES = ("Sans", "SansMono", "Serif")
STYLES = {
    "Sans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "SansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "Serif": ("", "-Bold", "-Italic", "-BoldItalic"),
}
FONTS = tuple(f"DejaVu{face}{style}.ttf" for face in FACES for style in STYLES[face])


@lru_cache(maxsize=64)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of matplotlib's, opened once per process."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def define_glyphs(rng: Rng, count: int) -> list[str]:
    """The first `count` of the characters, shuffled."""
    return [CHARACTERS[i] for i in rng.permutation(len(CHARACTERS))[:count]]


def draw_glyph(character: str, rng: Rng, size: int) -> Pixels:
    """The character in any of twelve fonts, filled or outlined, turned, sheared, scaled, on any ground."""
    sheet = Image.new("L", (3 * size, 3 * size))
    style = font(FONTS[rng.integers(len(FONTS))], 2 * size)
    outline = 2 if rng.random() < 0.25 else 0
    pen = ImageDraw.Draw(sheet)
    centre = (1.5 * size, 1.5 * size)
    left, top, right, bottom = pen.textbbox((0, 0), character, font=style)
    corner = (centre[0] - (left + right) / 2, centre[1] - (top + bottom) / 2)
    pen.text(corner, character, fill=255, font=style, stroke_width=outline)
    if outline:
        pen.text(corner, character, fill=0, font=style)
    # The affine map goes from the image back to the sheet; its scale is sheet pixels an image pixel.
    extent = max(right - left, bottom - top, size)
    back = similarity(rng.uniform(-0.35, 0.35), extent / (2 * size * rng.uniform(0.6, 0.95)))
    back = back @ (np.eye(2) + rng.normal(0, 0.12, (2, 2)))
    shift = np.array(centre) - back @ (np.array([size, size]) * (1 + rng.uniform(-0.12, 0.12, 2)))
    (a, b), (d, e) = back.tolist()
    turned = sheet.transform(
        (2 * size, 2 * size),
        Image.Transform.AFFINE,
        (a, b, shift[0], d, e, shift[1]),
        Image.Resampling.BILINEAR,
    )
    return paint(np.asarray(turned.reduce(2), dtype=np.float32) / 255, rng)
