"""Pickle files of many gigabytes: plain data and arrays, of which only the places in the file are kept.

A file may only use the instructions and names that plain data and NumPy's arrays have need of. Nothing else is called,
and nothing is read into memory that the file does not have. `pickles` does the same for small files, more strictly.
"""

import math
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from smat.errors import DataError

_LONG = 256  # bytes from which on content is left in the file
_SCALAR = 8  # bytes of a number
_LINE = 2**16  # bytes of a name or number written as text
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes in the file."""

    start: int
    size: int


class Short(bytes):
    """A few bytes, and where they are in the file."""

    start: int


class _Type:
    """An element type: letter and size as NumPy's, and its byte order, which comes as a state."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        if text not in _TYPES:
            raise ValueError(f"an array of type {text!r}; expected whole numbers")
        self.name = "<" + text

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.name = (">" if order in (">", b">") else "<") + self.name[1:]


class Array:
    """An array of whole numbers, row by row: its shape and type, and the bytes or where they are."""

    __slots__ = ("content", "shape", "type")

    def __init__(self, *given: Any) -> None:
        self.shape: tuple[int, ...] = ()
        self.type = ""
        self.content: Span | Short | None = None
        if len(given) == 4 and isinstance(given[1], _Type):  # of protocol 5: content, type, shape, order
            self.__setstate__((1, given[2], given[1], given[3] not in ("C", b"C"), given[0]))

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Type) or not isinstance(content, Span | Short) or by_columns:
            raise ValueError("an array that is not stored row by row as whole numbers")
        held = content.size if isinstance(content, Span) else len(content)
        fits = all(type(size) is int and size >= 0 for size in shape)
        if not fits or math.prod(shape) * int(kind.name[2:]) != held:
            raise ValueError(f"an array of shape {shape} with {held} bytes")
        self.shape, self.type, self.content = tuple(shape), kind.name, content

    @classmethod
    def of(cls, shape: tuple[int, ...], type: str, content: Span) -> "Array":
        """An array that lies row by row at a known place."""
        array = cls()
        array.shape, array.type, array.content = shape, type, content
        return array

    @property
    def start(self) -> int:
        """First byte in the file."""
        assert self.content is not None  # as `read_large_pickle` has seen to
        return self.content.start

    def values(self, path: Path) -> np.ndarray:
        """The array itself, from its file."""
        if isinstance(self.content, Short):
            return np.frombuffer(self.content, self.type).reshape(self.shape)
        with path.open("rb") as file:
            file.seek(self.start)
            return np.frombuffer(file.read(math.prod(self.shape) * int(self.type[2:])), self.type).reshape(self.shape)


class _Number:
    """A single number of NumPy's, as a whole number."""

    def __new__(cls, kind: Any, content: Any) -> Any:
        if not isinstance(kind, _Type) or not isinstance(content, bytes):
            raise ValueError("a number of another type than whole ones")
        return int(np.frombuffer(content, kind.name)[0])


class _Encoded:
    """Bytes as Python 3 writes them into protocol 2: as text, in which an image's place cannot be found."""

    def __new__(cls, text: str = "", *_: Any) -> Any:
        if not isinstance(text, str) or len(text) > _SCALAR:
            raise ValueError(
                "Python 3 wrote it with protocol 2, in which the places of images cannot be found: load it with what "
                "wrote it, and save it with protocol 4"
            )
        short = Short(text.encode("latin-1"))
        short.start = -1
        return short


_STANDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "_reconstruct": (Array, ("numpy.core.multiarray", "numpy._core.multiarray")),
    "_frombuffer": (Array, ("numpy.core.numeric", "numpy._core.numeric")),
    "scalar": (_Number, ("numpy.core.multiarray", "numpy._core.multiarray")),
    "ndarray": (Array, ("numpy",)),
    "dtype": (_Type, ("numpy",)),
    "encode": (_Encoded, ("_codecs",)),
}
# fmt: off
_AS_THEY_ARE = (
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1",
    "BINFLOAT", "STRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET",
    "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL",
)
# fmt: on


def code(instruction: str) -> int:
    """An instruction's byte."""
    return getattr(pickle, instruction)[0]


class _Content:
    """The file, which gives no more than it has, and tells where it is."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise ValueError("it ends before what it says that it holds")
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(_LINE)
        if not line.endswith(b"\n"):
            raise ValueError(f"a line of more than {_LINE} bytes, or the file ends in one")
        return line

    def leave(self, count: int) -> Span | Short:
        """So many bytes: where they are, or themselves if they are few."""
        start = self.file.tell()
        if count < _LONG:
            short = Short(self.read(count))
            short.start = start
            return short
        if count > self.size - start:
            raise ValueError("it ends before what it says that it holds")
        self.file.seek(count, 1)
        return Span(start, count)


class _Reader(pickle._Unpickler):
    """Python's own reader, without its instructions for anything but plain data, and with long contents left alone."""

    dispatch: ClassVar[dict[int, Any]] = {code(name): pickle._Unpickler.dispatch[code(name)] for name in _AS_THEY_ARE}

    def __init__(self, content: _Content) -> None:
        super().__init__(content, encoding="bytes")
        self.content = content

    def find_class(self, module: str, name: str) -> Any:
        stand, modules = _STANDS.get(name, (None, ()))
        if module not in modules:
            raise ValueError(
                f"it asks for {f'{module} {name}'[:100]!r}, which plain data have no need of. Nothing was run: do not "
                "open the file with anything else, and fetch it again from its authors"
            )
        return stand

    def leave(self, form: str) -> None:
        """Bytes, whose number is written in this form."""
        self.stack.append(self.content.leave(struct.unpack(form, self.read(struct.calcsize(form)))[0]))

    def skip_frame(self) -> None:
        """A frame's length, which is only of use to readers that fetch a frame in one go."""
        self.read(8)

    def set_items(self, items: list[Any]) -> None:
        """Entries of a dictionary, keys and values in turn. Tuples without end as a key would crash Python."""
        keys = items[::2]
        if type(self.stack[-1]) is not dict or not all(isinstance(key, str | bytes | int) for key in keys):
            raise ValueError("a dictionary whose keys are no names or numbers")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def call(self) -> None:
        """A call of what `find_class` gave, which only makes something that stands for an array or a number."""
        given = self.stack.pop()
        if not isinstance(self.stack[-1], type) or not isinstance(given, tuple):
            raise ValueError("a call of something that cannot be called")
        self.stack[-1] = self.stack[-1](*given)

    def build(self) -> None:
        """The state of an array or an element type."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Array | _Type):
            raise ValueError("a state for something that has none")
        self.stack[-1].__setstate__(state)


_Reader.dispatch |= {
    code("FRAME"): _Reader.skip_frame,
    code("SETITEM"): lambda reader: reader.set_items([reader.stack.pop(-2), reader.stack.pop()]),
    code("SETITEMS"): lambda reader: reader.set_items(reader.pop_mark()),
    code("REDUCE"): _Reader.call,
    code("BUILD"): _Reader.build,
    code("SHORT_BINSTRING"): lambda reader: reader.leave("<B"),
    code("SHORT_BINBYTES"): lambda reader: reader.leave("<B"),
    code("BINSTRING"): lambda reader: reader.leave("<i"),
    code("BINBYTES"): lambda reader: reader.leave("<I"),
    code("BINBYTES8"): lambda reader: reader.leave("<Q"),
    code("BYTEARRAY8"): lambda reader: reader.leave("<Q"),
}


def read_large_pickle(path: Path) -> Any:
    """What a pickle file holds: numbers, names as bytes or strings, lists, tuples, dictionaries, `Array` and `Span`.

    Raises:
        DataError: the file cannot be read, is damaged, or holds or names anything else.
    """
    try:
        with path.open("rb") as file:
            return _Reader(_Content(file, path.stat().st_size)).load()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file may do anything but run code
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyError):  # of the table of instructions
            said = "it is damaged, or has an instruction that plain data have no need of"
        raise DataError(f"'{path}' cannot be used: {said}") from error
