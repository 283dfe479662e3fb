"""Sources that list their images in text files: lines to rows, and rows to a listing."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.class_splits import divided
from smat.importing.files import file_parts, inside, read_file_part, shown
from smat.importing.kind import Kind
from smat.importing.listing import Listing

_MOST_BYTES = 2**28  # of a list; the longest, of Food-101, has 2 MB
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Line = tuple[str, str]
"""Where a line is, as `meta/train.txt, line 3`, and what it says."""


@dataclass(frozen=True)
class Row:
    """An image as a list has it.

    Attributes:
        place: where it says so, for messages.
        path: the image's file, from the source's root on.
        label: class name.
    """

    place: str
    path: str
    label: str


def read_bytes(root: Path, path: Path, most: int = _MOST_BYTES) -> bytes:
    """A list file's content.

    Raises:
        DataError: it is missing, outside the source, too large to be meant or cannot be read.
    """
    try:
        if not inside(root, path):
            raise DataError(f"'{path}' is a symbolic link that leaves the source folder: put the file there")
        if path.stat().st_size > most:
            raise DataError(f"'{path}' has {path.stat().st_size} bytes, and should not have more than {most}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}; unpack the archive again") from error


def read_lines(root: Path, path: Path) -> tuple[list[Line], list[Refused]]:
    """The lines of a UTF-8 text file that are not empty, and those that are no text.

    Raises:
        DataError: as `read_bytes`.
    """
    lines: list[Line] = []
    refused: list[Refused] = []
    for number, line in enumerate(read_bytes(root, path).split(b"\n"), start=1):
        place = f"{shown(path, root)}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            refused.append(Refused(place, "it is no text in UTF-8"))
            continue
        if _CONTROL.search(text):
            refused.append(Refused(place, "it has characters that are no text"))
        elif text:
            lines.append((place, text))
    return lines, refused


def read_all_lines(root: Path, lists: Sequence[Path]) -> tuple[list[Line], list[Refused]]:
    """The lines of several files, as `read_lines` gives them."""
    lines: list[Line] = []
    refused: list[Refused] = []
    for path in lists:
        more, wrong = read_lines(root, path)
        lines += more
        refused += wrong
    return lines, refused


def read_names(root: Path, path: Path) -> tuple[dict[str, None], list[Refused]]:
    """Class names, one a line, each once."""
    lines, refused = read_lines(root, path)
    return dict.fromkeys(text for _, text in lines), refused


def unparsed(line: Line, expected: str) -> Refused:
    """What to say of a line that has not the form it should have."""
    place, text = line
    return Refused(place, f"it says '{text[:80]}'; expected {expected}")


def is_text(text: str) -> bool:
    """Whether something can be a name: not empty, valid Unicode and without control characters."""
    return bool(text) and not _CONTROL.search(text) and not any("\ud800" <= letter <= "\udfff" for letter in text)


def path_problem(path: str) -> str:
    """Why a list's path is not used; empty if there is no reason."""
    pure = PurePosixPath(path)
    if not pure.name or not is_text(path) or "\\" in path or "//" in path:
        return f"{path!r} is no path of an image"
    if pure.is_absolute() or ".." in pure.parts:
        return f"{path!r} leaves the source folder"
    return ""


def whole_number(text: str) -> int | None:
    """A number of at most nine decimal digits; None if it is anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def one_number_per_class(rows: Sequence[tuple[Row, int]]) -> tuple[list[Row], dict[str, int], list[Refused]]:
    """Rows that say both a class's name and its number, without those that say what most others do not.

    Returns:
        The rows that agree, the number of each class, and the others.
    """
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    for (name, number), _ in Counter((row.label, number) for row, number in rows).most_common():
        if name not in numbers and number not in names:
            numbers[name], names[number] = number, name
    agreed = [row for row, number in rows if numbers.get(row.label) == number]
    refused = [
        Refused(row.place, f"it says class '{row.label}' and number {number}; in other lines they do not go together")
        for row, number in rows
        if numbers.get(row.label) != number
    ]
    return agreed, numbers, refused


def make_listing(
    kind: Kind,
    root: Path,
    rows: Sequence[Row],
    classes: Sequence[str],
    refused: Sequence[Refused],
    files: Sequence[Path],
    *,
    name: str | None = None,
    flip: bool | None = None,
    notes: Sequence[str] = (),
    tracks: str | None = None,
) -> Listing:
    """A domain from the rows of its lists, divided as its kind says.

    An image that is listed with several classes is refused. That it is listed again with the same class, as lists of a
    part and of the whole do, is no harm.

    Args:
        kind: kind of the source.
        root: folder that the rows' paths start from.
        rows: images, whose labels are among `classes`.
        classes: class names, in the order of their labels.
        refused: what was wrong with the lists.
        files: the lists.
        name: name of the domain; that of the kind unless given.
        flip: whether a mirrored image is still of its class; None: not said.
        notes: what to know besides.
        tracks: pattern of the tracks in the rows' paths; None: not said.

    Raises:
        DataError: there is no row that can be used.
    """
    refused = list(refused)
    labels: dict[str, dict[str, str]] = {}
    for row in rows:
        problem = path_problem(row.path)
        if problem:
            refused.append(Refused(row.place, problem))
        else:
            labels.setdefault(PurePosixPath(row.path).as_posix(), {}).setdefault(row.label, row.place)
    paths: dict[str, list[Path]] = {label: [] for label in classes}
    for path, said in labels.items():
        if len(said) == 1:
            paths[next(iter(said))].append(root / path)
        else:
            claims = " and ".join(f"'{label}' in {place}" for label, place in said.items())
            refused.append(Refused(path, f"it is of several classes: {claims}"))
    if not any(paths.values()):
        raise DataError(f"'{root}' lists no image that can be imported as {kind.name}; what is wrong:{listed(refused)}")
    folders = sorted({path.parent for images in paths.values() for path in images})
    splits, more = divided(kind, classes)
    return Listing(
        name=name or kind.name,
        classes=tuple(classes),
        splits=splits,
        parts=[part for label, images in enumerate(paths.values()) for part in file_parts(label, root, images)],
        read=read_file_part,
        files=[*files, *(folder for folder in folders if os.path.isdir(folder))],
        flip=flip,
        refused=tuple(refused),
        notes=(*more, *notes),
        tracks=tracks,
    )
