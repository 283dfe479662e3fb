"""MATLAB 5 files from anywhere: checked in full before SciPy reads them.

SciPy believes the sizes and types that such a file claims, which a damaged one has wrong: it would reserve memory for
them, or end the whole process with a segmentation fault.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from smat.errors import DataError
from smat.importing.lists import read_bytes

_MOST_FILE = 2**25  # bytes; those of Stanford Cars have less than 2**23 unpacked
_MOST_UNPACKED = 2**26
_MOST_DEPTH = 8
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHARACTERS = 1, 2, 4
_NUMBERS = range(6, 16)
_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_TEXT_BYTES = {1: 1, 2: 1, 4: 2, 16: 1, 17: 2, 18: 4}
_INT8, _INT32, _UINT32 = 1, 5, 6
_COMPLEX = 0x800


def read_mat(root: Path, path: Path) -> dict[str, np.ndarray]:
    """The variables of a MATLAB 5 file, as `scipy.io.loadmat` gives them with `squeeze_me`.

    Args:
        root: folder that the file must be in.
        path: the file.

    Raises:
        DataError: it is missing, is no such file, or is damaged.
    """
    content = read_bytes(root, path, _MOST_FILE)
    # zlib raises its own errors and SciPy almost any: whichever it is, the file is of no use.
    try:
        body = _unpacked(content)
        header = b"MATLAB 5.0 MAT-file".ljust(124) + content[124:_HEADER]
        variables: dict[str, Any] = scipy.io.loadmat(io.BytesIO(header + body), squeeze_me=True)
    except Exception as error:
        raise DataError(f"'{path}' cannot be read as a MATLAB 5 file: {error or type(error).__name__}") from error
    return {name: np.asarray(value) for name, value in variables.items() if not name.startswith("__")}


def _unpacked(content: bytes) -> bytes:
    """The variables without compression, each of them checked."""
    if content[124:_HEADER] != b"\x00\x01IM":
        raise ValueError("its header is another one, such as that of an older or newer version")
    variables: list[bytes] = []
    room = _MOST_UNPACKED
    for kind, data in _elements(content[_HEADER:], padded=False):
        if kind == _COMPRESSED:
            packed = zlib.decompressobj()
            element = packed.decompress(data, room)
            if not packed.eof:
                raise ValueError(f"a variable is cut, or has more than {room} bytes")
        else:
            element = struct.pack("<II", kind, len(data)) + data
        ((inner, matrix),) = _elements(element)
        if inner != _MATRIX:
            raise ValueError(f"a variable is of type {inner}; expected an array ({_MATRIX})")
        _check(matrix, _MOST_DEPTH)
        variables.append(element)
        room -= len(element)
    return b"".join(variables)


def _elements(data: bytes, padded: bool = True) -> Iterator[tuple[int, bytes]]:
    """Types and contents of the elements that follow each other in some bytes, all of which they fill."""
    place = 0
    while place < len(data):
        if len(data) - place < 8:
            raise ValueError("an element is cut")
        kind, size = struct.unpack_from("<II", data, place)
        if kind >> 16:  # of at most four bytes, which then stand in the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            end = start + size + (-size % 8 if padded and kind != _COMPRESSED else 0)
        if start + size > end or end > len(data):
            raise ValueError(f"an element claims {size} bytes that are not there")
        yield kind, data[start : start + size]
        place = end


def _check(matrix: bytes, depth: int) -> None:
    """Raise a `ValueError` unless an array's content is exactly what its sizes claim."""
    if not matrix:  # an empty array may be just a tag
        return
    (flags_kind, flags), (shape_kind, shape), (name_kind, _), *contents = _elements(matrix)
    if (flags_kind, len(flags), shape_kind, name_kind) != (_UINT32, 8, _INT32, _INT8) or len(shape) % 4:
        raise ValueError("an array does not begin with its kind, shape and name")
    kind = flags[0]
    sizes = struct.unpack(f"<{len(shape) // 4}i", shape)
    if not 2 <= len(sizes) <= 32 or min(sizes) < 0:
        raise ValueError(f"an array has shape {sizes}")
    items = prod(sizes)
    if kind in (_CELL, _STRUCT) and depth:
        if kind == _STRUCT:
            (length_kind, length), (fields_kind, fields), *contents = contents
            width = int.from_bytes(length, "little")
            if (length_kind, len(length), fields_kind) != (_INT32, 4, _INT8) or not width or len(fields) % width:
                raise ValueError("a structure has no names of its fields")
            items *= len(fields) // width
        if len(contents) != items or any(inner != _MATRIX for inner, _ in contents):
            raise ValueError(f"an array claims {items} items and has {len(contents)}")
        for _, inner in contents:
            _check(inner, depth - 1)
        return
    if kind in _NUMBERS:
        parts = 2 if struct.unpack("<I", flags[:4])[0] & _COMPLEX else 1
        sizes_fit = [len(data) == items * _ITEM_BYTES.get(inner, -1) for inner, data in contents]
    elif kind == _CHARACTERS:
        parts = 1
        sizes_fit = [items * _TEXT_BYTES.get(inner, len(data) + 1) <= len(data) for inner, data in contents]
    else:
        raise ValueError(f"an array is of kind {kind}, or lies too deep in others")
    if len(contents) != parts or not all(sizes_fit):
        raise ValueError(f"an array claims {items} items, and its content is not of this size")
