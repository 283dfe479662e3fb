"""Which tasks, and which domains, a pool treats alike: average linkage of their distances.

Numbers alone: scipy's `dendrogram` draws the linkage as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from smat.analysis.distances import ROUNDING
from smat.errors import DataError


@dataclass(frozen=True)
class Dendrogram:
    """A tree of tasks or domains, joined by the mean distance between their groups.

    Attributes:
        labels: name of each leaf.
        groups: the domain of each leaf, to colour it by.
        linkage: scipy's linkage matrix: the two nodes that each step joins, their distance, and the number of leaves
            below; `[leaves - 1, 4]`.
        order: leaves from left to right, such that neighbours are as near as the tree allows (Bar-Joseph 2001).
        cophenetic: correlation of the distances in the tree with those that it was made of, at most 1; NaN where either
            are all equal.
        agreement: adjusted Rand index (Hubert & Arabie 1985) of the domains and the tree, cut into as many clusters:
            1 where each cluster is a domain, 0 as by chance; NaN where every leaf is a domain of its own, or all are of
            one.
    """

    labels: tuple[str, ...]
    groups: tuple[str, ...]
    linkage: Float[np.ndarray, "joins 4"]
    order: tuple[int, ...]
    cophenetic: float
    agreement: float


def cluster(distances: Float[np.ndarray, "n n"], labels: Sequence[str], groups: Sequence[str]) -> Dendrogram:
    """Average linkage (Sokal & Michener 1958) of tasks or domains.

    Of domains, give the distances between their mean weights or their mean masks: `weight_distances` of
    `Tasks.mean_shares`, `mask_distances` of `Tasks.mean_weights`.

    Args:
        distances: symmetric, 0 or more, 0 on the diagonal.
        labels: name of each leaf.
        groups: the domain of each leaf.

    Raises:
        DataError: fewer than two leaves.
    """
    if len(labels) < 2:
        raise DataError(f"a dendrogram needs 2 or more tasks or domains; got {len(labels)}: give more")
    pairs = squareform(distances, checks=False)
    tree = linkage(pairs, "average", optimal_ordering=True)
    in_tree = cophenet(tree)
    flat = min(np.ptp(pairs), np.ptp(in_tree)) < ROUNDING
    domains = len(set(groups))
    cut = fcluster(tree, domains, "maxclust")
    return Dendrogram(
        labels=tuple(labels),
        groups=tuple(groups),
        linkage=tree,
        order=tuple(leaves_list(tree).tolist()),
        cophenetic=math.nan if flat else float(np.corrcoef(pairs, in_tree)[0, 1]),
        agreement=float(adjusted_rand_score(groups, cut)) if 1 < domains < len(groups) else math.nan,
    )
