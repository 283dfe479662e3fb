"""Learned gates of which each process of a training holds a slice, for pools that fit into none of them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from smat.errors import ConfigError
from smat.experts.interpolation import Merged, Uniform
from smat.experts.learned_gates import LearnedGates, OfficialGates


class Slices:
    """How the parameters of a network are divided among processes: into consecutive slices of nearly equal length.

    Args:
        params: number of parameters P.
        rank: number of this process.
        world: number of processes N.
    """

    def __init__(self, params: int, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.lengths = [params // world + (number < params % world) for number in range(world)]
        self.own = slice(sum(self.lengths[:rank]), sum(self.lengths[: rank + 1]))

    def of(self, whole: Tensor) -> Tensor:
        """This process's slice of the last dimension, in memory of its own."""
        return whole[..., self.own].clone()

    def whole(self, part: Tensor) -> Tensor | None:
        """All slices put together, on the CPU of the first process; None in the others. All processes must call it."""
        if self.rank:
            distributed.send(part.detach().contiguous(), 0)
            return None
        parts = [part.detach().cpu()]
        for number in range(1, self.world):
            other = part.new_empty((*part.shape[:-1], self.lengths[number]))
            distributed.recv(other, number)
            parts.append(other.cpu())
        return torch.cat(parts, dim=-1)


class _Sum(torch.autograd.Function):
    """The sum over processes, of values and of gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Sum.forward(ctx, grads[0])


class _Exchange(torch.autograd.Function):
    """Every process gives each other one its slice of that one's network, and gets the network of its own."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, lengths: Sequence[int]) -> Tensor:
        ctx.lengths, ctx.shape = lengths, parts.shape
        vector = parts.new_empty(sum(lengths))
        distributed.all_to_all_single(vector, parts.reshape(-1), list(lengths), [parts.shape[1]] * len(lengths))
        return vector

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = grads[0].new_empty(ctx.shape)
        lengths = list(ctx.lengths)
        distributed.all_to_all_single(parts.view(-1), grads[0].contiguous(), [ctx.shape[1]] * len(lengths), lengths)
        return parts, None


class ShardedGates(LearnedGates):
    """Learned gates with a slice of the update and of the logits in each process of a training.

    Each process has tasks of its own. In `merge`, which all must call at once, it merges its slice for the merge
    weights of every process, and the slices change hands; backward, their gradients do. So gradients in a slice are
    the sums over all processes, and nothing of M·P numbers is in any of them. It computes what `LearnedGates` does.

    Attributes:
        slices: who holds what.
        delta: the slice of θ_δ, `[own]`.
        gate_logits: the slice of φ, `[experts, own]`.
    """

    slices: Slices

    @classmethod
    def of(cls, whole: LearnedGates, slices: Slices) -> "ShardedGates":
        """The slice of this process.

        Raises:
            ConfigError: gates that cannot be divided.
        """
        if isinstance(whole, OfficialGates) or whole.gate_index is not None:
            raise ConfigError(
                "strategy sharded divides a gate for each parameter: set pool.structure to parameter and compat to none"
            )
        part = cls(
            whole.distribution, whole.structure, whole.start, whole.logit_range, whole.estimator, whole.hardening
        )
        part.register_buffer("gate_index", None, persistent=False)
        part.slices, part._layout = slices, whole._layout
        part.delta = nn.Parameter(slices.of(whole.delta.data))
        part.gate_logits = nn.Parameter(slices.of(whole.gate_logits.data))
        return part

    def whole(self) -> LearnedGates | None:
        """All slices together, in the first process; None in the others. All must call it."""
        delta, logits = (self.slices.whole(part) for part in (self.delta.data, self.gate_logits.data))
        if delta is None or logits is None:
            return None
        whole = LearnedGates(
            self.distribution, self.structure, self.start, self.logit_range, self.estimator, self.hardening
        )
        whole.register_buffer("gate_index", None, persistent=False)
        whole._layout, whole.progress = self._layout, self.progress
        whole.delta, whole.gate_logits = nn.Parameter(delta), nn.Parameter(logits)
        return whole.train(self.training)

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """The network of this process's merge weights; all processes must call it, each with its own."""
        own = pretrained[self.slices.own]
        merged = [super(ShardedGates, self).merge(own, row) for row in self._weights_of_all(weights)]
        vector: Tensor = _Exchange.apply(torch.stack([m.vector for m in merged]), self.slices.lengths)  # pyright: ignore
        share = len(own) / len(pretrained)
        density: Tensor = _Sum.apply(merged[0].expected_density * share)  # pyright: ignore
        sparsity: Tensor = _Sum.apply(merged[0].sparsity * share)  # pyright: ignore
        return Merged(vector, density, sparsity)

    def merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """The parameters of `merge` alone; all processes must call it, each with its own merge weights."""
        own = pretrained[self.slices.own]
        with torch.no_grad():
            parts = [super(ShardedGates, self).merged_vector(own, row) for row in self._weights_of_all(weights)]
            return _Exchange.apply(torch.stack(parts), self.slices.lengths)  # pyright: ignore[reportReturnType]

    def _weights_of_all(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, "processes experts"]:
        placed = torch.zeros(self.slices.world, len(weights), device=weights.device, dtype=weights.dtype)
        row = torch.tensor([self.slices.rank], device=weights.device)
        return _Sum.apply(placed.index_copy(0, row, weights[None]))  # pyright: ignore[reportReturnType]
