"""What is compared: a network and a head, fine-tuned or not."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from smat.adaptation import (
    FineTuneConfig,
    FineTuner,
    FineTuning,
    FullTuning,
    can_choose,
    cross_validated_lr,
    evaluating,
)
from smat.episodes import Episode
from smat.errors import NonFiniteError
from smat.evaluation.protocol import EpisodeFeatures, FixedFeatures
from smat.experts import MERGED, FeatureCache, SparseInterpolatedExperts, Strength
from smat.heads import Head, Prototype, TaskModel, head_of, query_features, specialise
from smat.left_out import leave_out
from smat.precision import NetworkPrecision
from smat.rng import derive_seed


@dataclass(frozen=True)
class Frozen:
    """The pre-trained network as it is, and a head on its features.

    Attributes:
        head: what classifies them.
    """

    head: Head = Prototype()

    @torch.no_grad()
    def __call__(self, episode: Episode, features: EpisodeFeatures) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes."""
        return _fitted(self.head, episode, features.of_fixed(features.frozen, self.head.views))


@dataclass
class Experts:
    """A pool, as it is now, without adaptation: merged for the episode's support set, then a head.

    One expert that is not routed makes the same network for every task, so that its features of images seen before are
    known.

    Attributes:
        pool: on the device of the episodes; it is left as it was.
        precision: of its networks; the head, routing and logits are in float32.
        head: nearest prototypes by default.
        strengths: networks that the head gets the features of: how far each goes from the frozen one to the merged one.
        cache: features of earlier runs, on disk, for the merged network of one expert.
    """

    pool: SparseInterpolatedExperts
    precision: NetworkPrecision = "32-true"
    head: Head | None = None
    strengths: Sequence[Strength] = MERGED
    cache: FeatureCache | None = None

    @torch.no_grad()
    def __post_init__(self) -> None:
        self._fixed = None
        with evaluating(self.pool):
            self.pool.update.settle()
            if not self.pool.config.routed and Strength() in self.strengths:
                merged = self.pool.merged_vector(torch.ones(1, device=self.pool.pretrained.device))
                self._fixed = FixedFeatures(self.pool, self.precision, merged, self.cache)

    @torch.no_grad()
    def __call__(self, episode: Episode, features: EpisodeFeatures) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes."""
        head = head_of(self.pool, self.head)
        with evaluating(self.pool):
            found = features.at_strengths(self.pool, self.precision, self.strengths, head.views, self._fixed)
        return _fitted(head.for_networks(len(self.strengths)), episode, found)


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

    def __call__(self, episode: Episode, features: EpisodeFeatures) -> Float[Tensor, "n_query way"]:
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
        rate = cross_validated_lr(self._tuning(episode), model)
        if rate == 0 and not self.config.one_rate and not can_choose(episode.support_labels):
            why = (
                "nothing was fine-tuned in episodes of one image per class, since a learning rate cannot be chosen "
                "from these: give one (--grid [1e-4])"
            )
            leave_out("setting", why, [f"adapt {self.tuner.name}"])
        return rate

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
        networks = self._tuning(episode).networks(adapted)
        with torch.no_grad():
            queries = query_features(networks, episode.query, adapted.head.views.query)
            return adapted.classifier.probabilities(queries)

    def _tuning(self, episode: Episode) -> FineTuning:
        """On the episode's support set; the draws are the same in an episode for all contenders."""
        seed = derive_seed(0, f"fine-tuning/{episode.plan.id}")
        support = episode.support, episode.support_labels
        return FineTuning(*support, self.tuner, self.config, seed, self.precision, self.pool)


def _fitted(head: Head, episode: Episode, features: tuple[Tensor, Tensor]) -> Tensor:
    # on the processor: a head is many small steps, of which each would take a GPU longer to start than to carry out
    support, queries, labels = (tensor.cpu() for tensor in (*features, episode.support_labels))
    return head.fit(support, labels.repeat(len(head.views.support)), episode.way).probabilities(queries)
