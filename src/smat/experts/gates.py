"""Hard-concrete gates: random or deterministic numbers in [0, 1] that are exactly 0 or 1 with positive probability.

Louizos, Welling & Kingma, *Learning Sparse Neural Networks through L0 Regularization* (2018).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from smat.schema import Positive, Range, checked

GateMode = Literal["soft", "straight-through", "hard"]
"""What a gate is: a hard-concrete number in [0, 1]; 0 or 1 with the slope of that number (Bengio et al. 2013); or 0 or
1 without a slope."""


@dataclass(frozen=True)
@checked("pool.gates")
class HardConcrete:
    """The hard-concrete distribution (Louizos et al. 2018).

    Attributes:
        beta: gate temperature β in training, above 0.
        gamma: lower end γ of the stretched interval, below 0, so that gates can be exactly 0.
        zeta: upper end ζ of the stretched interval, above 1, so that gates can be exactly 1.
    """

    beta: Positive = 2 / 3
    gamma: Annotated[float, Range(high=0, below=True)] = -0.1
    zeta: Annotated[float, Range(1, above=True)] = 1.1

    @property
    def density_shift(self) -> float:
        """β log(-γ/ζ): what is taken from a logit to get the log-odds of a gate that is not 0."""
        return self.beta * math.log(-self.gamma / self.zeta)


def noisy(logits: Float[Tensor, "*shape"], uniform: Float[Tensor, "*shape"] | None) -> Float[Tensor, "*shape"]:
    """logit(u) + φ; u = 1/2 where none is given."""
    return logits if uniform is None else logits + torch.logit(uniform)


def concrete(
    logits: Float[Tensor, "*shape"], hc: HardConcrete, uniform: Float[Tensor, "*shape"] | None = None
) -> Float[Tensor, "*shape"]:
    """s = σ((logit(u) + φ)/β), the gate before it is stretched and clipped (eq. 10); u = 1/2 where none is given."""
    return torch.sigmoid(noisy(logits, uniform) / hc.beta)


def gate(
    logits: Float[Tensor, "*shape"],
    hc: HardConcrete,
    uniform: Float[Tensor, "*shape"] | None = None,
    mode: GateMode = "soft",
) -> Float[Tensor, "*shape"]:
    """Gates z = clip(s(ζ - γ) + γ, 0, 1) in [0, 1] (Louizos et al. 2018, eq. 11), or 1 where s > 1/2 and 0 elsewhere.

    Args:
        logits: gate logits φ, of any shape.
        hc: the distribution's constants.
        uniform: u in (0, 1), one a logit, for random gates; the deterministic gate (u = 1/2) without.
        mode: `soft` gates, or those of 0 or 1.
    """
    if mode != "soft":
        return (noisy(logits, uniform) > 0).to(logits.dtype)
    return (concrete(logits, hc, uniform) * (hc.zeta - hc.gamma) + hc.gamma).clamp(0, 1)


def nonzero_probability(
    logits: Float[Tensor, "*shape"], hc: HardConcrete, mode: GateMode = "soft"
) -> Float[Tensor, "*shape"]:
    """P(z ≠ 0) = σ(φ - β log(-γ/ζ)): how likely it is that a gate is not exactly zero (Louizos et al. 2018, eq. 12).

    Its mean over an expert's gates is the expert's expected density. It is differentiable, unlike the measured
    sparsity, which the multipliers follow.

    Args:
        logits: gate logits φ, of any shape.
        hc: the distribution's constants.
        mode: `soft` gates, or those of 0 or 1, which are open with the probability σ(φ).
    """
    return torch.sigmoid(logits - hc.density_shift if mode == "soft" else logits)
