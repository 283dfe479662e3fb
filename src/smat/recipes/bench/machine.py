"""What a measurement depends on, the machine, and what it takes, memory and open files."""

import ctypes
import gc
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

import smat
from smat.precision import instructions

# What makes matrix products fast, of x86 and ARM; the rest of a processor's instructions says little.
_WIDE = {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "bf16", "sve", "svebf16"}
_STATUS = Path("/proc/self/status")  # Linux


def machine(threads: int, device: torch.device) -> dict[str, Any]:
    """What numbers depend on besides the code."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    on_gpu = device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "instructions": sorted(instructions() & _WIDE),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "smat": smat.__version__,
    }


def peak_memory(device: torch.device) -> int:
    """This process's peak memory in bytes; on a GPU that of its tensors there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():  # on Linux `ru_maxrss` begins with that of the process that started this one
        return _status_bytes("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def usage() -> dict[str, float]:
    """This process's own memory and that of mapped files, in MB (10⁶ bytes), and its open files; on Linux only."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # what was freed is not in use, though the C library may keep it
        libc.malloc_trim(0)
    return {
        "own_mb": _status_bytes("RssAnon") / 1e6,
        "mapped_mb": _status_bytes("RssFile") / 1e6,
        "open_files": len(os.listdir("/proc/self/fd")),
    }


def _status_bytes(name: str) -> int:
    return 1024 * int(_STATUS.read_text().partition(f"{name}:")[2].split()[0])
