"""How far tasks are from each other to a pool: by their merge weights, and by the masks that these make."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import rel_entr
from torch import Tensor

from smat.adaptation import evaluating
from smat.experts import SparseInterpolatedExperts

ROUNDING = 1e-6
"""Distances that differ by less are equal: merge weights are of float32."""

_CHUNK = 1 << 18  # gates of each expert that are looked at together
_BLOCK = 2048  # parameters whose masks are compared together: those of 150 tasks fit into a cache
_MOST_EXPERTS = 62  # whose patterns fit into an integer


def jensen_shannon(
    first: Float[np.ndarray, "*n shares"], second: Float[np.ndarray, "*m shares"]
) -> Float[np.ndarray, "*both"]:
    """Root of the Jensen-Shannon divergence to base 2 between distributions: a metric, in 0..1.

    Endres & Schindelin (2003). All axes but the last are broadcast.
    """
    middle = (first + second) / 2
    divergence = (rel_entr(first, middle) + rel_entr(second, middle)).sum(-1) / (2 * np.log(2))
    return np.sqrt(np.clip(divergence, 0, 1))


def weight_distances(shares: Float[np.ndarray, "tasks shares"]) -> Float[np.ndarray, "tasks tasks"]:
    """The Jensen-Shannon distance of every two tasks, from `Tasks.shares` or the domains' means of it."""
    return jensen_shannon(shares[:, None], shares[None])


@torch.no_grad()
def mask_distances(
    pool: SparseInterpolatedExperts, weights: Float[np.ndarray, "tasks experts"]
) -> Float[np.ndarray, "tasks tasks"] | None:
    """Weighted Jaccard distance 1 - Σ min(c_i, c_j) / Σ max(c_i, c_j) of tasks' masks c = Σ_m α_m z_m: in 0..1.

    Exact, in one pass over the gates, of which most cost nothing: where all gates of a parameter that are not 0 are
    equal, c depends on the task by which experts are open alone, so that such parameters are summed by their pattern.
    The mask of a domain's mean weights is the mean of its tasks' masks, as masks are linear in the weights.

    Args:
        pool: the experts; it is left as it was.
        weights: merge weights α of each task, 0 or more.

    Returns:
        The distances, 0 for two masks that are 0 everywhere or differ by rounding alone; None where the pool has no
        gates, or all are open.
    """
    with evaluating(pool):
        gates = pool.gates()
    if gates is None or bool((gates == 1).all()):
        return None
    n = len(weights)
    first, second = np.triu_indices(n, 1)
    sums, apart = np.zeros(n), np.zeros(len(first))
    for columns, counts in _columns(gates.detach().cpu()):
        masks = weights @ columns  # c of each task, for so many parameters
        sums += masks @ counts
        apart += torch.pdist(torch.from_numpy(masks * counts), 1).numpy()
    total = sums[first] + sums[second]  # Σ min + Σ max, as `apart` is Σ max - Σ min
    found = np.divide(2 * apart, total + apart, out=np.zeros_like(apart), where=total > 0)
    whole = np.zeros((n, n))
    whole[first, second] = whole[second, first] = np.where(found < ROUNDING, 0, found)
    return whole


def _columns(
    gates: Float[Tensor, "experts params"],
) -> Iterator[tuple[Float[np.ndarray, "experts columns"], Float[np.ndarray, " columns"]]]:
    """Columns and how often each counts, such that sums over them are sums over parameters."""
    experts = len(gates)
    powers = 2 ** torch.arange(experts)[:, None]
    heights: Counter[int] = Counter()  # sum of the open gates' common value, by the pattern of those that are open
    for part in gates.split(_CHUNK, dim=1):
        level = part.amax(0)
        even = ((part == 0) | (part == level)).all(0) & (experts <= _MOST_EXPERTS)
        patterns, which = ((part[:, even] > 0) * powers).sum(0).unique(return_inverse=True)
        levels = torch.zeros(len(patterns), dtype=torch.float64).index_add(0, which, level[even].double())
        heights.update(dict(zip(patterns.tolist(), levels.tolist(), strict=True)))
        for block in part[:, ~even].double().split(_BLOCK, dim=1):
            yield block.numpy(), np.ones(block.shape[1])
    patterns = torch.tensor(list(heights), dtype=torch.long)
    yield ((patterns & powers) > 0).double().numpy(), np.array(list(heights.values()))
