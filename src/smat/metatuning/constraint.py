"""The sparsity constraint: density_k <= 1 - τ_k for each budget k, by gradient descent on φ and ascent on λ.

Gallego-Posada et al., *Controlled Sparsity via Constrained Optimization* (2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from smat.experts.interpolation import Merged
from smat.transfer import onto

Budget = Literal["expert", "block", "pool"]
"""What may be open in all: a budget for each expert, for each block of the network in each expert, or for the pool."""


@dataclass(frozen=True)
class Lagrangian:
    """The two halves of the constraint's term in a task's loss.

    Attributes:
        descent: Σ_k λ_k (E[density_k] - (1 - τ_k)), whose gradient closes gates; λ is a constant in it.
        ascent: Σ_k λ_k (sparsity_k - τ_k), whose gradient raises λ_k while budget k is exceeded.
    """

    descent: Float[Tensor, ""]
    ascent: Float[Tensor, ""]


def lagrangian(
    merged: Merged,
    multipliers: Float[Tensor, " budgets"],
    target_sparsity: float | Sequence[float],
    weights: Float[Tensor, " budgets"] | None = None,
    budget: Budget = "expert",
) -> Lagrangian:
    """The constraint's term; multipliers below 0, or of budgets that are kept, are first set to 0, in place.

    Args:
        merged: the experts' expected density and measured sparsity.
        multipliers: λ >= 0, a leaf; its gradient is such that gradient *descent* on it is the ascent.
        target_sparsity: τ in [0, 1), one for all or one per expert.
        weights: a factor for each term; 1 without.
        budget: what has a term of its own.
    """
    density, sparsity = _by_budget(merged, budget)
    target = targets(target_sparsity, budget, len(merged.sparsity), len(multipliers))
    tau = onto(torch.tensor(target, dtype=multipliers.dtype), multipliers.device)
    with torch.no_grad():
        multipliers.clamp_(min=0).masked_fill_(sparsity > tau, 0)
    if weights is None:
        weights = torch.ones_like(multipliers)
    return Lagrangian(
        descent=((density - (1 - tau)) * multipliers.detach() * weights).sum(),
        ascent=((sparsity - tau) * multipliers * weights).sum(),
    )


def targets(target_sparsity: float | Sequence[float], budget: Budget, experts: int, budgets: int) -> list[float]:
    """τ of each budget; that of the pool is the mean over the experts."""
    several = [target_sparsity] * experts if isinstance(target_sparsity, float | int) else list(target_sparsity)
    if budget == "pool":
        return [sum(several) / experts]
    return [target for target in several for _ in range(budgets // experts)]


def _by_budget(merged: Merged, budget: Budget) -> tuple[Tensor, Tensor]:
    """Expected density and measured sparsity of each budget."""
    if budget == "pool":
        return merged.expected_density.mean(0, keepdim=True), merged.sparsity.mean(0, keepdim=True)
    if budget == "block" and merged.by_segment is not None:
        density, sparsity = merged.by_segment
        return density.flatten(), sparsity.flatten()
    return merged.expected_density, merged.sparsity
