"""Nearest neighbours: what one would try first."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from smat.heads.head import Classifier, Head, Weights


class NeighboursClassifier(Classifier):
    """Votes of the nearest support features; logits are the logarithms of the shares of the votes.

    Attributes:
        support: support features, of length 1, `[n, dim]`.
        votes: class of each, one-hot, times what it counts, `[n, way]`.
        neighbours: number of neighbours that vote.
    """

    support: Tensor
    votes: Tensor

    def __init__(self, support: Float[Tensor, "n dim"], votes: Float[Tensor, "n way"], neighbours: int) -> None:
        super().__init__()
        self.way, self.neighbours = votes.shape[1], neighbours
        self.register_buffer("support", support)
        self.register_buffer("votes", votes)

    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Log-probabilities."""
        return self.probabilities(features).log()

    def probabilities(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Shares of the votes."""
        unit = normalize(features, dim=1)
        nearest = (unit @ self.support.T).topk(self.neighbours, dim=1).indices
        # The product says who is near; how near, to the last digit, only the difference of the two does.
        distance = (self.support[nearest] - unit[:, None]).square().sum(2).sqrt()
        same = distance == 0
        weight = torch.where(same.any(1, keepdim=True), same.to(distance.dtype), 1 / distance)
        votes = (weight[:, :, None] * self.votes[nearest]).sum(1)
        return votes / votes.sum(1, keepdim=True)


@dataclass(frozen=True)
class Neighbours(Head):
    """Nearest neighbours, which vote by the inverse of their distance: with one image per class, equal votes would tie.

    Distances are Euclidean, between features of length 1; neighbours at distance 0 vote alone.

    Attributes:
        neighbours: number of neighbours that vote; all where there are fewer support images.
    """

    neighbours: int = 5

    differentiable = False

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> NeighboursClassifier:
        """The support features and their classes."""
        votes = one_hot(labels, way).to(features)
        votes = votes if weights is None else votes * weights[:, None].to(features)
        return NeighboursClassifier(normalize(features, dim=1), votes, min(self.neighbours, len(labels)))
