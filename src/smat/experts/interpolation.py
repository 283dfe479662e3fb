"""θ = θ_pre + Σ_m α_m (z_m ⊙ θ_δ): the fused interpolation, one pass over memory in each direction.

For every gate the experts' gates meet in one number, the coefficient c = Σ_m α_m z_m, so that θ = θ_pre + c ⊙ θ_δ.
The autograd function saves nothing but its inputs: the gates, M numbers per parameter, exist only for a chunk at a
time, small enough for the cache of the processor, and are computed again in backward.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smat.experts.compiled import CompiledGates
from smat.experts.gates import GateMode, HardConcrete, concrete, gate, nonzero_probability
from smat.transfer import onto

aten = torch.ops.aten

Uniform = Callable[[int, int], Tensor]
"""Gives the gate noise u, `[experts, stop - start]` in (0, 1), for gates start..stop; the same at every call."""

# Numbers of a chunk of gates: a handful of temporaries of 2^18 floats stays in the second-level caches of two cores.
_CHUNK_ELEMENTS = {"cpu": 1 << 18}
_CHUNK_ELEMENTS_DEVICE = 1 << 26


@dataclass(frozen=True)
class Merged:
    """A merged network and what its gates were like.

    Attributes:
        vector: θ, the merged parameters, `[params]`.
        expected_density: P(z ≠ 0) of each expert averaged over its parameters, `[experts]`, differentiable.
        sparsity: share of each expert's parameters whose gate is exactly 0, `[experts]`.
        by_segment: the same two of each segment of the parameters, where there are several, `[experts, segments]`.
    """

    vector: Float[Tensor, " params"]
    expected_density: Float[Tensor, " experts"]
    sparsity: Float[Tensor, " experts"]
    by_segment: tuple[Float[Tensor, "experts segments"], Float[Tensor, "experts segments"]] | None = None

    @classmethod
    def dense(cls, vector: Float[Tensor, " params"], weights: Float[Tensor, " experts"]) -> "Merged":
        """A network merged without gates: every expert's density is 1 and its sparsity 0."""
        return cls(vector, torch.ones_like(weights), torch.zeros_like(weights))


@overload
def interpolate(
    pretrained: Tensor,
    delta: Tensor,
    gate_logits: Tensor,
    merge_weights: Tensor,
    hc: HardConcrete,
    *,
    index: Tensor | None = ...,
    uniform: Uniform | None = ...,
    density_hc: HardConcrete | None = ...,
    mode: GateMode = ...,
    segments: Sequence[int] = ...,
    compiled: bool = ...,
    measure: Literal[True] = ...,
) -> Merged: ...


@overload
def interpolate(
    pretrained: Tensor,
    delta: Tensor,
    gate_logits: Tensor,
    merge_weights: Tensor,
    hc: HardConcrete,
    *,
    index: Tensor | None = ...,
    mode: GateMode = ...,
    compiled: bool = ...,
    measure: Literal[False],
) -> Tensor: ...


def interpolate(
    pretrained: Float[Tensor, " params"],
    delta: Float[Tensor, " params"],
    gate_logits: Float[Tensor, "experts gates"],
    merge_weights: Float[Tensor, " experts"],
    hc: HardConcrete,
    *,
    index: Int[Tensor, " params"] | None = None,
    uniform: Uniform | None = None,
    density_hc: HardConcrete | None = None,
    mode: GateMode = "soft",
    segments: Sequence[int] = (),
    compiled: bool = False,
    measure: bool = True,
) -> Merged | Tensor:
    """Merge the experts into one network (paper, eq. 4) and measure their gates on the way.

    Args:
        pretrained: θ_pre.
        delta: θ_δ, the dense update that the experts share.
        gate_logits: φ; G = P where every parameter has its own gate.
        merge_weights: α, any real numbers.
        hc: distribution of the gates.
        index: the gate of each parameter (see `smat.experts.structure`), None where G = P.
        uniform: noise of random gates; deterministic gates without.
        density_hc: distribution for the expected density where it is not `hc` (the authors' evaluation).
        mode: `soft` gates, or those of 0 or 1, with or without a slope.
        segments: lengths of consecutive parts of the parameters, P in all, that are measured apart; only for G = P.
        compiled: whether to use compiled kernels, which there are for soft deterministic gates, one per parameter, that
            are measured together: the same numbers within rounding.
        measure: whether to measure the gates; if not, θ alone is returned, for use without training.

    Gradients reach delta, gate_logits and merge_weights; θ_pre is frozen.
    """
    if not measure:
        return _merged_vector(pretrained, delta, gate_logits, merge_weights, hc, index, mode, compiled)
    counts = None if index is None else torch.zeros_like(gate_logits[0]).index_add(0, index, torch.ones_like(delta))
    lengths = tuple(segments) or (gate_logits.shape[1],)
    compiled = compiled and uniform is None and len(lengths) == 1 and _has_kernel(index, mode)
    settings = _Settings(hc, density_hc or hc, uniform, mode, lengths, compiled)
    vector, density, sparsity = _Interpolate.apply(
        pretrained, delta, gate_logits, merge_weights, index, counts, settings
    )  # pyright: ignore[reportGeneralTypeIssues]
    if len(lengths) == 1:
        return Merged(vector, density[:, 0], sparsity[:, 0])
    shares = onto(torch.tensor(lengths, dtype=density.dtype), density.device) / delta.numel()
    return Merged(vector, density @ shares, sparsity @ shares, (density, sparsity))


def _has_kernel(index: Tensor | None, mode: GateMode) -> bool:
    return index is None and mode == "soft"


@torch.no_grad()
def _merged_vector(
    pretrained: Tensor,
    delta: Tensor,
    logits: Tensor,
    weights: Tensor,
    hc: HardConcrete,
    index: Tensor | None,
    mode: GateMode,
    compiled: bool,
) -> Tensor:
    vector, coefficients, begin = torch.empty_like(pretrained), torch.empty_like(logits[0]), 0
    if compiled and _has_kernel(index, mode):
        kernels = CompiledGates(delta, logits, hc, hc)
        kernels.merge(pretrained, weights, vector, measure=False)
        begin = kernels.end
    for part in chunks(logits, begin):
        coefficients[part] = weighted_sum(weights, gate(logits[:, part], hc, mode=mode))
    rest = slice(begin, None)
    of_parameters = coefficients[rest] if index is None else coefficients[index]
    torch.addcmul(pretrained[rest], of_parameters, delta[rest], out=vector[rest])
    return vector


def weighted_sum(weights: Float[Tensor, " experts"], gates: Float[Tensor, "experts n"]) -> Float[Tensor, " n"]:
    """Σ_m α_m z_m, one expert after the other: the same number for the same gates, wherever they stand.

    A matrix product adds in an order that depends on its size and on the processor, so that a packed pool, which
    computes 256 sums in place of one per parameter, would differ from its original in the last bits.
    """
    total = weights[0] * gates[0]
    product = torch.empty_like(total)
    for weight, of_expert in zip(weights[1:], gates[1:], strict=True):
        total += torch.mul(weight, of_expert, out=product)
    return total


def chunks(gates: Tensor, begin: int = 0, end: int | None = None) -> Iterator[slice]:
    """Parts of `[experts, gates]`, or of its columns from `begin` to `end`, whose temporaries stay in the cache."""
    end = gates.shape[1] if end is None else end
    step = max(1, _CHUNK_ELEMENTS.get(gates.device.type, _CHUNK_ELEMENTS_DEVICE) // max(1, len(gates)))
    for start in range(begin, end, step):
        yield slice(start, min(start + step, end))


def _segments(gates: Tensor, lengths: Sequence[int], done: int) -> Iterator[tuple[int, slice]]:
    """The chunks of every segment, with its number, but for what is done of the first."""
    begin = 0
    for number, length in enumerate(lengths):
        yield from ((number, part) for part in chunks(gates, max(begin, done), begin + length))
        begin += length


@dataclass(frozen=True)
class _Settings:
    """What is not a tensor; see `interpolate`."""

    hc: HardConcrete
    density_hc: HardConcrete
    uniform: Uniform | None
    mode: GateMode
    lengths: tuple[int, ...]
    compiled: bool

    def kernels(self, delta: Tensor, logits: Tensor) -> CompiledGates | None:
        return CompiledGates(delta, logits, self.hc, self.density_hc) if self.compiled else None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pretrained: Tensor,
        delta: Tensor,
        logits: Tensor,
        weights: Tensor,
        index: Tensor | None,
        counts: Tensor | None,
        settings: _Settings,
    ) -> tuple[Tensor, Tensor, Tensor]:
        hc, density_hc, uniform, mode = settings.hc, settings.density_hc, settings.uniform, settings.mode
        lengths, done = settings.lengths, 0
        coefficients = torch.empty_like(logits[0]) if index is not None else None
        vector = torch.empty_like(pretrained)
        nonzero, opened = logits.new_zeros(2, logits.shape[0], len(lengths))
        if kernels := settings.kernels(delta, logits):
            nonzero[:, 0], opened[:, 0] = kernels.merge(pretrained, weights, vector)
            done = kernels.end
        for segment, part in _segments(logits, lengths, done):
            phi = logits[:, part]
            z = gate(phi, hc, uniform(part.start, part.stop) if uniform else None, mode)
            coefficient = weights @ z
            probability = nonzero_probability(phi, density_hc, mode)
            is_open = z.sign_()  # as numbers: cheaper to count than booleans
            if coefficients is None or counts is None:
                torch.addcmul(pretrained[part], coefficient, delta[part], out=vector[part])
                nonzero[:, segment] += probability.sum(1)
                opened[:, segment] += is_open.sum(1)
            else:
                coefficients[part] = coefficient
                nonzero[:, segment] += probability @ counts[part]
                opened[:, segment] += is_open @ counts[part]
        if coefficients is not None and index is not None:
            torch.addcmul(pretrained, coefficients[index], delta, out=vector)
        sizes = torch.tensor(lengths if index is None else [delta.numel()], dtype=delta.dtype)
        sizes = onto(sizes, delta.device)
        sparsity = (sizes - opened) / sizes
        ctx.save_for_backward(delta, logits, weights, index, counts)
        ctx.settings, ctx.sizes = settings, sizes
        ctx.mark_non_differentiable(sparsity)
        return vector, nonzero / sizes, sparsity

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_vector, grad_density, _ = grads
        delta, logits, weights, index, counts = ctx.saved_tensors
        settings: _Settings = ctx.settings
        hc, mode, done = settings.hc, settings.mode, 0
        grad_delta = torch.empty_like(delta)
        grad_logits = torch.empty_like(logits) if ctx.needs_input_grad[2] and mode != "hard" else None
        grad_weights = torch.zeros_like(weights)
        density_scales = grad_density / ctx.sizes
        slopes = (weights * ((hc.zeta - hc.gamma) / hc.beta))[:, None]
        grad_shared = coefficients = None
        if index is not None:
            # the gradient of a shared gate's coefficient is the sum over the parameters that follow it
            grad_shared = torch.zeros_like(logits[0]).index_add_(0, index, grad_vector * delta)
            coefficients = torch.empty_like(logits[0])
        if grad_logits is not None and (kernels := settings.kernels(delta, logits)):
            grad_weights = kernels.gradients(grad_vector, density_scales[:, 0], weights, grad_delta, grad_logits)
            done = kernels.end
        for segment, part in _segments(logits, settings.lengths, done):
            phi = logits[:, part]
            uniform = settings.uniform(part.start, part.stop) if settings.uniform else None
            s = concrete(phi, hc, uniform)
            stretched = s * (hc.zeta - hc.gamma) + hc.gamma
            z = stretched.clamp(0, 1) if mode == "soft" else gate(phi, hc, uniform, mode)
            if grad_shared is not None and coefficients is not None:
                grad_coefficient = grad_shared[part]
                coefficients[part] = weights @ z
            else:
                grad_coefficient = grad_vector[part] * delta[part]
                torch.mul(grad_vector[part], weights @ z, out=grad_delta[part])
            grad_weights += z @ grad_coefficient
            if grad_logits is None:
                continue
            # each is one pass: the slope of the clip, and those of the two sigmoids
            clipped = aten.hardtanh_backward(slopes * grad_coefficient, stretched, 0, 1)
            through_gate = aten.sigmoid_backward(clipped, s)
            probability = nonzero_probability(phi, settings.density_hc, mode)
            density_scale = density_scales[:, segment, None]
            scale = density_scale if counts is None else density_scale * counts[part]
            through_density = aten.sigmoid_backward(scale, probability)
            torch.add(through_gate, through_density, out=grad_logits[:, part])
        if coefficients is not None:
            torch.mul(grad_vector, coefficients[index], out=grad_delta)
        return None, grad_delta, grad_logits, grad_weights, None, None, None
