"""Several classifiers as one: averages over heads and over networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.heads.head import Classifier, Head
from smat.heads.linear import LDA, Logistic, Ridge
from smat.heads.prototype import Prototype


class Mixture(Classifier):
    """Log-probabilities of several classifiers, weighted and added.

    Attributes:
        weights: of each classifier of each network, `[networks, heads]`, 0 or greater.
        networks: number of networks whose features come side by side.
    """

    weights: Tensor

    def __init__(self, classifiers: Sequence[Sequence[Classifier]], weights: Float[Tensor, "networks heads"]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(nn.ModuleList(of_network) for of_network in classifiers)
        self.way, self.networks = classifiers[0][0].way, len(classifiers)
        self.register_buffer("weights", weights)

    def forward(self, features: Float[Tensor, "n networks_dim"]) -> Float[Tensor, "n way"]:
        """Logits."""
        parts = features.chunk(self.networks, dim=1)
        logits = [
            weight * classifier(part).log_softmax(1)
            for part, of_network, weights in zip(parts, self.classifiers, self.weights, strict=True)
            for classifier, weight in zip(of_network, weights, strict=True)  # pyright: ignore[reportArgumentType]
            if weight > 0
        ]
        return torch.stack(logits).sum(0)

    @property
    def used(self) -> list[int]:
        """Indices of the networks that have a say."""
        return (self.weights.sum(1) > 0).nonzero()[:, 0].tolist()

    def without_unused(self) -> "Mixture":
        """The same for the features of the used networks alone."""
        return Mixture([list(self.classifiers[k]) for k in self.used], self.weights[self.used])  # pyright: ignore


@dataclass(frozen=True)
class Average(Head):
    """Mean log-probabilities of several heads, and of each on several networks.

    Attributes:
        heads: what is averaged.
        networks: number of networks whose features come side by side.
    """

    heads: tuple[Head, ...] = field(default=(Prototype(), Ridge(), Logistic(0.1), LDA()))
    networks: int = 1

    differentiable = False

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> Mixture:
        """Each head on each network."""
        parts = features.chunk(self.networks, dim=1)
        fitted = [[head.fit(part, labels, way) for head in self.heads] for part in parts]
        return Mixture(fitted, features.new_full((self.networks, len(self.heads)), 1 / len(self.heads) / self.networks))

    def for_networks(self, networks: int) -> "Average":
        """The head for so many networks."""
        return replace(self, networks=networks)
