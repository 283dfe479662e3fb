"""Features of a task, as heads get them; float64 unless told otherwise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from smat.rng import seeded_torch


def feature_task(
    counts: Sequence[int],
    *,
    dim: int = 6,
    queries: int = 3,
    noise: float = 1.0,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Support features and labels in mixed order, then query features and labels, of so many support images per class.

    Each class is `noise` around a centre of its own; centres are about 3 from the origin in each dimension.
    """
    with seeded_torch(seed, "feature task"):
        centres = 3 * torch.randn(len(counts), dim, dtype=dtype)
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        labels = labels[torch.randperm(len(labels))]
        wanted = torch.arange(len(counts)).repeat(queries)
        support, query = (centres[each] + noise * torch.randn(len(each), dim, dtype=dtype) for each in (labels, wanted))
    return support, labels, query, wanted
