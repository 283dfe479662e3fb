"""What a pool does with tasks of several domains: how it routes them, and how much alike they are to it.

Chen et al. (2024), Fig. 5c: tasks of domains that look alike get like merge weights, and so like masks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import entr
from scipy.stats import binomtest

from smat.adaptation import evaluating
from smat.analysis.distances import ROUNDING, jensen_shannon
from smat.domains import Domain, Role
from smat.episodes import EpisodeSource, TransformConfig, episode_loader, plain_transform
from smat.errors import ConfigError, DataError
from smat.evaluation import FixedFeatures
from smat.experts import FeatureCache, SparseInterpolatedExperts, cached, class_prototypes
from smat.heads import in_batches
from smat.precision import NetworkPrecision

IDLE = 0.1
"""An expert is idle where its mean weight is below this share of 1/M, its weight if all experts had the same."""

_BATCH = 64  # images of a task of one's own that pass through the network at a time


@dataclass(frozen=True)
class Tasks:
    """Tasks of several domains, and what a pool's router makes of them.

    Attributes:
        ids: id of each task's episode.
        domains: names of the domains.
        roles: role of each domain: `id`, `ood`, `validation` or `""`.
        domain: index of each task's domain.
        weights: merge weights α of each task, in 0..1; with a null expert they sum to less than 1.
        logits: routing logits; with a null expert its logit is the last.
    """

    ids: tuple[str, ...]
    domains: tuple[str, ...]
    roles: tuple[Role, ...]
    domain: Int[np.ndarray, " tasks"]
    weights: Float[np.ndarray, "tasks experts"]
    logits: Float[np.ndarray, "tasks routes"]

    @cached_property
    def shares(self) -> Float[np.ndarray, "tasks shares"]:
        """The merge weights as a distribution: where they may sum to less than 1, the rest is one more entry."""
        return _shares(self.weights, self.logits.shape[1] > self.weights.shape[1])

    @cached_property
    def entropy(self) -> Float[np.ndarray, " tasks"]:
        """Entropy of each task's shares over that of equal ones, in 0..1; 0 where there is one expert alone."""
        entries = self.shares.shape[1]
        return entr(self.shares).sum(1) / np.log(entries) if entries > 1 else np.zeros(len(self.shares))

    @cached_property
    def mean_weights(self) -> Float[np.ndarray, "domains experts"]:
        """Merge weights averaged over the tasks of each domain."""
        return self._by_domain(self.weights)

    @cached_property
    def mean_shares(self) -> Float[np.ndarray, "domains shares"]:
        """Shares averaged over the tasks of each domain."""
        return self._by_domain(self.shares)

    @cached_property
    def mean_entropy(self) -> Float[np.ndarray, " domains"]:
        """Entropy averaged over the tasks of each domain, in 0..1."""
        return self._by_domain(self.entropy)

    @cached_property
    def idle(self) -> Bool[np.ndarray, " experts"]:
        """Experts whose mean weight is below 1/(10 M) in every domain: none of these tasks would miss them."""
        return (self.mean_weights < IDLE / self.weights.shape[1]).all(axis=0)

    def _by_domain(self, values: np.ndarray) -> np.ndarray:
        return np.stack([values[self.domain == index].mean(0) for index in range(len(self.domains))])


def join(parts: Sequence[Tasks]) -> Tasks:
    """Tasks of one pool together; domains of the same name become one.

    Raises:
        DataError: there are none.
    """
    if not parts:
        raise DataError("there are no tasks; give at least one domain")
    roles: dict[str, Role] = {}
    for part in parts:
        roles |= zip(part.domains, part.roles, strict=True)
    names = list(roles)
    own = [np.array([names.index(name) for name in part.domains])[part.domain] for part in parts]
    return Tasks(
        ids=tuple(name for part in parts for name in part.ids),
        domains=tuple(names),
        roles=tuple(roles.values()),
        domain=np.concatenate(own),
        weights=np.concatenate([part.weights for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
    )


@torch.no_grad()
def route_tasks(
    pool: SparseInterpolatedExperts,
    frozen: FixedFeatures,
    sources: Sequence[EpisodeSource],
    episodes: int = 10,
    *,
    workers: int = 0,
    on_task: Callable[[str], None] | None = None,
) -> Tasks:
    """Draw tasks of each domain and route them.

    Args:
        pool: experts around the frozen network; it is left as it was.
        frozen: features by the frozen network, which other analyses of the same episodes share.
        sources: episodes of one domain each (`smat.evaluation.domain_sources`).
        episodes: number of tasks per domain: episodes 0..episodes-1.
        workers: processes that decode images ahead.
        on_task: called with the domain's name after each task.

    Raises:
        ConfigError: a pool without experts, or no episodes.
        DataError: an image cannot be read, or there are no sources.
    """
    require_experts(pool)
    require_episodes(episodes)
    parts = []
    for source in sources:
        for episode in episode_loader(source, 0, episodes, workers=workers):
            episode = episode.to(frozen.device)
            prototypes = class_prototypes(frozen(episode, parts=("support",)), episode.support_labels, episode.way)
            (domain,) = source.domains
            parts.append(_routed(pool, prototypes, episode.plan.id, domain))
            if on_task:
                on_task(domain.name)
    return join(parts)


@torch.no_grad()
def route_own(
    pool: SparseInterpolatedExperts,
    domain: Domain,
    *,
    margin: float | None = None,
    precision: NetworkPrecision = "32-true",
    cache: FeatureCache | None = None,
) -> Tasks:
    """One task of all images of a domain, such as a folder of class folders of one's own, and its routing.

    Args:
        pool: experts around a backbone; it is left as it was.
        domain: the labelled images; all classes of all splits are those of the task.
        margin: side of the square that images are cut to over the image size; by default that of the pool's training.
        precision: of the frozen network.
        cache: features of earlier runs, on disk.

    Raises:
        ConfigError: a pool without experts.
        DataError: fewer than two classes, or an image cannot be read.
    """
    require_experts(pool)
    names = sorted(name for classes in domain.splits.values() for name in classes)
    if len(names) < 2:
        have = f"one class, '{names[0]}'" if names else "no classes"
        raise DataError(f"'{domain.name}' has {have}; give images of two or more classes")
    spec = pool.backbone.spec
    side = TransformConfig(margin=spec.margin if margin is None else margin).canvas_size(spec.image_size)
    network = in_batches(cached(pool.network(pool.pretrained, precision), cache), _BATCH)
    rows = [(label, row) for label, name in enumerate(names) for row in domain.rows(name).tolist()]
    features = []
    for start in range(0, len(rows), _BATCH):
        canvases = torch.stack([domain.canvas(row, side) for _, row in rows[start : start + _BATCH]])
        features.append(network(plain_transform(canvases, spec.image_format).to(pool.pretrained.device)))
    labels = torch.tensor([label for label, _ in rows], device=pool.pretrained.device)
    return _routed(pool, class_prototypes(torch.cat(features), labels, len(names)), domain.name, domain)


def require_experts(pool: SparseInterpolatedExperts) -> None:
    """Raise a `ConfigError` for a pool without experts."""
    if not pool.config.experts:
        raise ConfigError("the pool has no experts, so there is nothing to analyse: give one that was meta-tuned")


def require_episodes(episodes: int) -> None:
    """Raise a `ConfigError` for fewer than one episode per domain."""
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; give 1 or more per domain (10 are usual)")


def _routed(pool: SparseInterpolatedExperts, prototypes: torch.Tensor, name: str, domain: Domain) -> Tasks:
    with evaluating(pool):
        weights, logits = (values.double().cpu().numpy()[None] for values in pool.route(prototypes))
    return Tasks((name,), (domain.name,), (domain.role,), np.zeros(1, dtype=np.int64), weights, logits)


def _shares(weights: Float[np.ndarray, "n experts"], null: bool = False) -> Float[np.ndarray, "n shares"]:
    rest = np.clip(1 - weights.sum(1, keepdims=True), 0, None)
    # a lone expert whose weight need not be 1, as in the authors' code, leaves a rest too
    whole = np.hstack([weights, rest]) if null or (rest > 1e-5).any() else weights
    return whole / whole.sum(1, keepdims=True)


@dataclass(frozen=True)
class DomainRecognition:
    """How well merge weights tell which domain a task is of.

    Attributes:
        accuracy: share of the tasks whose domain was found, in 0..1.
        low, high: its 95 % interval (Wilson 1927), as if the tasks were independent.
        chance: share of the tasks that are of the most frequent domain: what can be had without looking.
        confusion: tasks by their domain (row) and the one that was found (column).
    """

    accuracy: float
    low: float
    high: float
    chance: float
    confusion: Int[np.ndarray, "domains domains"]


def recognise_domains(tasks: Tasks) -> DomainRecognition:
    """Find each task's domain by the nearest mean of the others' merge weights: leave-one-out cross-validation.

    The distance is the root of the Jensen-Shannon divergence; of domains equally near, the first counts as found. With
    weights that say nothing, the accuracy lies below chance rather than at it: a task that is left out takes its own
    domain's mean away from itself.

    Raises:
        DataError: fewer than two domains, or a domain with one task.
    """
    counts = np.bincount(tasks.domain, minlength=len(tasks.domains))
    if len(counts) < 2 or counts.min() < 2:
        raise DataError(
            f"domains are told by 2 or more tasks of each of 2 or more domains; got {counts.tolist()} tasks of "
            f"{len(counts)}: give more domains or tasks"
        )
    n = np.arange(len(tasks.domain))
    sums = np.stack([tasks.shares[tasks.domain == index].sum(0) for index in range(len(counts))])
    means = np.repeat((sums / counts[:, None])[None], len(n), axis=0)
    means[n, tasks.domain] = (sums[tasks.domain] - tasks.shares) / (counts[tasks.domain, None] - 1)
    distances = jensen_shannon(tasks.shares[:, None], means)
    found = (distances < distances.min(1, keepdims=True) + ROUNDING).argmax(1)
    confusion = np.zeros((len(counts), len(counts)), dtype=np.int64)
    np.add.at(confusion, (tasks.domain, found), 1)
    right = int(np.trace(confusion))
    bounds = binomtest(right, len(n)).proportion_ci(0.95, method="wilson")
    return DomainRecognition(right / len(n), float(bounds.low), float(bounds.high), counts.max() / len(n), confusion)


@dataclass(frozen=True)
class Placement:
    """Where a task of one's own lies among those of known domains.

    Attributes:
        name: name of the task.
        weights: its merge weights.
        entropy: entropy of its routing, in 0..1.
        nearest: the domains and how far their mean weights are from its own (root of the Jensen-Shannon divergence, in
            0..1), the nearest first.
        within: share of the nearest domain's own tasks that lie at least as far from its mean as this task; 0: it lies
            outside all of them.
    """

    name: str
    weights: Float[np.ndarray, " experts"]
    entropy: float
    nearest: tuple[tuple[str, float], ...]
    within: float


def place(own: Tasks, among: Tasks) -> list[Placement]:
    """Where each task of one's own lies among those of known domains; both of one pool."""
    both = join([own, among]).shares  # with a rest in both or in neither
    own_shares, shares = both[: len(own.ids)], both[len(own.ids) :]
    means = np.stack([shares[among.domain == index].mean(0) for index in range(len(among.domains))])
    distances = jensen_shannon(own_shares[:, None], means)
    spread = jensen_shannon(shares, means[among.domain])
    placements = []
    for number, name in enumerate(own.ids):
        order = np.argsort(distances[number], kind="stable")
        theirs = spread[among.domain == order[0]]
        placements.append(
            Placement(
                name,
                own.weights[number],
                float(own.entropy[number]),
                tuple((among.domains[index], float(distances[number, index])) for index in order),
                float((theirs > distances[number, order[0]] - ROUNDING).mean()),
            )
        )
    return placements
