"""Pickle files of plain data, read without running anything of them.

Python's own `pickle` calls whatever a file names. Here a file's instructions are only followed as far as they build
numbers, strings, lists, dictionaries and arrays of bytes; anything else is refused.
"""

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from smat.errors import DataError

_MOST_INSTRUCTIONS = 5_000_000  # CIFAR-100 has some 200,000; this bounds time and memory
_NAMES = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"})
_TEXTS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_BYTES = frozenset({"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"})
_VALUES = _NUMBERS | _TEXTS | _BYTES
_EARLIER_STRINGS = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """One of the few functions and types that may be named; it is never called."""

    what: str


@dataclass
class _Type:
    """An element type under construction; `state` says its byte order, which single bytes have none of."""

    code: Any


@dataclass
class _Array:
    """An array under construction."""

    pixels: np.ndarray | None = None


def read_pickle(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle file holds, of numbers, strings, bytes, lists, tuples, and arrays of uint8.

    Strings of Python 2 come as bytes, as keys as strings.

    Raises:
        DataError: it holds, or names, anything else, or is damaged.
    """
    machine = _Machine()
    position = 0
    try:
        for count, (code, argument, place) in enumerate(pickletools.genops(content)):
            position = place or 0
            if code.name == "STOP":
                return _plain(machine.stack.pop())
            if count > _MOST_INSTRUCTIONS:
                raise DataError(f"it has more than {_MOST_INSTRUCTIONS} instructions, which plain data do not")
            machine.step(code.name, argument)
    except DataError as error:
        raise DataError(f"at byte {position}: {error}") from error
    except Exception as error:  # a damaged file may do anything but run code
        raise DataError(f"damaged at byte {position}: {type(error).__name__}: {error}") from error
    raise DataError("damaged: it does not end")


class _Machine:
    """The stack that a pickle file's instructions work on."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _VALUES:
            stack.append(argument)
        elif name in _EARLIER_STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("LIST", "TUPLE", "DICT"):
            items = self._last(None)
            stack.append(_dictionary(items) if name == "DICT" else items if name == "LIST" else tuple(items))
        elif name in _TUPLES:
            stack.append(tuple(self._last(_TUPLES[name])))
        elif name in ("APPEND", "APPENDS"):
            items = self._last(1 if name == "APPEND" else None)
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._last(2 if name == "SETITEM" else None)
            _expect(stack[-1], dict).update(_dictionary(items))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_name(argument if name == "GLOBAL" else " ".join(self._last(2))))
        elif name == "REDUCE":
            called, given = self._last(2)
            stack.append(_made(_expect(called, _Name), _expect(given, tuple)))
        elif name == "BUILD":
            _fill(stack[-2], stack.pop())
        else:
            raise DataError(f"the instruction {name}, which plain data have no need of; it is not followed")

    def _last(self, count: int | None) -> list[Any]:
        """Takes so many items off the stack; None: all since the last mark."""
        place = self.marks.pop() if count is None else len(self.stack) - count
        if not 0 <= place <= len(self.stack):
            raise DataError("it takes more than there is")
        items = self.stack[place:]
        del self.stack[place:]
        return items


def _dictionary(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    if len(items) % 2 or not all(isinstance(key, str | bytes | int) for key in keys):
        raise DataError("a dictionary with keys that are no names")
    return dict(zip(keys, items[1::2], strict=True))


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise DataError(f"a {type(value).__name__} where a {kind.__name__.strip('_').lower()} should be")
    return value


def _name(name: str) -> _Name:
    if name not in _NAMES:
        raise DataError(
            f"it asks for {name[:100]!r}, which plain data have no need of. Nothing was run: do not open the file with "
            "anything else, and fetch it again from its authors"
        )
    return _Name(_NAMES[name])


def _made(name: _Name, given: tuple[Any, ...]) -> Any:
    if name.what == "dtype":
        return _Type(given[0])
    if name.what == "array":
        return _Array()
    raise DataError(f"a call of {name.what}")


def _fill(target: Any, state: Any) -> None:
    if isinstance(target, _Type):
        return
    array = _expect(target, _Array)
    _, shape, kind, by_columns, content = _expect(state, tuple)
    if _expect(kind, _Type).code not in ("u1", b"u1") or not isinstance(content, bytes):
        raise DataError("an array of another type than uint8")
    if by_columns or not all(isinstance(size, int) and size >= 0 for size in shape) or math.prod(shape) != len(content):
        raise DataError(f"an array of shape {shape} with {len(content)} bytes")
    array.pixels = np.frombuffer(content, np.uint8).reshape(shape)


def _plain(value: Any) -> dict[str, Any]:
    """The dictionary with its arrays, and its keys, as such."""
    content = _expect(value, dict)
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): item.pixels if isinstance(item, _Array) else item
        for key, item in content.items()
    }
