"""What is compared: a network and a head, fine-tuned or not."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from smat.adaptation import (
    FineTuneConfig,
    FineTuner,
    FineTuning,
    FullTuning,
    cross_validated_lr,
    evaluating,
    plain_features,
)
from smat.episodes import Episode
from smat.errors import NonFiniteError
from smat.evaluation.protocol import FrozenFeatures
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head, Logistic, Neighbours, Prototype, TaskModel, fit_task, head_of, specialise
from smat.precision import NetworkPrecision
from smat.rng import derive_seed


@dataclass(frozen=True)
class Frozen:
    """The pre-trained network as it is, and a head on its features.

    Attributes:
        head: what classifies them.
    """

    head: Head = Prototype()

    def __call__(self, episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes."""
        return _fitted(self.head, episode, features)


@dataclass
class Experts:
    """A pool, as it is now, without adaptation: merged for the episode's support set, then a head.

    One expert alone makes the same network for every task, so that its features of images seen before are known.

    Attributes:
        pool: on the device of the episodes; it is left as it was.
        precision: of its networks; the head, routing and logits are in float32.
        head: nearest prototypes by default.
    """

    pool: SparseInterpolatedExperts
    precision: NetworkPrecision = "32-true"
    head: Head | None = None

    @torch.no_grad()
    def __post_init__(self) -> None:
        self._features = None
        if self.pool.config.experts == 1:
            with evaluating(self.pool):
                merged = self.pool.merged_vector(torch.ones(1, device=self.pool.pretrained.device))
            self._features = FrozenFeatures(self.pool, self.precision, merged)

    @torch.no_grad()
    def __call__(self, episode: Episode, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes."""
        if self._features:
            return _fitted(head_of(self.pool, self.head), episode, self._features(episode))
        frozen = features[: len(episode.support)]
        with evaluating(self.pool):
            classifier, queries = fit_task(
                self.pool,
                episode.support,
                episode.support_labels,
                episode.query,
                head=self.head,
                precision=self.precision,
                frozen=frozen,
            )
        return classifier.probabilities(queries)


@dataclass
class FineTuned:
    """A pool, or the pre-trained network as a pool without experts, fine-tuned on each episode's support set.

    Attributes:
        pool: on the device of the episodes; it is left as it was.
        tuner: what of the network is tuned.
        config: settings of the fine-tuning.
        rate: the learning rate; None: chosen in each episode by cross-validation inside its support set.
        precision: of the passes.
        head: nearest prototypes by default.
        rates: learning rates of the episodes so far.
    """

    pool: SparseInterpolatedExperts
    tuner: FineTuner = FullTuning()
    config: FineTuneConfig = FineTuneConfig()
    rate: float | None = None
    precision: NetworkPrecision = "32-true"
    head: Head | None = None
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
        return cross_validated_lr(self._tuning(episode), model)

    def specialise(self, episode: Episode) -> TaskModel:
        """The network before its fine-tuning."""
        with evaluating(self.pool):
            return specialise(
                self.pool, episode.support, episode.support_labels, head=self.head, precision=self.precision
            )

    def probabilities(self, model: TaskModel, episode: Episode, rate: float) -> Float[Tensor, "n_query way"]:
        """Those of the queries' classes after fine-tuning at a learning rate."""
        return self.classified(self._tuning(episode).adapt(model, rate), episode)

    def classified(self, adapted: TaskModel, episode: Episode) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes by a network that has been tuned."""
        features = plain_features(adapted.backbone, episode.query, self.precision, self.config.batch_size)
        with torch.no_grad():
            return adapted.classifier.probabilities(features)

    def _tuning(self, episode: Episode) -> FineTuning:
        """On the episode's support set; the draws are the same in an episode for all contenders."""
        seed = derive_seed(0, f"fine-tuning/{episode.plan.id}")
        support = episode.support, episode.support_labels
        return FineTuning(*support, self.tuner, self.config, seed, self.precision, self.pool)


@torch.no_grad()
def _fitted(head: Head, episode: Episode, features: Tensor) -> Tensor:
    n = len(episode.support)
    return head.fit(features[:n], episode.support_labels, episode.way).probabilities(features[n:])


BASELINES = {"logistic": Frozen(Logistic()), "knn": Frozen(Neighbours())}
"""What a user would pick instead, on frozen features; neither is fine-tuned."""
