"""Pickle files of plain data and arrays of uint8: what they name is looked up in a short list, and nothing else called.

Run as a script by `apart`, it only says whether the pickle on its standard input can be loaded. It imports nothing but
the standard library, so that it starts quickly.
"""

import io
import math
import pickle
import sys
from typing import Any


class _Stand:
    """What stands for something of NumPy's; NumPy itself would believe the sizes that a file claims."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"{type(self).__name__.strip('_').lower()} with a state")


class _Type(_Stand):
    """An element type; its state says the byte order, which single bytes have none of."""

    def __setstate__(self, state: Any) -> None:
        pass


class Array(_Stand):
    """An array of uint8: its shape, and the bytes by rows."""

    shape: tuple[int, ...]
    content: bytes

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Type) or kind.given[0] not in ("u1", b"u1") or not isinstance(content, bytes):
            raise ValueError("an array of another type than uint8")
        sizes_fit = all(isinstance(size, int) and size >= 0 for size in shape) and math.prod(shape) == len(content)
        if by_columns or not sizes_fit:
            raise ValueError(f"an array of shape {shape} with {len(content)} bytes")
        self.shape, self.content = shape, content


class _Bytes(_Stand):
    """Bytes, which Python 3 writes in protocol 2 as a call that encodes a string, or that gives empty ones."""

    def __new__(cls, text: str = "", encoding: str = "latin1") -> Any:
        if encoding not in ("latin1", b"latin1"):
            raise ValueError(f"bytes encoded as {encoding}")
        return text.encode("latin-1")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
}


class _Unsafe(ValueError):
    """A name that plain data have no need of."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Unsafe(
                f"it asks for {f'{module} {name}'[:100]!r}, which plain data have no need of. Nothing was run: do not "
                "open the file with anything else, and fetch it again from its authors"
            )
        return _KNOWN[module, name]


def load(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle file holds; its strings are bytes, its keys strings.

    Raises:
        ValueError: it names anything unknown, is damaged, or is no dictionary.
        MemoryError: there is not enough for what it claims to hold.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except (_Unsafe, MemoryError):
        raise
    except Exception as error:  # a damaged file may do anything but run code
        raise ValueError(f"damaged: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str | bytes | int) for key in found):
        raise ValueError(f"a {type(found).__name__} where a dict with names as keys should be")
    if not all(hasattr(value, "content") for value in found.values() if isinstance(value, Array)):
        raise ValueError("damaged: an array without its content")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}


if __name__ == "__main__":
    try:
        load(sys.stdin.buffer.read())
    except ValueError as error:
        sys.exit(str(error))
