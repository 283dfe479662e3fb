"""θ = θ_pre + Σ_m α_m (z_m ⊙ θ_δ): the fused interpolation, one pass over memory in each direction.

For every gate the experts' gates meet in one number, the coefficient c = Σ_m α_m z_m, so that θ = θ_pre + c ⊙ θ_δ.
The autograd function saves nothing but its inputs: the gates, M numbers per parameter, exist only for a chunk at a
time, small enough for the cache of the processor, and are computed again in backward.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smat.experts.gates import HardConcrete, concrete, gate, nonzero_probability

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
    """

    vector: Float[Tensor, " params"]
    expected_density: Float[Tensor, " experts"]
    sparsity: Float[Tensor, " experts"]

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
        measure: whether to measure the gates; if not, θ alone is returned, for use without training.

    Gradients reach delta, gate_logits and merge_weights; θ_pre is frozen.
    """
    if not measure:
        return _merged_vector(pretrained, delta, gate_logits, merge_weights, hc, index)
    counts = None if index is None else torch.bincount(index, minlength=gate_logits.shape[1]).to(delta.dtype)
    vector, density, sparsity = _Interpolate.apply(
        pretrained, delta, gate_logits, merge_weights, index, counts, hc, density_hc or hc, uniform
    )  # pyright: ignore[reportGeneralTypeIssues]
    return Merged(vector, density, sparsity)


@torch.no_grad()
def _merged_vector(
    pretrained: Tensor, delta: Tensor, logits: Tensor, weights: Tensor, hc: HardConcrete, index: Tensor | None
) -> Tensor:
    coefficients = torch.empty_like(logits[0])
    for part in _chunks(logits):
        coefficients[part] = weights @ gate(logits[:, part], hc)
    return torch.addcmul(pretrained, coefficients if index is None else coefficients[index], delta)


def _chunks(logits: Tensor) -> Iterator[slice]:
    experts, gates = logits.shape
    step = max(1, _CHUNK_ELEMENTS.get(logits.device.type, _CHUNK_ELEMENTS_DEVICE) // max(1, experts))
    for start in range(0, gates, step):
        yield slice(start, min(start + step, gates))


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
        hc: HardConcrete,
        density_hc: HardConcrete,
        uniform: Uniform | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        coefficients = torch.empty_like(logits[0]) if index is not None else None
        vector = torch.empty_like(pretrained)
        nonzero, opened = logits.new_zeros(2, logits.shape[0])
        for part in _chunks(logits):
            phi = logits[:, part]
            z = gate(phi, hc, uniform(part.start, part.stop) if uniform else None)
            coefficient = weights @ z
            probability = nonzero_probability(phi, density_hc)
            is_open = z.sign_()  # as numbers: cheaper to count than booleans
            if coefficients is None or counts is None:
                torch.addcmul(pretrained[part], coefficient, delta[part], out=vector[part])
                nonzero += probability.sum(1)
                opened += is_open.sum(1)
            else:
                coefficients[part] = coefficient
                nonzero += probability @ counts[part]
                opened += is_open @ counts[part]
        if coefficients is not None and index is not None:
            torch.addcmul(pretrained, coefficients[index], delta, out=vector)
        sparsity = (delta.numel() - opened) / delta.numel()
        ctx.save_for_backward(delta, logits, weights, index, counts)
        ctx.hc, ctx.density_hc, ctx.uniform = hc, density_hc, uniform
        ctx.mark_non_differentiable(sparsity)
        return vector, nonzero / delta.numel(), sparsity

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_vector, grad_density, _ = grads
        delta, logits, weights, index, counts = ctx.saved_tensors
        hc: HardConcrete = ctx.hc
        grad_delta = torch.empty_like(delta)
        grad_logits = torch.empty_like(logits) if ctx.needs_input_grad[2] else None
        grad_weights = torch.zeros_like(weights)
        density_scale = (grad_density / delta.numel())[:, None]
        slopes = (weights * ((hc.zeta - hc.gamma) / hc.beta))[:, None]
        grad_shared = coefficients = None
        if index is not None:
            # the gradient of a shared gate's coefficient is the sum over the parameters that follow it
            grad_shared = torch.zeros_like(logits[0]).index_add_(0, index, grad_vector * delta)
            coefficients = torch.empty_like(logits[0])
        for part in _chunks(logits):
            phi = logits[:, part]
            s = concrete(phi, hc, ctx.uniform(part.start, part.stop) if ctx.uniform else None)
            stretched = s * (hc.zeta - hc.gamma) + hc.gamma
            z = stretched.clamp(0, 1)
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
            probability = nonzero_probability(phi, ctx.density_hc)
            scale = density_scale if counts is None else density_scale * counts[part]
            through_density = aten.sigmoid_backward(scale, probability)
            torch.add(through_gate, through_density, out=grad_logits[:, part])
        if coefficients is not None:
            torch.mul(grad_vector, coefficients[index], out=grad_delta)
        return None, grad_delta, grad_logits, grad_weights, None, None, None, None, None
