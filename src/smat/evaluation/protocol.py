"""From episodes to accuracies: several contenders on the same episodes of a domain."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.backbones import ImageFormat
from smat.domains import Domain
from smat.episodes import Episode, EpisodePlan, EpisodeSource, Sampler, TrackRule, TransformConfig, episode_loader
from smat.errors import ConfigError
from smat.experts import FROZEN, FeatureCache, SparseInterpolatedExperts, Strength, cached
from smat.heads import WHOLE, TaskFeatures, View, Views
from smat.heads.features import FeatureNetwork, Part
from smat.precision import NetworkPrecision

FEATURES_KEPT = 50_000  # frozen features kept at a time: 77 MB for a ViT-S

Contender = Callable[[Episode, "EpisodeFeatures"], Tensor]
"""Classifies an episode's queries: from the episode, on the device, and features of its images, to probabilities
`[n_query, way]`."""


@dataclass(frozen=True)
class Outcome:
    """How one contender did in one episode.

    Attributes:
        confidence: the probability that it gave to the class it chose, `[n_query]`, in 0..1.
        correct: whether that was the right class, `[n_query]`.
        seconds: what it took, without the images and their frozen features, but with the passes that it shares with
            others.
    """

    confidence: Float[Tensor, " n_query"]
    correct: Float[Tensor, " n_query"]
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the queries that were given the right class."""
        return float(self.correct.double().mean())


@dataclass(frozen=True)
class EpisodeRow:
    """One episode and every contender's outcome in it.

    Attributes:
        id: the episode's id, from which its images can be traced.
        domain: name of its domain.
        n: its number.
        way: number of classes.
        n_support: support images.
        n_query: query images.
        outcomes: by contender.
    """

    id: str
    domain: str
    n: int
    way: int
    n_support: int
    n_query: int
    outcomes: Mapping[str, Outcome]


class FixedFeatures:
    """Features of an episode's images by a network that is the same in all episodes.

    An image is the same in all test episodes, and so are its features: those of the images seen last are kept, and
    only new images pass through the network.

    Args:
        pool: experts around the frozen network, or none.
        precision: of the network; the features are float32.
        vector: the network's parameters; by default those of the frozen one.
        cache: features of earlier runs, on disk.
    """

    @torch.no_grad()
    def __init__(
        self,
        pool: SparseInterpolatedExperts,
        precision: NetworkPrecision = "32-true",
        vector: Float[Tensor, " params"] | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        self.network = cached(pool.network(pool.pretrained if vector is None else vector, precision), cache)
        self.device = pool.pretrained.device
        self.kept: OrderedDict[tuple[str, int, View], Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(
        self, episode: Episode, view: View = WHOLE, parts: Sequence[Part] = ("support", "query")
    ) -> Float[Tensor, "n dim"]:
        """Features of an episode's support and query, or of one of them, in a view, on the network's device."""
        plan = episode.plan
        given = {"support": (plan.support_rows, episode.support), "query": (plan.query_rows, episode.query)}
        keys = [(plan.domain, row, view) for part in parts for row in given[part][0]]
        new = [place for place, key in enumerate(keys) if key not in self.kept]
        if new:
            images = view(torch.cat([given[part][1] for part in parts])[new])
            for place, feature in zip(new, self.network(images), strict=True):
                self.kept[keys[place]] = feature.clone()  # a view would keep the whole batch alive
        for key in keys:
            self.kept.move_to_end(key)
        features = torch.stack([self.kept[key] for key in keys])
        while len(self.kept) > FEATURES_KEPT:
            self.kept.popitem(last=False)
        return features


class EpisodeFeatures(TaskFeatures):
    """The features of one episode that its contenders share: each pass through a network is made once.

    Args:
        episode: on the device.
        frozen: the pre-trained network around which the contenders' networks are.
    """

    def __init__(self, episode: Episode, frozen: FixedFeatures) -> None:
        super().__init__(episode.support, episode.query)
        self.episode, self.frozen = episode, frozen
        self.frozen_support = frozen(episode)[: len(episode.support)]
        self._merged: dict[int, Tensor] = {}
        self._networks: dict[Hashable, FeatureNetwork] = {}

    def of_fixed(
        self, network: FixedFeatures, views: Views
    ) -> tuple[Float[Tensor, "views_n dim"], Float[Tensor, "n_query dim"]]:
        """Support and query features by a network that is the same in all episodes, as `of` gives them."""
        return self.of({network: network.network}, views)

    def at_strengths(
        self,
        pool: SparseInterpolatedExperts,
        precision: NetworkPrecision,
        strengths: Sequence[Strength],
        views: Views,
        merged: FixedFeatures | None = None,
    ) -> tuple[Float[Tensor, "views_n networks_dim"], Float[Tensor, "n_query networks_dim"]]:
        """Support and query features by the networks that a pool makes for the episode, as `of` gives them.

        Args:
            pool: of the frozen network; it is not changed while the episode lasts.
            precision: of its networks.
            strengths: how far each network goes from the frozen one to the merged one.
            views: of the images.
            merged: features by the merged network, of a pool that makes the same one in all episodes.
        """
        fixed = {FROZEN: self.frozen} | ({Strength(): merged} if merged else {})
        keys = [fixed.get(strength, (id(pool), strength)) for strength in strengths]
        for key, strength in zip(keys, strengths, strict=True):
            if key not in self._networks:
                known = isinstance(key, FixedFeatures)
                self._networks[key] = key.network if known else self._at(pool, precision, strength)
        return self.of({key: self._networks[key] for key in keys}, views)

    def _at(self, pool: SparseInterpolatedExperts, precision: NetworkPrecision, strength: Strength) -> FeatureNetwork:
        vector = strength.apply(pool.pretrained, self._merged_by(pool, precision), pool.layout)
        return pool.network(vector, precision)

    def _merged_by(self, pool: SparseInterpolatedExperts, precision: NetworkPrecision) -> Tensor:
        if id(pool) not in self._merged:
            labels = self.episode.support_labels
            vector, _ = pool.merged_for(self.episode.support, labels, precision, self.frozen_support)
            self._merged[id(pool)] = vector
        return self._merged[id(pool)]

    def _computed(self, key: Hashable, network: FeatureNetwork, view: View, parts: Sequence[Part]) -> Tensor:
        if isinstance(key, FixedFeatures):
            return key(self.episode, view, parts)
        return super()._computed(key, network, view, parts)


def domain_sources(
    image_format: ImageFormat,
    domains: Sequence[Domain],
    split: str,
    sampler: Sampler,
    transforms: TransformConfig,
    seed: int = 0,
    plans: Mapping[str, Sequence[EpisodePlan]] | None = None,
    tracks: TrackRule | None = None,
) -> list[EpisodeSource]:
    """Evaluation episodes of each domain, for a network; drawn, or by domain those that are given.

    Raises:
        DataError: a domain that is too small for the sampler, or without the split.
        ConfigError: two domains of one name.
    """

    def source(members: Sequence[Domain]) -> EpisodeSource:
        return EpisodeSource(
            members,
            split,
            sampler,
            image_format=image_format,
            transforms=transforms,
            seed=seed,
            plans=None if plans is None else [plan for domain in members for plan in plans[domain.name]],
            tracks=tracks,
        )

    source(domains)  # for its checks of the domains together
    return [source([domain]) for domain in domains]


def evaluate_domain(
    contenders: Mapping[str, Contender],
    frozen: FixedFeatures,
    source: EpisodeSource,
    episodes: int,
    *,
    first: int = 0,
    workers: int = 0,
    on_episode: Callable[[EpisodeRow], None] | None = None,
) -> list[EpisodeRow]:
    """Classify the queries of episodes first..episodes-1, by every contender the same ones.

    Args:
        contenders: by name; all of networks that started from the frozen one.
        frozen: features that the contenders share.
        source: episodes with the plain test transform.
        episodes: number of the last one, plus 1.
        first: number of the first one.
        workers: processes that decode images ahead.
        on_episode: called with each row as soon as there is one.

    Returns:
        A row an episode.

    Raises:
        ConfigError: no contenders, no episodes, or a source of augmented training images.
        DataError: an image cannot be read.
    """
    if not contenders:
        raise ConfigError("there are no contenders; give one or more")
    if episodes <= first:
        raise ConfigError(f"episodes is {episodes}; give {first + 1} or more (600 are usual)")
    if source.train:
        raise ConfigError("the images of the episodes are augmented, as for training; make the source with train=False")
    rows: list[EpisodeRow] = []
    for n, episode in enumerate(episode_loader(source, first, episodes, workers=workers), start=first):
        episode = episode.to(frozen.device)
        features = EpisodeFeatures(episode, frozen)
        rows.append(
            EpisodeRow(
                id=episode.plan.id,
                domain=episode.plan.domain,
                n=n,
                way=episode.way,
                n_support=len(episode.support),
                n_query=len(episode.query),
                outcomes={name: _outcome(contender, episode, features) for name, contender in contenders.items()},
            )
        )
        if on_episode:
            on_episode(rows[-1])
    return rows


def _outcome(contender: Contender, episode: Episode, features: EpisodeFeatures) -> Outcome:
    start, features.reused = time.perf_counter(), 0.0
    confidence, choice = contender(episode, features).cpu().max(dim=1)
    seconds = time.perf_counter() - start + features.reused
    return Outcome(confidence.float(), (choice == episode.query_labels.cpu()).float(), seconds)
