"""Merging by a table: gates that do not change are a few bits a parameter, and what they amount to is looked up.

The codes of up to eight gates of one bit for one parameter are a byte, and Σ_m α_m z_m is one of 256 numbers for a
task: θ = θ_pre + table[code] ⊙ θ_δ.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from smat.experts.compiled import look_up
from smat.experts.interpolation import chunks, weighted_sum

Bits = Literal[1, 2]
"""Bits of a gate's code: 1 says whether it is open, 2 that it is 0, 1/3, 2/3 or 1."""
ONE_BYTE = 8
"""Experts whose codes of one bit are a byte. With more, sums of two tables differ in the last bits from other code."""
_LEVELS: dict[Bits, tuple[float, ...]] = {1: (0.0, 1.0), 2: (0.0, 1 / 3, 2 / 3, 1.0)}


def encode(levels: UInt8[Tensor, "experts n"], bits: Bits) -> UInt8[Tensor, "bytes n"]:
    """Codes of gates by the numbers of their levels, the first expert's in the lowest bits of the first byte."""
    each = 8 // bits
    codes = levels.new_zeros(-(-len(levels) // each), levels.shape[1])
    for m, level in enumerate(levels):
        codes[m // each] |= level << (bits * (m % each))
    return codes


def decode(codes: UInt8[Tensor, "bytes n"], bits: Bits, experts: int) -> Float[Tensor, "experts n"]:
    """The gates that codes stand for."""
    each, mask = 8 // bits, 2**bits - 1
    levels = torch.tensor(_LEVELS[bits], device=codes.device)
    rows = [codes[m // each] >> (bits * (m % each)) & mask for m in range(experts)]
    return levels[torch.stack(rows).int()]


@torch.no_grad()
def merge_by_table(
    pretrained: Float[Tensor, " params"],
    delta: Float[Tensor, " params"],
    codes: UInt8[Tensor, "bytes params"],
    weights: Float[Tensor, " experts"],
    bits: Bits = 1,
    compiled: bool = False,
) -> Float[Tensor, " params"]:
    """θ_pre + Σ_m α_m (z_m ⊙ θ_δ).

    Args:
        pretrained: θ_pre.
        delta: θ_δ.
        codes: of the gates z.
        weights: merge weights α.
        bits: bits of a gate.
        compiled: whether by a compiled kernel.
    """
    each = 8 // bits
    every = torch.arange(256, dtype=torch.uint8, device=weights.device).expand(len(codes), -1)
    levels = decode(every, bits, len(weights))
    tables = [weighted_sum(weights[m : m + each], levels[m : m + each]) for m in range(0, len(weights), each)]
    if compiled:
        return look_up(pretrained, delta, codes, torch.stack(tables))
    vector = torch.empty_like(pretrained)
    for part in chunks(codes):
        coefficients = tables[0].index_select(0, codes[0, part].int())
        for table, more in zip(tables[1:], codes[1:], strict=True):
            coefficients += table.index_select(0, more[part].int())
        torch.addcmul(pretrained[part], coefficients, delta[part], out=vector[part])
    return vector


@torch.no_grad()
def codes_of(
    parts: Iterable[Float[Tensor, "experts _"] | Bool[Tensor, "experts _"]],
) -> UInt8[Tensor, "1 gates"] | None:
    """Codes of one bit for gates that come a part after the other; None where there are none, or codes would not do.

    That is where a gate is between 0 and 1, and where there are more experts than a byte has bits.
    """
    codes: list[Tensor] = []
    for z in parts:
        is_open = z > 0
        if len(z) > ONE_BYTE or (is_open & (z < 1)).any():
            return None
        codes.append(encode(is_open.byte(), 1))
    return torch.cat(codes, dim=1) if codes else None
