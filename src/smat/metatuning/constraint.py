"""The sparsity constraint: density_m <= 1 - τ for each expert, by gradient descent on φ and ascent on λ.

Gallego-Posada et al., *Controlled Sparsity via Constrained Optimization* (2022).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.experts.interpolation import Merged


@dataclass(frozen=True)
class Lagrangian:
    """The two halves of the constraint's term in a task's loss.

    Attributes:
        descent: Σ_m λ_m (E[density_m] - (1 - τ)), whose gradient closes gates; λ is a constant in it.
        ascent: Σ_m λ_m (sparsity_m - τ), whose gradient raises λ_m while expert m is denser than it may be.
    """

    descent: Float[Tensor, ""]
    ascent: Float[Tensor, ""]


def lagrangian(
    merged: Merged,
    multipliers: Float[Tensor, " experts"],
    target_sparsity: float,
    weights: Float[Tensor, " experts"] | None = None,
) -> Lagrangian:
    """The constraint's term; multipliers below 0, or of experts that are sparse enough, are first set to 0, in place.

    Args:
        merged: the experts' expected density and measured sparsity.
        multipliers: λ >= 0, a leaf; its gradient is such that gradient *descent* on it is the ascent.
        target_sparsity: τ in [0, 1).
        weights: a factor for each expert's term; 1 without.
    """
    with torch.no_grad():
        multipliers.clamp_(min=0)[merged.sparsity > target_sparsity] = 0
    if weights is None:
        weights = torch.ones_like(multipliers)
    excess = merged.expected_density - (1 - target_sparsity)
    return Lagrangian(
        descent=(excess * multipliers.detach() * weights).sum(),
        ascent=((merged.sparsity - target_sparsity) * multipliers * weights).sum(),
    )
