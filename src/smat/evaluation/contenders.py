"""What is compared: a pool of experts, fine-tuned or not, the untouched network, and what one would try first."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import normalize

from smat.adaptation import Adapt, FineTuneConfig, adapt, cross_validated_lr, evaluating, plain_features
from smat.episodes import Episode
from smat.errors import NonFiniteError
from smat.evaluation.protocol import FrozenFeatures
from smat.experts import SparseInterpolatedExperts, TaskModel, class_prototypes, cosine_logits
from smat.precision import NetworkPrecision
from smat.rng import derive_seed


@dataclass
class Experts:
    """A pool, as it is now, without adaptation: merged for the episode's support set, then nearest prototypes.

    One expert alone makes the same network for every task, so that its features of images seen before are known.

    Attributes:
        pool: on the device of the episodes; it is left as it was.
        precision: of its networks; prototypes, routing and logits are in float32.
    """

    pool: SparseInterpolatedExperts
    precision: NetworkPrecision = "32-true"

    @torch.no_grad()
    def __post_init__(self) -> None:
        self._features = None
        if self.pool.config.experts == 1:
            with evaluating(self.pool):
                merged = self.pool.merged_vector(torch.ones(1, device=self.pool.pretrained.device))
            self._features = FrozenFeatures(self.pool, self.precision, merged)

    def __call__(self, episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes."""
        if self._features:
            return _nearest_prototypes(episode, self._features(episode), self.pool.head)
        frozen = features[: len(episode.support)]
        with evaluating(self.pool):
            logits = self.pool.classify(episode.support, episode.support_labels, episode.query, self.precision, frozen)
        return logits.softmax(dim=1)


@dataclass
class FineTuned:
    """A pool, or the untouched network as a pool without experts, fine-tuned on each episode's support set.

    Attributes:
        pool: on the device of the episodes; it is left as it was.
        kind: `full` or `lora`.
        config: of the fine-tuning.
        rate: the learning rate; None: chosen in each episode by cross-validation inside its support set.
        precision: of the passes.
        rates: learning rates of the episodes so far.
    """

    pool: SparseInterpolatedExperts
    kind: Adapt
    config: FineTuneConfig = FineTuneConfig()
    rate: float | None = None
    precision: NetworkPrecision = "32-true"
    rates: list[float] = field(default_factory=list)

    def __call__(self, episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes; the queries pass through the network once, after the last step.

        A network that the learning rate broke finds all classes alike: its episode counts as it is.
        """
        model = self.specialise(episode)
        rate = self.cross_validated(model, episode) if self.rate is None else self.rate
        self.rates.append(rate)
        try:
            return self.probabilities(model, episode, rate)
        except NonFiniteError:
            return torch.full((len(episode.query), episode.way), 1 / episode.way)

    def cross_validated(self, model: TaskModel, episode: Episode) -> float:
        """The learning rate that does best inside the support set."""
        return cross_validated_lr(
            model,
            episode.support,
            episode.support_labels,
            kind=self.kind,
            config=self.config,
            seed=_seed(episode),
            precision=self.precision,
        )

    def specialise(self, episode: Episode) -> TaskModel:
        """The network before its fine-tuning."""
        with evaluating(self.pool):
            return self.pool.specialise(episode.support, episode.support_labels, self.precision)

    def probabilities(self, model: TaskModel, episode: Episode, rate: float) -> Float[Tensor, "n_query way"]:
        """Those of the queries' classes after fine-tuning at a learning rate."""
        adapted = adapt(
            model,
            episode.support,
            episode.support_labels,
            kind=self.kind,
            lr=rate,
            config=self.config,
            seed=_seed(episode),
            precision=self.precision,
        )
        features = plain_features(adapted.backbone, episode.query, self.precision, self.config.batch_size)
        return adapted.logits(features, adapted.prototypes).softmax(dim=1)


def _seed(episode: Episode) -> int:
    """Of the fine-tuning's draws: the same in an episode for all contenders."""
    return derive_seed(0, f"fine-tuning/{episode.plan.id}")


def untouched(episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
    """The pre-trained network as it is: nearest prototypes of its features."""
    return _nearest_prototypes(episode, features)


@torch.no_grad()
def _nearest_prototypes(episode: Episode, features: Tensor, head: Tensor | None = None) -> Tensor:
    n_support = len(episode.support)
    prototypes = class_prototypes(features[:n_support], episode.support_labels, episode.way)
    return cosine_logits(features[n_support:], prototypes, head).softmax(dim=1)


def logistic_regression(episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
    """scikit-learn's logistic regression on the untouched network's features, brought to length 1."""
    return _fitted(LogisticRegression(max_iter=1000), episode, features)


def nearest_neighbours(episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
    """The 5 nearest support images by the untouched network's features, brought to length 1.

    They vote by the inverse of their distance: with one image a class, equal votes would be a draw.
    """
    neighbours = KNeighborsClassifier(min(5, len(episode.support)), weights="distance")
    return _fitted(neighbours, episode, features)


def _fitted(classifier: Any, episode: Episode, features: Tensor) -> Tensor:
    points, n_support = normalize(features, dim=1).double().cpu().numpy(), len(episode.support)
    classifier.fit(points[:n_support], episode.support_labels.cpu().numpy())
    return torch.from_numpy(classifier.predict_proba(points[n_support:]))


BASELINES = {"logistic": logistic_regression, "knn": nearest_neighbours}
"""What a user would pick instead, on frozen features; neither can be fine-tuned."""
