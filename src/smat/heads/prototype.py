"""Nearest-prototype classification by cosine similarity (Snell et al. 2017): the paper's head."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from smat.experts import class_prototypes
from smat.heads.head import Classifier, Head, Weights

LOGIT_SCALE = 10.0


class PrototypeClassifier(Classifier):
    """Ten times the cosine similarity to each class's prototype.

    Attributes:
        prototypes: mean feature of each class, `[way, dim]`.
        scale: s and b of s·(cosine + b) where they are learned (Hu et al. 2022), `[2]`.
    """

    prototypes: Tensor
    scale: Tensor | None

    def __init__(self, prototypes: Float[Tensor, "way dim"], scale: Float[Tensor, "2"] | None = None) -> None:
        super().__init__()
        self.way = len(prototypes)
        self.register_buffer("prototypes", prototypes)
        self.register_buffer("scale", scale)

    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Logits."""
        cosine = normalize(features, dim=1) @ normalize(self.prototypes, dim=1).T
        return LOGIT_SCALE * cosine if self.scale is None else self.scale[0] * (cosine + self.scale[1])


@dataclass(frozen=True)
class Prototype(Head):
    """Nearest class mean by cosine similarity.

    Attributes:
        scale: learned scale and bias of the cosine, `[2]`; ten and zero without.
    """

    scale: Tensor | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:  # as numbers where it was written down
            object.__setattr__(self, "scale", torch.as_tensor(self.scale))

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> PrototypeClassifier:
        """The class means."""
        scale = None if self.scale is None else self.scale.to(features.device)  # a pool's own, where the pool is
        if weights is None:
            return PrototypeClassifier(class_prototypes(features, labels, way), scale)
        weights = weights.to(features)
        sums = features.new_zeros(way, features.shape[1]).index_add(0, labels, weights[:, None] * features)
        totals = weights.new_zeros(way).index_add(0, labels, weights)
        return PrototypeClassifier(sums / totals[:, None], scale)
