"""From episodes to accuracies: several contenders on the same episodes of a domain."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.backbones import ImageFormat
from smat.domains import Domain
from smat.episodes import Episode, EpisodePlan, EpisodeSource, Sampler, TrackRule, TransformConfig, episode_loader
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.precision import NetworkPrecision

FEATURES_KEPT = 50_000  # frozen features kept at a time: 77 MB for a ViT-S

Contender = Callable[[Episode, Tensor], Tensor]
"""Classifies an episode's queries: from the episode, on the device, and the frozen network's features of its images
(support first, `[n_support + n_query, dim]`) to probabilities `[n_query, way]`."""


@dataclass(frozen=True)
class Outcome:
    """How one contender did in one episode.

    Attributes:
        confidence: the probability that it gave to the class it chose, `[n_query]`, in 0..1.
        correct: whether that was the right class, `[n_query]`.
        seconds: what it took, without the images and their frozen features.
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


class FrozenFeatures:
    """Features of an episode's images, support first, by a network that is the same in all episodes.

    An image is the same in all test episodes, and so are its features: those of the images seen last are kept, and
    only new images pass through the network.

    Args:
        pool: experts around the frozen network, or none.
        precision: of the network; the features are float32.
        vector: the network's parameters; by default those of the frozen one.
    """

    @torch.no_grad()
    def __init__(
        self,
        pool: SparseInterpolatedExperts,
        precision: NetworkPrecision = "32-true",
        vector: Float[Tensor, " params"] | None = None,
    ) -> None:
        self.network = pool.network(pool.pretrained if vector is None else vector, precision)
        self.device = pool.pretrained.device
        self.kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(self, episode: Episode) -> Float[Tensor, "n dim"]:
        """Features of an episode on the network's device."""
        plan = episode.plan
        keys = [(plan.domain, row) for row in plan.support_rows + plan.query_rows]
        new = [place for place, key in enumerate(keys) if key not in self.kept]
        if new:
            images = torch.cat([episode.support, episode.query])[new]
            for place, feature in zip(new, self.network(images), strict=True):
                self.kept[keys[place]] = feature.clone()  # a view would keep the whole batch alive
        for key in keys:
            self.kept.move_to_end(key)
        features = torch.stack([self.kept[key] for key in keys])
        while len(self.kept) > FEATURES_KEPT:
            self.kept.popitem(last=False)
        return features


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
    frozen: FrozenFeatures,
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
        features = frozen(episode)
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


def _outcome(contender: Contender, episode: Episode, features: Tensor) -> Outcome:
    start = time.perf_counter()
    confidence, choice = contender(episode, features).cpu().max(dim=1)
    seconds = time.perf_counter() - start
    return Outcome(confidence.float(), (choice == episode.query_labels.cpu()).float(), seconds)
