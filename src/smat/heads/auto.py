"""A head that fits itself to the task: heads and networks weighed by how well they do on images that are held out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from smat.errors import DataError
from smat.heads.features import averaged
from smat.heads.head import Head
from smat.heads.mixtures import Mixture
from smat.heads.views import Views

FOLDS = 5
"""Parts of the support set, of which each is held out in turn."""


def folds(labels: Int[Tensor, " n"], way: int, parts: int = FOLDS) -> Int[Tensor, " n"]:
    """The part of each image, 0..parts-1, such that each part has as nearly as can be the same number of each class.

    An image that is alone in its class is never held out, for nothing would be left of the class: its part is -1.
    """
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels, minlength=way)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return torch.where(counts[labels] > 1, rank % parts, -1)


def held_out_logits(
    heads: Sequence[Head],
    features: Float[Tensor, "views n networks_dim"],
    labels: Int[Tensor, " n"],
    way: int,
    networks: int,
    query: Sequence[int],
) -> tuple[Float[Tensor, "networks heads held way"], Int[Tensor, " held"]]:
    """What each head says on each network of support images that it was not fitted to, and their labels.

    Args:
        heads: what is fitted.
        features: of the support, by view.
        labels: 0..way-1.
        way: number of classes.
        networks: number of networks whose features come side by side.
        query: views that are averaged for an image to be classified.
    """
    part, found, order = folds(labels, way), [], []
    for fold in range(int(part.max()) + 1):
        kept, held = (part != fold).nonzero()[:, 0], (part == fold).nonzero()[:, 0]
        rest = features[:, kept].flatten(0, 1).chunk(networks, dim=1)
        rest_labels = labels[kept].repeat(len(features))
        images = averaged([features[view][held] for view in query]).chunk(networks, dim=1)
        logits = [
            torch.stack([head.fit(x, rest_labels, way)(image).log_softmax(1) for head in heads])
            for x, image in zip(rest, images, strict=True)
        ]
        found.append(torch.stack(logits))
        order.append(held)
    if not found:
        return features.new_zeros(networks, len(heads), 0, way), labels[:0]
    return torch.cat(found, dim=2), labels[torch.cat(order)]
