"""What the experts change for single images: those that only the merged network gets right, and the reverse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from smat.analysis.accuracy import PairedAccuracy, contenders
from smat.analysis.tasks import require_episodes
from smat.domains import Domain
from smat.episodes import EpisodePlan, EpisodeSource, episode_loader
from smat.evaluation import EpisodeFeatures, FixedFeatures
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head
from smat.precision import NetworkPrecision


@dataclass(frozen=True)
class Judgement:
    """A query image, and what the frozen and the merged network made of it.

    Attributes:
        episode: id of the episode.
        row: row of the image in its domain.
        label: its class.
        frozen, merged: the class that each network chose.
        frozen_margin, merged_margin: probability of the right class less the highest of the others, in -1..1; above 0
            where the network is right.
    """

    episode: str
    row: int
    label: str
    frozen: str
    merged: str
    frozen_margin: float
    merged_margin: float

    @property
    def gain(self) -> float:
        """How much larger the merged network's margin is, in -2..2."""
        return self.merged_margin - self.frozen_margin


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which.

    Attributes:
        classes: the classes of the queries, in the order of their names.
        frozen, merged: queries by their class (row) and the one that the network chose (column).
        offered: queries of each class (row) in episodes in which each class (column) could be chosen; what the counts
            are to be divided by, since an episode has some of the domain's classes only.
    """

    classes: tuple[str, ...]
    frozen: Int[np.ndarray, "classes classes"]
    merged: Int[np.ndarray, "classes classes"]
    offered: Int[np.ndarray, "classes classes"]


@dataclass(frozen=True)
class WonLost:
    """The frozen and the merged network on the same queries of one domain.

    Attributes:
        domain: name of the domain.
        judgements: of every query of every episode, in order; an image that several episodes have is there as often.
        confusion: which classes each network took for which.
        accuracy: accuracy of both, over the episodes.
    """

    domain: str
    judgements: tuple[Judgement, ...]
    confusion: Confusion
    accuracy: PairedAccuracy

    @cached_property
    def won(self) -> list[Judgement]:
        """Queries that only the merged network gets right, those that gain most first."""
        won = [query for query in self.judgements if query.merged == query.label != query.frozen]
        return sorted(won, key=lambda query: -query.gain)

    @cached_property
    def lost(self) -> list[Judgement]:
        """Queries that only the frozen network gets right, those that lose most first."""
        lost = [query for query in self.judgements if query.frozen == query.label != query.merged]
        return sorted(lost, key=lambda query: query.gain)


def distinct(judgements: Sequence[Judgement], most: int) -> list[Judgement]:
    """The first judgement of each image, of so many images at most: for contact sheets."""
    first: dict[int, Judgement] = {}
    for query in judgements:
        first.setdefault(query.row, query)
    return list(first.values())[:most]


def compare_queries(
    pool: SparseInterpolatedExperts,
    frozen: FixedFeatures,
    source: EpisodeSource,
    episodes: int = 10,
    *,
    head: Head | None = None,
    precision: NetworkPrecision = "32-true",
    workers: int = 0,
    on_episode: Callable[[str], None] | None = None,
) -> WonLost:
    """Classify the queries of a domain's episodes by the frozen and the merged network, with the same head.

    Args:
        pool: experts around the frozen network; it is left as it was.
        frozen: features by the frozen network, which other analyses of the same episodes share.
        source: episodes of one domain.
        episodes: number of episodes: 0..episodes-1.
        head: classifier of features; nearest prototypes by default.
        precision: of the merged networks.
        workers: processes that decode images ahead.
        on_episode: called with the domain's name after each episode.

    Raises:
        ConfigError: a pool without experts, or no episodes.
        DataError: an image cannot be read.
    """
    require_episodes(episodes)
    both = contenders(pool, head, precision)
    found: list[tuple[EpisodePlan, list[Judgement]]] = []
    for episode in episode_loader(source, 0, episodes, workers=workers):
        episode = episode.to(frozen.device)
        features = EpisodeFeatures(episode, frozen)
        given = {name: contender(episode, features).double().cpu() for name, contender in both.items()}
        found.append((episode.plan, _judged(episode.plan, given["frozen"], given["merged"])))
        if on_episode:
            on_episode(episode.plan.domain)
    return WonLost(
        source.domains[0].name,
        tuple(query for _, queries in found for query in queries),
        _confusion(found),
        PairedAccuracy.of(
            [fmean(query.frozen == query.label for query in queries) for _, queries in found],
            [fmean(query.merged == query.label for query in queries) for _, queries in found],
        ),
    )


def thumbnails(domain: Domain, rows: Sequence[int], size: int = 64) -> UInt8[Tensor, "n 3 {size} {size}"]:
    """Images of a domain as squares, for contact sheets; raises a `DataError` if one cannot be read."""
    return torch.stack([domain.canvas(row, size) for row in rows]) if rows else torch.zeros(0, 3, size, size).byte()


def _judged(
    plan: EpisodePlan, frozen: Float[Tensor, "n_query way"], merged: Float[Tensor, "n_query way"]
) -> list[Judgement]:
    labels = torch.tensor(plan.query_labels)
    choices = [probabilities.argmax(1).tolist() for probabilities in (frozen, merged)]
    margins = [_margins(probabilities, labels).tolist() for probabilities in (frozen, merged)]
    return [
        Judgement(plan.id, row, plan.classes[label], plan.classes[one], plan.classes[other], *margin)
        for row, label, one, other, margin in zip(
            plan.query_rows, plan.query_labels, *choices, zip(*margins, strict=True), strict=True
        )
    ]


def _margins(probabilities: Float[Tensor, "n_query way"], labels: Int[Tensor, " n_query"]) -> Float[Tensor, " n_query"]:
    right = probabilities.gather(1, labels[:, None])
    return (right - probabilities.scatter(1, labels[:, None], -1).amax(1, keepdim=True)).squeeze(1)


def _confusion(episodes: Sequence[tuple[EpisodePlan, Sequence[Judgement]]]) -> Confusion:
    classes = tuple(sorted({name for plan, _ in episodes for name in plan.classes}))
    index = {name: number for number, name in enumerate(classes)}
    frozen, merged, offered = np.zeros((3, len(classes), len(classes)), dtype=np.int64)
    for plan, queries in episodes:
        there = [index[name] for name in plan.classes]
        for query in queries:
            row = index[query.label]
            frozen[row, index[query.frozen]] += 1
            merged[row, index[query.merged]] += 1
            offered[row, there] += 1
    return Confusion(classes, frozen, merged, offered)
