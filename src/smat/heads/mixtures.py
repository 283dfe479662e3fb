"""Several classifiers as one: averages over heads and over networks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.experts import Strength
from smat.heads.head import Classifier, Head, Weights
from smat.heads.linear import LDA, Logistic, Ridge
from smat.heads.prototype import Prototype
from smat.heads.views import Views


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
        each = torch.stack(
            [
                classifier(part).log_softmax(1)
                for part, of_network in zip(parts, self.classifiers, strict=True)
                for classifier in of_network  # pyright: ignore[reportGeneralTypeIssues]
            ]
        )
        weights = self.weights.flatten()[:, None, None]
        return torch.where(weights > 0, weights * each, 0).sum(0)  # 0 times the logarithm of 0 is not 0

    @property
    def used(self) -> list[int]:
        """Indices of the networks that have a say."""
        return (self.weights.sum(1) > 0).nonzero()[:, 0].tolist()

    def without_unused(self) -> "Mixture":
        """The same for the features of the used networks alone."""
        return Mixture([list(self.classifiers[k]) for k in self.used], self.weights[self.used])  # pyright: ignore


@dataclass(frozen=True)
class Average(Head):
    """Mean log-probabilities of prototypes, ridge regression, logistic regression and LDA, each on several networks.

    Attributes:
        networks: number of networks whose features come side by side.
    """

    networks: int = 1

    differentiable = False

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Mixture:
        """Each head on each network."""
        heads = (Prototype(), Ridge(), Logistic(), LDA())
        parts = features.chunk(self.networks, dim=1)
        fitted = [[head.fit(part, labels, way, weights) for head in heads] for part in parts]
        return Mixture(fitted, features.new_full((len(parts), len(heads)), 1 / len(parts) / len(heads)))

    def for_networks(self, networks: int) -> "Average":
        """The head for so many networks."""
        return replace(self, networks=networks)


@dataclass(frozen=True, eq=False)
class Weighted(Head):
    """Several heads on each of several networks, with weights that are given.

    Attributes:
        heads: the heads.
        weights: weight of each head on each network, `[networks, heads]`, 0 or greater.
    """

    heads: tuple[Head, ...]
    weights: Tensor

    differentiable = False

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Mixture:
        """The heads on each network."""
        parts = features.chunk(len(self.weights), dim=1)
        fitted = [[head.fit_weighted(part, labels, way, weights) for head in self.heads] for part in parts]
        return Mixture(fitted, self.weights)


@dataclass(frozen=True)
class AroundHead(Head):
    """What is made of another head.

    Attributes:
        head: the other head.
    """

    head: Head = Prototype()

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the head."""
        return self.head.version

    @property
    def strengths(self) -> tuple[Strength, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the head."""
        return self.head.strengths

    def after_tuning(self) -> "AroundHead":
        """With the head for a network that has been tuned."""
        return replace(self, head=self.head.after_tuning())


@dataclass(frozen=True)
class Each(AroundHead):
    """Mean log-probabilities of a head on each of several networks; without it, they give a head one long feature.

    Attributes:
        head: what is fitted to each network's features.
        networks: number of networks whose features come side by side.
    """

    networks: int = 1

    differentiable = False

    @property
    def views(self) -> Views:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the head."""
        return self.head.views

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Mixture:
        """The head on each network."""
        fitted = [[self.head.fit_weighted(part, labels, way, weights)] for part in features.chunk(self.networks, dim=1)]
        return Mixture(fitted, features.new_full((self.networks, 1), 1 / self.networks))

    def for_networks(self, networks: int) -> "Each":
        """The head for so many networks."""
        return replace(self, networks=networks)


@dataclass(frozen=True)
class InViews(AroundHead):
    """A head in several views of each image: more examples of each class, and an average for what is classified.

    Attributes:
        head: what is fitted to the features of all views.
        passes: passes through a network that a query image takes: 1, 2 or 4.
    """

    passes: int = 2

    def __post_init__(self) -> None:
        Views.of(self.passes)  # raises for another number

    @property
    def differentiable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the head."""
        return self.head.differentiable

    @property
    def views(self) -> Views:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By the number of passes."""
        return Views.of(self.passes)

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Classifier:
        """The head's classifier."""
        return self.head.fit_weighted(features, labels, way, weights)

    def for_networks(self, networks: int) -> "InViews":
        """The head for so many networks."""
        return replace(self, head=self.head.for_networks(networks))

    def settled(self, classifier: Classifier) -> "InViews":
        """With the head that has settled."""
        return replace(self, head=self.head.settled(classifier))
