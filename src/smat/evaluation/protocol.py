"""From episodes to accuracies: several methods on the same episodes of a domain."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.adaptation import evaluating
from smat.episodes import Episode, EpisodeSource, episode_loader
from smat.errors import ConfigError
from smat.experts import Network, Precision, SparseInterpolatedExperts, class_prototypes, cosine_logits

METHODS = ("smat", "pretrained")

FEATURES_KEPT = 50_000  # frozen features kept at a time: 77 MB for a ViT-S


@dataclass(frozen=True)
class Outcome:
    """How one method did in one episode.

    Attributes:
        confidence: the probability that it gave to the class it chose, `[n_query]`, in 0..1.
        correct: whether that was the right class, `[n_query]`.
    """

    confidence: Float[Tensor, " n_query"]
    correct: Float[Tensor, " n_query"]

    @property
    def accuracy(self) -> float:
        """Share of the queries that were given the right class."""
        return float(self.correct.double().mean())


@dataclass(frozen=True)
class EpisodeRow:
    """One episode and every method's outcome in it.

    Attributes:
        id: the episode's id, from which its images can be traced.
        domain: name of its domain.
        n: its number.
        way: number of classes.
        n_support: support images.
        n_query: query images.
        outcomes: by method.
    """

    id: str
    domain: str
    n: int
    way: int
    n_support: int
    n_query: int
    outcomes: Mapping[str, Outcome]


def evaluate_domain(
    pool: SparseInterpolatedExperts,
    source: EpisodeSource,
    episodes: int,
    methods: Sequence[str] = METHODS,
    *,
    precision: Precision = "32-true",
    workers: int = 0,
    on_episode: Callable[[EpisodeRow], None] | None = None,
) -> list[EpisodeRow]:
    """Classify the queries of episodes 0..episodes-1, by every method the same ones.

    `"smat"` merges the experts for each episode's support set; `"pretrained"` is the network that they started
    from. Both take the class of the nearest prototype. The pool is left as it was, on the device where it is.

    Args:
        pool: the experts; without any, both methods are the pre-trained network.
        source: episodes with the plain test transform.
        episodes: how many.
        methods: one or more of `METHODS`.
        precision: of the networks; prototypes, routing and logits are in float32.
        workers: processes that decode images ahead.
        on_episode: called with each row as soon as there is one.

    Returns:
        A row an episode.

    Raises:
        ConfigError: no or unknown methods, no episodes, or a source of varied training images.
        DataError: an image cannot be read.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise ConfigError(f"methods are {list(methods)}; give one or more of {', '.join(METHODS)}")
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; give 1 or more (600 are usual)")
    if source.train:
        raise ConfigError("the episodes' images are varied at random, as for training; make them with train=False")
    rows: list[EpisodeRow] = []
    with torch.inference_mode(), evaluating(pool):
        frozen = _FrozenFeatures(pool.network(pool.pretrained, precision), pool.pretrained.device)
        for n, episode in enumerate(episode_loader(source, 0, episodes, workers=workers)):
            logits = _logits(pool, frozen, episode, methods, precision)
            labels = episode.query_labels
            rows.append(
                EpisodeRow(
                    id=episode.plan.id,
                    domain=episode.plan.domain,
                    n=n,
                    way=episode.way,
                    n_support=len(episode.support),
                    n_query=len(episode.query),
                    outcomes={method: _outcome(logits[method].cpu(), labels) for method in methods},
                )
            )
            if on_episode:
                on_episode(rows[-1])
    return rows


def _logits(
    pool: SparseInterpolatedExperts,
    frozen: "_FrozenFeatures",
    episode: Episode,
    methods: Sequence[str],
    precision: Precision,
) -> dict[str, Tensor]:
    """Each method's logits of the queries, `[n_query, way]`."""
    device = pool.pretrained.device
    labels, n_support = episode.support_labels.to(device), len(episode.support)
    features = frozen(episode)
    prototypes = class_prototypes(features[:n_support], labels, episode.way)
    pretrained = cosine_logits(features[n_support:], prototypes)
    if "smat" not in methods or not pool.config.experts:
        return dict.fromkeys(methods, pretrained)
    adapted = pool.classify(
        episode.support.to(device), labels, episode.query.to(device), precision, features[:n_support]
    )
    return {"smat": adapted, "pretrained": pretrained}


def _outcome(logits: Float[Tensor, "n_query way"], labels: Tensor) -> Outcome:
    confidence, choice = logits.softmax(dim=1).max(dim=1)
    return Outcome(confidence, (choice == labels).float())


class _FrozenFeatures:
    """The frozen network's features of an episode's images, support first.

    An image is the same in all test episodes, and so are its frozen features: those of the images seen last are
    kept, and only new images pass through the network.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        self.network, self.device = network, device
        self.kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    def __call__(self, episode: Episode) -> Float[Tensor, "n dim"]:
        plan = episode.plan
        keys = [(plan.domain, row) for row in plan.support_rows + plan.query_rows]
        new = [place for place, key in enumerate(keys) if key not in self.kept]
        if new:
            images = torch.cat([episode.support, episode.query])[new]
            for place, feature in zip(new, self.network(images.to(self.device)), strict=True):
                self.kept[keys[place]] = feature.clone()  # a view would keep the whole batch alive
        for key in keys:
            self.kept.move_to_end(key)
        features = torch.stack([self.kept[key] for key in keys])
        while len(self.kept) > FEATURES_KEPT:
            self.kept.popitem(last=False)
        return features
