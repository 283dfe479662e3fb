"""A script that writes the variables of a MATLAB 5 file on its standard input as JSON.

SciPy believes the sizes and types that such a file claims. A damaged one may take all memory or end the process, so
that `apart` gives it one of its own.
"""

import io
import json
import struct
import sys
import zlib
from typing import Any

_MOST_UNPACKED = 2**26  # bytes; the variables of Stanford Cars have less than 2**23
_MOST_DEPTH = 8
_HEADER = 128
_COMPRESSED = 15


def load(content: bytes) -> dict[str, Any]:
    """The variables by name, as plain data.

    Raises:
        ValueError: it is no such file, or a variable's checksum is wrong; SciPy raises almost anything besides.
    """
    if content[124:_HEADER] != b"\x00\x01IM":
        raise ValueError("its header is another one, such as that of an older or newer version")
    _check_sums(content)
    import scipy.io  # takes most of the time, and damaged files seldom come here

    text = b"MATLAB 5.0 MAT-file".ljust(124)  # whatever it says there
    variables = scipy.io.loadmat(io.BytesIO(text + content[124:]), squeeze_me=True)
    return {name: _plain(value, _MOST_DEPTH) for name, value in variables.items() if not name.startswith("__")}


def _check_sums(content: bytes) -> None:
    """Unpack each compressed variable to its end, where its checksum is; SciPy stops before it."""
    start = _HEADER
    while start < len(content):
        kind, size = struct.unpack_from("<II", content, start)
        start += 8
        if start + size > len(content):
            raise ValueError(f"a variable claims {size} bytes that are not there")
        if kind == _COMPRESSED:
            packed = zlib.decompressobj()
            packed.decompress(content[start : start + size], _MOST_UNPACKED)
            if not packed.eof:
                raise ValueError(f"a variable is cut, or has more than {_MOST_UNPACKED} bytes")
        start += size


def _plain(value: Any, depth: int) -> Any:
    """Arrays as lists, structures as dictionaries."""
    if not depth:
        raise ValueError("an array lies too deep in others")
    names = getattr(getattr(value, "dtype", None), "names", None)
    if names:
        return [{name: _plain(row[name], depth - 1) for name in names} for row in value.ravel()]
    if hasattr(value, "tolist"):  # arrays and their items
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    if not isinstance(value, str | int | float):
        raise ValueError(f"a value is a {type(value).__name__}, neither number nor text")
    return value


if __name__ == "__main__":
    try:
        print(json.dumps(load(sys.stdin.buffer.read())))
    except MemoryError:
        raise
    except Exception as error:
        sys.exit(str(error) or type(error).__name__)
