"""Quick, Draw!: drawings by class, as bitmaps (`.npy`) or as strokes (`.ndjson`) that are drawn here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.class_splits import META_DATASET, divided
from smat.importing.files import inside, printable, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Found, Listing, Part
from smat.importing.stored import array_header

_PREFIXES = ("full_numpy_bitmap_", "full_simplified_", "full_raw_")  # of files saved in a browser
_PART = 1000
_SIDE = 28
_PIXELS = _SIDE * _SIDE
_SAMPLE = 2**16  # bytes that the usual length of a drawing is judged by
_LONGEST = 2**20  # bytes of a drawing that can be meant
_LONGEST_PART = 2**24  # bytes
# How the authors draw bitmaps: strokes in a square of 256, lines 16 wide with round ends, 16 more around everything.
_SQUARE, _LINE, _AROUND = 256, 16, 16
_WHOLE = _SQUARE + _LINE + 2 * _AROUND
_FINE = 19  # pixels a pixel is drawn with; the line is then exactly 28 of these wide


class QuickDraw(Kind):
    """A class per file `NAME.npy` or `NAME.ndjson`; where there are both, the bitmaps are read."""

    name = "quickdraw"
    summary = "Quick, Draw!"
    files = "NAME.ndjson or NAME.npy of each class"
    landmarks = ("*.npy", "*.ndjson")
    known = (Known(("quickdraw",), "Quick, Draw!", 345, 50_426_266, splits=(241, 52, 52)),)
    splits = META_DATASET["quickdraw"]

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        refused: list[Refused] = []
        files: dict[str, dict[str, Path]] = {}
        for path in sorted([*root.glob("*.npy"), *root.glob("*.ndjson")]):
            name = path.stem
            for prefix in _PREFIXES:
                name = name.removeprefix(prefix)
            problem = (
                "it is a symbolic link that leaves the source folder" if not inside(root, path)
                else "it is no file with the name of a class"
                if not (path.is_file() and name and name == printable(name))
                else f"class '{name}' has such a file already" if path.suffix in files.get(name, {})
                else ""
            )  # fmt: skip
            if problem:
                refused.append(Refused(shown(path, root), problem))
            else:
                files.setdefault(name, {})[path.suffix] = path
        both = [name for name, forms in files.items() if len(forms) > 1]
        notes = [
            f"{len(both)} classes, such as '{name}', have bitmaps and strokes: the bitmaps are taken"
            for name in both[:1]
        ]
        used = {name: forms.get(".npy") or forms[".ndjson"] for name, forms in sorted(files.items())}
        parts: list[Part] = []
        for label, (name, path) in enumerate(used.items()):
            try:
                of_bits = path.suffix == ".npy"
                more = _bitmap_parts(label, root, path, refused) if of_bits else _stroke_parts(label, root, path, name)
            except OSError as error:
                more = []
                refused.append(Refused(shown(path, root), f"it cannot be read: {error.strerror or error}"))
            parts += more
        if not parts:
            raise DataError(f"'{root}' has no drawings that can be imported; what is wrong:{listed(refused)}")
        splits, more = divided(self, tuple(used))
        return [
            Listing(
                name=self.name,
                classes=tuple(used),
                splits=splits,
                parts=parts,
                read=read_drawings,
                files=list(used.values()),
                refused=tuple(refused),
                notes=(*more, *notes),
            )
        ]


def _bitmap_parts(label: int, root: Path, path: Path, refused: list[Refused]) -> list[Part]:
    """Parts of the rows of a file; what is wrong with it is added to `refused`."""
    place = shown(path, root)
    with path.open("rb") as file:
        # A damaged header makes NumPy's parser raise almost anything.
        try:
            shape, by_column, kind = array_header(file)
        except Exception as error:
            refused.append(Refused(place, f"it is no NumPy file: {error or type(error).__name__}"))
            return []
        start = file.tell()
    if len(shape) != 2 or shape[1] != _PIXELS or kind not in (np.uint8, np.bool_) or by_column:
        refused.append(Refused(place, f"it has {kind} {shape}; expected uint8 [drawings, {_PIXELS}], row by row"))
        return []
    there, rest = divmod(path.stat().st_size - start, _PIXELS)
    if (there, rest) != (shape[0], 0):
        said = f"its header says {shape[0]} drawings; it has the bytes of {there}"
        refused.append(Refused(place, f"{said}{' and a piece of one' * bool(rest)}: download it again"))
    scale = 255 if kind == np.bool_ else 1
    rows = range(0, min(there, shape[0]), _PART)
    counts = [min(_PART, min(there, shape[0]) - first) for first in rows]
    return [Part(label, n, (str(root), place, start, first, n, scale)) for first, n in zip(rows, counts, strict=True)]


def _stroke_parts(label: int, root: Path, path: Path, name: str) -> list[Part]:
    """Parts of a file by bytes; how many drawings these have is a guess, since lines are found as they are read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    usual = max(len(sample) / max(sample.count(b"\n"), 1), 64)
    step = min(round(_PART * usual), _LONGEST_PART)
    ranges = [(start, min(start + step, size)) for start in range(0, size, step)]
    return [
        Part(label, max(1, round((end - start) / usual)), (str(root), shown(path, root), start, end, name))
        for start, end in ranges
    ]


def read_drawings(part: Part) -> Iterator[Found | Refused]:
    """The drawings of a part."""
    root, place, *where = part.payload
    try:
        with Path(root, place).open("rb") as file:
            yield from _bitmaps(file, place, *where) if place.endswith(".npy") else _strokes(file, place, *where)
    except OSError as error:
        yield Refused(place, f"it cannot be read: {error.strerror or error}")


def _bitmaps(file: BinaryIO, place: str, start: int, first: int, count: int, scale: int) -> Iterator[Found | Refused]:
    file.seek(start + first * _PIXELS)
    for row in range(first, first + count):
        pixels = file.read(_PIXELS)
        if len(pixels) < _PIXELS:
            yield Refused(f"{place}, row {row}", f"the file ends here: {first + count - row} drawings are lost")
            return
        image = np.frombuffer(pixels, np.uint8).reshape(_SIDE, _SIDE)
        yield Found(f"{place}#{row}", image if scale == 1 else (image != 0).astype(np.uint8) * scale)


def _strokes(file: BinaryIO, place: str, start: int, end: int, name: str) -> Iterator[Found | Refused]:
    """The drawings whose lines begin from byte `start` to before `end`."""
    if start:
        file.seek(start - 1)
        _skip_line(file, end)
    while (here := file.tell()) < end:
        line = file.readline(_LONGEST + 1)
        if not line:
            return
        if len(line) > _LONGEST:
            yield Refused(f"{place}, byte {here}", f"a line of more than {_LONGEST} bytes is no drawing")
            _skip_line(file, end)
        elif line.strip():
            yield _drawing(line, f"{place}, byte {here}", place, name)


def _skip_line(file: BinaryIO, end: int) -> None:
    """Read to behind the next end of a line, or past `end`."""
    while file.tell() < end:
        line = file.readline(_LONGEST)
        if line.endswith(b"\n") or not line:
            return


def _drawing(line: bytes, where: str, place: str, name: str) -> Found | Refused:
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Refused(where, f"the line is cut or damaged: {error}")
    if not isinstance(entry, dict) or entry.get("word") != name:
        word = entry.get("word") if isinstance(entry, dict) else entry
        return Refused(where, f"it is of {word!r:.60}; expected '{name}', as the file's name says")
    key = entry.get("key_id")
    image = _drawn(entry.get("drawing"))
    if image is None:
        return Refused(where, "its 'drawing' is no list of strokes with coordinates x and y")
    return Found(f"{place}#{key}" if isinstance(key, str | int) and str(key).isdigit() else where, image)


def _drawn(drawing: Any) -> UInt8[np.ndarray, "28 28"] | None:
    """An image of strokes; None if they are none."""
    if not isinstance(drawing, list) or not drawing:
        return None
    try:
        strokes = [np.array(stroke[:2], dtype=np.float64) for stroke in drawing]  # the third are times
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    if any(stroke.ndim != 2 or len(stroke) != 2 or not stroke.size for stroke in strokes):
        return None
    extent = np.abs(np.concatenate(strokes, axis=1)).max()
    return draw(strokes) if extent < 1e6 else None


def draw(strokes: list[Float[np.ndarray, "2 _"]]) -> UInt8[np.ndarray, "28 28"]:
    """A drawing as the authors' bitmaps have it: its longer side 255 of 304, in the middle, white on black.

    Args:
        strokes: of each, the coordinates x and y of its points; in any unit, y downwards.
    """
    points = np.concatenate(strokes, axis=1)
    low, span = points.min(axis=1, keepdims=True), np.ptp(points, axis=1, keepdims=True)
    scale = (_SQUARE - 1) / span.max() if span.max() > 0 else 1.0
    shift = (_WHOLE - span * scale) / 2
    fine = _SIDE * _FINE / _WHOLE
    image = Image.new("L", (_SIDE * _FINE, _SIDE * _FINE))
    pen = ImageDraw.Draw(image)
    width = round(_LINE * fine)
    for stroke in strokes:
        path = (((stroke - low) * scale + shift) * fine).T
        pen.line([tuple(point) for point in path.tolist()], fill=255, width=width)
        for x, y in path.tolist():  # round ends and corners
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(image.reduce(_FINE))
