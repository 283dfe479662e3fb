"""The process: its memory and its threads."""

import ctypes
import sys

import torch

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_THRESHOLD_BYTES = 4 << 20


def return_freed_memory() -> None:
    """Have this process give large freed blocks back to the system at once; without glibc nothing happens.

    By default glibc comes to keep freed blocks of up to 32 MB, and what a training task frees (activations, of many
    sizes) does not fit what it needs next: on a ViT-S the process grows by a quarter of its size.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)


def leave_cores_to(workers: int) -> None:
    """Compute with fewer threads, at least one, so that worker processes have cores of their own.

    Threads of one computation wait for each other: where a worker takes one's core, all stand still.
    """
    torch.set_num_threads(max(1, torch.get_num_threads() - workers))
