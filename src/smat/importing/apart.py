"""Files that could crash what reads them, or fill the memory: read by a process of its own, with limits.

The readers are scripts of this package that import nothing else of it, so that they start quickly. They get a file's
content as standard input, write what they make of it to standard output, and end with a message where it is of no use.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from smat.errors import DataError
from smat.importing import pickles

try:
    import resource
except ImportError:  # Windows
    resource = None

_SECONDS = 60  # the largest official file takes less than one
_MEMORY = 2**31  # bytes of address space, Python's own included; the largest official file takes a quarter of it


def read_pickle(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle file holds, of numbers, strings, bytes, lists, tuples, and arrays of uint8.

    Strings of Python 2 come as bytes, as keys as strings. Nothing that the file names is called.

    Raises:
        DataError: it holds, or names, anything else, is damaged, or takes too much time or memory.
    """
    _run("pickles.py", content, "-S")  # what can be done with limits can then be done here, where the arrays are wanted
    found = pickles.load(content)
    return {
        name: np.frombuffer(value.content, np.uint8).reshape(value.shape) if isinstance(value, pickles.Array) else value
        for name, value in found.items()
    }


def read_matlab(content: bytes) -> dict[str, Any]:
    """The variables of a MATLAB 5 file as numbers, strings, lists, and dictionaries for structures.

    Dimensions of size 1 are dropped.

    Raises:
        DataError: it is no such file, is damaged, or takes too much time or memory.
    """
    return json.loads(_run("matlab.py", content))


def _run(script: str, content: bytes, *flags: str) -> bytes:
    """The output of a reader; `-S` as a flag starts Python without installed packages, which is faster.

    Raises:
        DataError: the reader refuses the content, reaches a limit, or crashes.
    """
    command = [sys.executable, "-P", *flags, str(Path(__file__).with_name(script))]
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each thread would reserve memory
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=alone
    ) as process:
        if resource is not None and hasattr(resource, "prlimit"):  # Linux; the reader is still waiting for its input
            resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        try:
            output, messages = process.communicate(content, _SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise DataError(f"reading it takes more than {_SECONDS} s: fetch it again") from error
        except BaseException:
            process.kill()
            raise
    if not process.returncode:
        return output
    said = (messages.decode(errors="replace").splitlines() or [""])[-1]
    if process.returncode < 0:
        said = f"reading it ended the process (signal {-process.returncode}): fetch it again"
    elif said.startswith(("MemoryError", "numpy._core._exceptions._ArrayMemoryError")):
        said = f"reading it takes more than {_MEMORY / 2**30:g} GiB of memory: fetch it again"
    raise DataError(said)
