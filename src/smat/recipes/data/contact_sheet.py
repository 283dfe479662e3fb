"""A sheet of pictures with names: rows of tiles on white."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

_INK, _GREY, _LINE, _PAPER, _TILE = "#18181b", "#71717a", "#e4e4e7", "#ffffff", "#f4f4f5"
_CHIPS = ("#2563eb", "#ea580c", "#16a34a", "#dc2626", "#9333ea", "#854d0e", "#db2777", "#475569", "#0891b2", "#65a30d")
_EDGE, _GAP, _BETWEEN, _PADDING = 40, 6, 36, 14
_NAMES = 240  # pixels for the names, at most
_LINES = 3  # of a name


@dataclass(frozen=True)
class Row:
    """Pictures under one name.

    Attributes:
        name: text of any length, in any script.
        note: text in small print below it.
        groups: pictures, in groups next to each other.
        chip: number to show on a spot of colour before the name.
    """

    name: str
    note: str
    groups: Sequence[Sequence[Image.Image]]
    chip: int | None = None


def contact_sheet(
    title: str, subtitle: str, rows: Sequence[Row], *, columns: Sequence[int], tile: int, headings: Sequence[str] = ()
) -> Image.Image:
    """Draw a sheet.

    Args:
        title: heading in large letters.
        subtitle: text below it.
        rows: rows from top to bottom; at least one.
        columns: number of pictures of each group next to each other; more go on below.
        tile: side of a picture in pixels; pictures keep their shape, and small ones are enlarged without smoothing.
        headings: headings of the groups.
    """
    indent = 34 if any(row.chip is not None for row in rows) else 0
    names = [_wrapped(row.name, _NAMES - indent, 16) for row in rows]
    text = indent + max(
        *(_width(line, 16) for lines in names for line in lines), *(_width(row.note, 13) for row in rows), 60
    )
    starts, right = [], _EDGE + text + _BETWEEN - _GAP
    for count in columns:
        starts.append(right + _GAP)
        right += count * (tile + _GAP) + _BETWEEN - _GAP
    width = max(right - _BETWEEN + _GAP, _EDGE + _width(title, 30), _EDGE + _width(subtitle, 15)) + _EDGE
    heights = [_height(row, lines, columns, tile) for row, lines in zip(rows, names, strict=True)]
    top = _EDGE + 84 + (26 if headings else 0)
    sheet = Image.new("RGB", (width, top + sum(heights) + _EDGE - _PADDING), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_EDGE, _EDGE), title, _INK, font_for(title, 30, bold=True))
    draw.text((_EDGE, _EDGE + 42), subtitle, _GREY, font_for(subtitle, 15))
    for start, heading in zip(starts, headings, strict=False):
        draw.text((start, top - 26), heading, _GREY, font_for(heading, 14))
    for row, lines, height in zip(rows, names, heights, strict=True):
        draw.line((_EDGE, top, width - _EDGE, top), _LINE)
        _draw_name(draw, row, lines, _EDGE, top + _PADDING, indent)
        for start, count, group in zip(starts, columns, row.groups, strict=True):
            for number, picture in enumerate(group):
                down, across = divmod(number, count)
                corner = start + across * (tile + _GAP), top + _PADDING + down * (tile + _GAP)
                _draw_tile(sheet, draw, picture, corner, tile)
        top += height
    return sheet


def _height(row: Row, lines: Sequence[str], columns: Sequence[int], tile: int) -> int:
    down = max(-(-len(group) // count) for group, count in zip(row.groups, columns, strict=True))
    return max(down * (tile + _GAP) - _GAP, 21 * len(lines) + 22) + 2 * _PADDING


def _draw_name(draw: ImageDraw.ImageDraw, row: Row, lines: Sequence[str], left: int, top: int, indent: int) -> None:
    if row.chip is not None:
        mask = Image.new("L", (4 * 24, 4 * 22))  # four times as large and made smaller: Pillow's corners are jagged
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), 24, 255)
        draw.bitmap((left, top), mask.resize((24, 22), Image.Resampling.LANCZOS), _CHIPS[row.chip % len(_CHIPS)])
        draw.text((left + 12, top + 11), str(row.chip), _PAPER, font_for("0", 13, bold=True), anchor="mm")
    for line in lines:
        draw.text((left + indent, top), line, _INK, font_for(line, 16))
        top += 21
    draw.text((left + indent, top + 3), row.note, _GREY, font_for(row.note, 13))


def _draw_tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Image.Image, corner: tuple[int, int], side: int
) -> None:
    left, top = corner
    draw.rectangle((left - 1, top - 1, left + side, top + side), _TILE, _LINE)  # the edge lies around the picture
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    sheet.paste(picture.resize(size, kind), (left + (side - size[0]) // 2, top + (side - size[1]) // 2))


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """A text in lines that fit, broken where words end if it can be; what is too long ends in dots."""
    lines = [""]
    for letter in " ".join(text.split()):
        if _width(lines[-1] + letter, size) > width:
            line = lines.pop()
            ends = [end for end, sign in enumerate(line, 1) if sign in " _-/,." and end > len(line) // 3 + 1]
            end = ends[-1] if ends and letter != " " else len(line)
            lines += [line[:end], line[end:]]
        lines[-1] += letter
    lines = [line.strip() for line in lines]
    if len(lines) <= _LINES:
        return lines
    last = lines[_LINES - 1]
    while _width(last + "…", size) > width:
        last = last[:-1]
    return [*lines[: _LINES - 1], last + "…"]


def _width(text: str, size: int) -> int:
    return round(font_for(text, size).getlength(text))


def font_for(text: str, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, or where it lacks letters of a text the font of this machine that has most of them."""
    own = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf")
    return _font(_covering(frozenset(text), own), size)


def letters_missing(text: str) -> str:
    """The letters of a text that no font of this machine has; each is drawn as an empty box."""
    known = _known(font_for(text, 16).path)
    return "".join(letter for letter in dict.fromkeys(text) if ord(letter) not in known)


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=4096)
def _covering(letters: frozenset[str], own: str) -> str:
    def missing(path: str) -> int:
        return sum(ord(letter) not in _known(path) for letter in letters)

    # The "last resort" draws a placeholder for every letter.
    others = sorted({font.fname for font in font_manager.fontManager.ttflist if "LastResort" not in font.fname})
    return min([own, *others], key=missing) if missing(own) else own


@lru_cache(maxsize=1024)
def _known(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed, or that FreeType cannot read
        return frozenset()
