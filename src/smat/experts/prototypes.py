"""Nearest-prototype classification by cosine similarity (Snell et al. 2017; the paper's head)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

LOGIT_SCALE = 10.0


def class_prototypes(features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> Float[Tensor, "way dim"]:
    """The mean feature of each class; every class 0..way-1 must occur in `labels`."""
    totals = features.new_zeros(way, features.shape[1]).index_add(0, labels, features)
    return totals / torch.bincount(labels, minlength=way)[:, None]


def cosine_logits(
    features: Float[Tensor, "n dim"],
    prototypes: Float[Tensor, "way dim"],
    head: Float[Tensor, "2"] | None = None,
) -> Float[Tensor, "n way"]:
    """Ten times the cosine similarity of each feature to each prototype.

    Args:
        features: of the images to classify.
        prototypes: of the classes.
        head: where they are learned (Hu et al. 2022): s and b of s·(cosine + b).
    """
    cosine = normalize(features, dim=1) @ normalize(prototypes, dim=1).T
    return LOGIT_SCALE * cosine if head is None else head[0] * (cosine + head[1])
