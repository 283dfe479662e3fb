"""Experts packed for use: a bit or two for each gate, the update only where a gate is open, merging by a table.

A trained pool needs no gate logits: codes of the gates are enough to merge by (see `smat.experts.lookup`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from smat.backbones import Backbone
from smat.compression import Coding, rounded
from smat.errors import CheckpointError, ConfigError
from smat.experts.interpolation import Merged, Uniform, weighted_sum
from smat.experts.lookup import Bits, decode, encode, merge_by_table
from smat.experts.updates import Update
from smat.flat import Layout
from smat.schema import checked


@dataclass(frozen=True)
@checked("pool.packed")
class Packing:
    """How a pool was packed.

    Attributes:
        bits: bits of a gate's code: 1 says whether it is open, 2 that it is 0, 1/3, 2/3 or 1.
        lossy: whether numbers were rounded: gates to their levels, the update to 31 steps, the backbone's matrices to
            255.
    """

    bits: Bits = 1
    lossy: bool = False

    def bytes_for(self, experts: int) -> int:
        """Number of bytes of the codes of one parameter."""
        return -(-experts * self.bits // 8)

    @property
    def coding(self) -> Coding:
        """How the update is kept."""
        return "int5" if self.lossy else "exact"

    def codings(self, layout: Layout) -> Mapping[str, Coding]:
        """How the tensors of a file are kept, by name, but for those that are always exact."""
        kept: dict[str, Coding] = {"update.values": self.coding}
        for name in self.matrices(layout):
            kept[f"pretrained/{name}"] = "int8"
        return kept

    def matrices(self, layout: Layout) -> list[str]:
        """The parameters of the backbone that are rounded: those with rows, which hold nearly all of its numbers."""
        return [n for n, shape in zip(layout.names, layout.shapes, strict=True) if self.lossy and len(shape) > 1]


class PackedGates(Update):
    """A shared update behind gates that do not change any more.

    Args:
        packing: bits of a gate, and whether numbers are rounded.

    Attributes:
        codes: the gates' codes, the first expert's in the lowest bits of the first byte, `[bytes, params]`.
        values: the update where some gate is open, `[open]`.
        partial: with one bit for a gate: a bit for each open one, parameter by parameter, that says whether it is below
            1; empty where none is.
        fractions: those gates, in the same order.
        delta: the update with its zeros, `[params]`.
        columns: parameters that some expert's gate opens in part, `[columns]`.
        column_gates: every expert's gate of these, `[experts, columns]`.
        compiled: whether merging uses a compiled kernel (see `smat.experts.compiled`).
    """

    codes: Tensor
    values: Tensor
    partial: Tensor
    fractions: Tensor
    delta: Tensor
    columns: Tensor
    column_gates: Tensor

    def __init__(self, packing: Packing) -> None:
        super().__init__()
        self.packing = packing
        self.compiled = False

    @property
    def bits(self) -> Bits:
        """Bits of a gate's code."""
        return self.packing.bits

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """Closed gates."""
        self.experts = experts
        codes = torch.zeros(self.packing.bytes_for(experts), layout.size, dtype=torch.uint8)
        self._take(codes, *[torch.zeros(0)] * 3)

    def fill(self, delta: Float[Tensor, " params"], gates: Float[Tensor, "experts params"]) -> None:
        """Take over an update and its gates, rounded as the packing says."""
        levels = (gates > 0).byte() if self.bits == 1 else (gates * 3).round().byte()
        codes = encode(levels, self.bits)
        values = rounded(delta.detach()[_some_open(codes)], self.packing.coding)
        partial, fractions = [values.new_zeros(0)] * 2
        if self.bits == 1 and (fractional := (gates.T > 0) & (gates.T < 1)).any():
            partial, fractions = _bytes_of(fractional[gates.T > 0]), gates.T[fractional]
        self._take(codes, values, partial, fractions)

    def _take(self, codes: Tensor, values: Tensor, partial: Tensor, fractions: Tensor) -> None:
        """Keep the packed form, and what merging makes of it: the dense update, and the columns with fractions."""
        self.register_buffer("codes", codes)
        self.register_buffer("values", values.float())
        self.register_buffer("partial", partial.byte())
        self.register_buffer("fractions", fractions.float())
        delta = self.values.new_zeros(codes.shape[1])
        delta[_some_open(codes)] = self.values
        self.register_buffer("delta", delta, persistent=False)
        columns, gates = self._columns_with_fractions()
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("column_gates", gates, persistent=False)

    def _columns_with_fractions(self) -> tuple[Tensor, Float[Tensor, "experts columns"]]:
        if not len(self.partial):
            return self.codes.new_zeros(0, dtype=torch.int32), self.values.new_zeros(self.experts, 0)
        is_open = self._levels(self.codes).T > 0
        fractional = torch.zeros_like(is_open)
        fractional[is_open] = _bits_of(self.partial, int(is_open.sum()))
        columns = fractional.any(1).nonzero()[:, 0]
        gates = is_open[columns].float()
        gates[fractional[columns]] = self.fractions
        return columns.int(), gates.T.contiguous()

    def current(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors, for which there is room from now on.

        Raises:
            CheckpointError: they contradict each other.
        """
        names = ("codes", "values", "partial", "fractions")
        found = [tensors.get(f"update.{name}") for name in names]
        codes, values, partial, fractions = (torch.zeros(0) if tensor is None else tensor for tensor in found)
        if codes.shape != self.codes.shape or codes.dtype != torch.uint8:
            return tensors  # which will be said of it as of any other tensor
        between, fits = 0, partial.dtype == torch.uint8
        if fits and partial.numel():
            opened = int((self._levels(codes) > 0).sum())
            fits = partial.shape == (-(-opened // 8),)
            between = int(_bits_of(partial, opened).sum()) if fits else 0
        if not fits or values.shape != (int(_some_open(codes).sum()),) or fractions.shape != (between,):
            raise CheckpointError("its packed experts contradict each other: it was changed")
        self._take(*(tensor.to(self.codes.device) for tensor in (codes, values, partial, fractions)))
        return tensors

    def _levels(self, codes: UInt8[Tensor, "bytes n"]) -> Float[Tensor, "experts n"]:
        """The gates that codes stand for."""
        return decode(codes, self.bits, self.experts)

    # -- merging ---------------------------------------------------------------------------------------------------

    def merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """θ_pre + Σ_m α_m (z_m ⊙ θ_δ), a look-up for each parameter."""
        return self._merged(pretrained, self.delta, weights)

    @torch.no_grad()
    def _merged(self, pretrained: Tensor, delta: Tensor, weights: Tensor) -> Tensor:
        vector = merge_by_table(pretrained, delta, self.codes, weights, self.bits, self.compiled)
        if len(self.columns):
            where = self.columns
            vector[where] = torch.addcmul(pretrained[where], weighted_sum(weights, self.column_gates), delta[where])
        return vector

    @torch.no_grad()
    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """The merged network, and the density of the gates; without gradients."""
        density = (self._levels(self.codes) > 0).float().mean(1)
        return Merged(self.merged_vector(pretrained, weights), density, 1 - density)

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """Every expert's gate of every parameter: M·P numbers."""
        gates = self._levels(self.codes)
        return gates.index_copy_(1, self.columns.long(), self.column_gates)

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """Σ_m α_m z_m, without the M·P numbers of `gates`."""
        return self._merged(torch.zeros_like(self.delta), torch.ones_like(self.delta), weights)

    def trainable(self) -> dict[str, list[torch.nn.Parameter]]:
        """Nothing of a packed pool can be trained.

        Raises:
            ConfigError: always, as whoever asks wants to train.
        """
        raise ConfigError(
            "this pool is packed, for use and not for training: train from the checkpoint that it was packed from"
        )


def _some_open(codes: UInt8[Tensor, "bytes n"]) -> Bool[Tensor, " n"]:
    return (codes != 0).any(0)


def _bytes_of(bits: Bool[Tensor, " n"]) -> UInt8[Tensor, " bytes"]:
    """Eight bits to a byte, the first one lowest."""
    padded = torch.nn.functional.pad(bits.byte(), (0, -len(bits) % 8)).view(-1, 8)
    return (padded << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(1, dtype=torch.uint8)


def _bits_of(data: UInt8[Tensor, " bytes"], count: int) -> Bool[Tensor, " n"]:
    """The inverse of `_bytes_of`."""
    bits = data[:, None] >> torch.arange(8, dtype=torch.uint8, device=data.device) & 1
    return bits.view(-1)[:count].bool()
