"""All images of a split in one file, with their labels there or in a second one: pickles and NumPy's archives."""

import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smat.errors import DataError
from smat.importing.large_pickles import Array, Short, Span, read_large_pickle
from smat.importing.lists import is_text
from smat.importing.stored import array_header


@dataclass(frozen=True)
class Packed:
    """The images of a split.

    Attributes:
        file: file that has them.
        shape: height, width and channels of images that are pixels; None: they are encoded.
        places: first byte of each image, and how many there are.
        rows: which of them are of each class, by its name.
        refused: which are of none, and why.
    """

    file: Path
    shape: tuple[int, int, int] | None
    places: list[tuple[int, int]]
    rows: dict[str, list[int]] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)


def read_packed(images: Path, labels: Path | None = None) -> Packed:
    """Where the images of a file are, and which class each has.

    The file is a pickle of `image_data` and `class_dict`, of `data` and `labels`, or of a list of encoded images; or an
    archive of NumPy's with `images`. The last two need a pickle of `labels`, or of `label_specific` and their names.

    Raises:
        DataError: a file cannot be read or is damaged, or they do not fit each other.
    """
    content = _archive(images) if images.suffix == ".npz" else read_large_pickle(images)
    said = _dictionary(read_large_pickle(labels), labels) if labels else _dictionary(content, images)
    if labels or "class_dict" not in said:
        pixels = content if labels else _wanted(said, "data", images)
        packed = _places(images, pixels)
        _by_label(packed, said, labels or images)
    else:
        packed = _places(images, _wanted(said, "image_data", images))
        _by_class(packed, _dictionary(said["class_dict"], images))
    return packed


def _dictionary(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"'{path}' holds a {type(content).__name__}; expected a dictionary")
    return {_text(key): value for key, value in content.items()}


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _wanted(content: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in content:
        raise DataError(f"'{path}' has no '{key}'; it has {', '.join(content)[:200] or 'nothing'}")
    return content[key]


def _places(path: Path, images: Any) -> Packed:
    """Where the images are that a file has as an array, or as a list of encoded ones."""
    if isinstance(images, Array):
        if images.type[1:] != "u1" or len(images.shape) != 4 or images.shape[3] != 3 or not all(images.shape):
            raise DataError(f"'{path}' has {images.type} {images.shape}; expected uint8 [images, height, width, 3]")
        shape = (images.shape[1], images.shape[2], images.shape[3])
        size = math.prod(shape)
        return Packed(path, shape, [(images.start + row * size, size) for row in range(images.shape[0])])
    if not isinstance(images, list):
        raise DataError(f"'{path}' holds a {type(images).__name__}; expected an array of images, or a list of them")
    contents = [image.content if isinstance(image, Array) else image for image in images]
    packed = Packed(path, None, [])
    for row, content in enumerate(contents):
        known = isinstance(content, Span | Short)
        packed.places.append(
            (content.start, content.size if isinstance(content, Span) else len(content)) if known else (0, 0)
        )
        if not known:
            packed.refused.append((row, f"it is a {type(content).__name__}; expected an encoded image"))
    return packed


def _by_class(packed: Packed, classes: Mapping[str, Any]) -> None:
    """Sort images whose numbers are given by class."""
    owner: dict[int, str] = {}
    for name, rows in classes.items():
        numbers = rows.values(packed.file).tolist() if isinstance(rows, Array) else rows
        if not is_text(name) or not isinstance(numbers, list):
            raise DataError(f"'{packed.file}' has class {name!r:.80} with a {type(numbers).__name__}; expected a list")
        for row in numbers:
            if type(row) is not int or not 0 <= row < len(packed.places):
                packed.refused.append(
                    (-1, f"class '{name}' has image {row!r:.40}; there are 0 to {len(packed.places) - 1}")
                )
            elif owner.setdefault(row, name) != name:
                packed.refused.append((row, f"it is of several classes: '{owner[row]}' and '{name}'"))
    wrong = {row for row, _ in packed.refused}
    for row in range(len(packed.places)):
        if row not in owner:
            packed.refused.append((row, "it is of no class"))
        elif row not in wrong:
            packed.rows.setdefault(owner[row], []).append(row)


def _by_label(packed: Packed, said: Mapping[str, Any], path: Path) -> None:
    """Sort images whose classes are given by number, one for each image; the names may be there too."""
    given = said["label_specific"] if "label_specific" in said else _wanted(said, "labels", path)
    labels = given.values(path).tolist() if isinstance(given, Array) else given
    if not isinstance(labels, list) or len(labels) != len(packed.places):
        count = len(labels) if isinstance(labels, list) else f"a {type(labels).__name__} of"
        raise DataError(
            f"'{path}' has {count} labels for {len(packed.places)} images: which belong together cannot be known"
        )
    names = _names(said)
    wrong = {row for row, _ in packed.refused}
    found: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        if type(label) is not int or (names and label not in names):
            shown = label if type(label) is int else f"is a {type(label).__name__}"
            packed.refused.append((row, f"its label {shown} is none of those that have a name"))
        elif row not in wrong:
            found.setdefault(label, []).append(row)
    for label in sorted(found):
        name = names.get(label, str(label))
        packed.rows[name if name not in packed.rows else f"{name} ({label})"] = found[label]


def _names(said: Mapping[str, Any]) -> dict[int, str]:
    """Class names by number, as far as the file has some."""
    if isinstance(by_name := said.get("catname2label"), dict):
        return {label: _text(name) for name, label in by_name.items() if type(label) is int and is_text(_text(name))}
    by_number = said.get("label_specific_str", said.get("label2catname"))
    pairs = by_number.items() if isinstance(by_number, dict) else enumerate(by_number or [])
    return {label: _text(name) for label, name in pairs if type(label) is int and is_text(_text(name))}


def _archive(path: Path) -> Array:
    """The array `images` of an archive, where it is in the file."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            entry = archive.getinfo("images.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DataError(f"'{path}' is compressed: save it with numpy.savez instead of savez_compressed")
            file.seek(entry.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            file.seek(name + extra, 1)
            start = file.tell()
            shape, by_column, kind = array_header(file)
            content = Span(file.tell(), math.prod(shape) * kind.itemsize)
            if by_column or content.start + content.size > start + entry.file_size:
                raise DataError(f"'{path}' has {kind} {shape} in {entry.file_size} bytes: fetch it again")
            return Array.of(shape, kind.str, content)
    except DataError:
        raise
    except Exception as error:  # a damaged header makes NumPy's parser raise almost anything
        raise DataError(f"'{path}' is no archive of NumPy's with 'images': {error or type(error).__name__}") from error
