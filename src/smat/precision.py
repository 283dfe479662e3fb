"""The floating type that networks compute in: float32, or mixed with bfloat16 where that is fast."""

import logging
import os
import time
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

import torch

from smat.errors import ConfigError

NetworkPrecision = Literal["32-true", "bf16-mixed"]
"""What networks compute in: float32 throughout, or matrix products in bfloat16."""

Precision = Literal["auto", "32-true", "bf16-mixed"]
"""A setting: `auto` is what suits the device, by `resolve_precision`."""

_log = logging.getLogger(__name__)

_CPU_INFO = Path("/proc/cpuinfo")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # they switch instructions off
_AMX = {"amx_bf16", "amx_tile"}
_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16", "svebf16"}  # of x86 and ARM; without AMX they gain more or less

# How many times as fast a bfloat16 product must be: networks also round weights and activations, and have layers that
# stay in float32, so that they gain less than their products do.
_WORTHWHILE = 1.5
_TURNS = 20  # the first of them also prepares the kernels


def resolve_precision(precision: str, device: torch.device) -> NetworkPrecision:
    """The precision of networks on a device.

    `auto` is `bf16-mixed` on GPUs that have bfloat16 and on processors with AMX, and `32-true` on processors that have
    no instructions for bfloat16. Where their instructions do not tell, a small matrix product is timed in both. The
    answer is the same for the life of the process, and is logged once.

    Args:
        precision: a setting, one of `Precision`.
        device: where the networks are.

    Returns:
        The setting itself unless it is `auto`.

    Raises:
        ConfigError: an unknown precision.
    """
    if precision not in (known := get_args(Precision)):
        raise ConfigError(f"precision is {precision!r}; choose one of {', '.join(known)}")
    return _fastest(device.type) if precision == "auto" else cast(NetworkPrecision, precision)


@cache
def _fastest(device: str) -> NetworkPrecision:
    precision, reason = _on_cpu() if device == "cpu" else _on_accelerator(device)
    _log.info("precision: %s (%s)", precision, reason)
    return precision


def _on_accelerator(device: str) -> tuple[NetworkPrecision, str]:
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", "this GPU computes in bfloat16"
    return "32-true", f"no fast bfloat16 is known on this device, {device}"


def _on_cpu() -> tuple[NetworkPrecision, str]:
    """The precision for this processor, and why."""
    known = instructions()
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
    if not limits and known >= _AMX:
        return "bf16-mixed", "this processor has AMX"
    if known and not known & _BFLOAT16:
        return "32-true", "this processor has no bfloat16"
    gain = _bfloat16_gain()
    limited = f" under {', '.join(limits)}" if limits else ""
    reason = f"matrix products in bfloat16 take {1 / gain:.2f} of float32's time on this processor{limited}"
    return "bf16-mixed" if gain >= _WORTHWHILE else "32-true", reason


def instructions() -> set[str]:
    """Names of the processor's instruction sets, as Linux has them; empty where it is not known."""
    lines = _CPU_INFO.read_text(encoding="utf-8").splitlines() if _CPU_INFO.exists() else []
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(found, "").split())


def _bfloat16_gain() -> float:
    """How many times as fast as in float32 this processor multiplies matrices in bfloat16.

    By turns, the best of several, on one thread: other work on the machine then hardly shows.
    """
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(256, 256, generator=generator)
    operands = {dtype: matrix.to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(operands, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_TURNS):
            for dtype, operand in operands.items():
                start = time.perf_counter()
                torch.mm(operand, operand)
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return best[torch.float32] / best[torch.bfloat16]
