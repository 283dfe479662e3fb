"""The process: its memory, its threads, and the versions of what it runs."""

import ctypes
import sys
from importlib.metadata import version

import torch

import smat

# Parameters of glibc's malloc (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have this process keep freed memory for its next use; without glibc nothing happens.

    By default glibc asks the system for every large block and gives it back when it is freed. The system clears each
    page anew: for activations, needed for milliseconds, that takes as long as the computation with them.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def leave_cores_to(workers: int) -> None:
    """Compute with fewer threads, at least one, so that worker processes have cores of their own.

    Threads of one computation wait for each other: where a worker takes one's core, all stand still.
    """
    torch.set_num_threads(max(1, torch.get_num_threads() - workers))


def versions(*packages: str) -> dict[str, str]:
    """Versions of smat and of other packages, by name, for the records that numbers are kept with.

    smat's is its own: the distribution has another name, and a source tree on the path has none.
    """
    return {"smat": smat.__version__} | {name: version(name) for name in packages}
