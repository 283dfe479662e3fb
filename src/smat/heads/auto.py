"""A head that fits itself to the task: heads and networks weighed by how well they do on images that are held out."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smat.errors import CheckpointError, ConfigError, DataError
from smat.experts import BOTH
from smat.files import write_whole
from smat.heads.features import averaged
from smat.heads.head import Classifier, Head, Weights
from smat.heads.linear import LDA, Ridge
from smat.heads.mixtures import Mixture, Weighted
from smat.heads.views import Views
from smat.schema import Finite, from_plain, read_json

FOLDS, FEWER_FOLDS, MANY = 5, 2, 200
"""Parts of the support set, of which each is held out in turn; fewer of them where there are more images than `MANY`,
since each takes a fit, and half of so many images says enough."""


def folds(labels: Int[Tensor, " n"], way: int, parts: int | None = None) -> Int[Tensor, " n"]:
    """The part of each image, 0, 1, ..., such that each part has as nearly as can be the same number of each class.

    An image that is alone in its class is never held out, for nothing would be left of the class: its part is -1.

    Args:
        labels: 0..way-1.
        way: number of classes.
        parts: number of parts; by default `FOLDS`, or `FEWER_FOLDS` of many images.
    """
    parts = parts or (FOLDS if len(labels) <= MANY else FEWER_FOLDS)
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels, minlength=way)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return torch.where(counts[labels] > 1, rank % parts, -1)


def held_out_logits(
    heads: Sequence[Head],
    features: Float[Tensor, "views n networks_dim"],
    labels: Int[Tensor, " n"],
    way: int,
    networks: int,
    query: Sequence[int],
    weights: Weights = None,
) -> tuple[Float[Tensor, "networks heads held way"], Int[Tensor, " held"]]:
    """What each head says on each network of support images that it was not fitted to, and their labels.

    Args:
        heads: what is fitted.
        features: of the support, by view.
        labels: 0..way-1.
        way: number of classes.
        networks: number of networks whose features come side by side.
        query: views that are averaged for an image to be classified.
        weights: how much each image counts for the heads.
    """
    part, found, order = folds(labels, way), [], []
    for fold in range(int(part.max()) + 1):
        kept, held = (part != fold).nonzero()[:, 0], (part == fold).nonzero()[:, 0]
        rest = features[:, kept].flatten(0, 1).chunk(networks, dim=1)
        rest_labels = labels[kept].repeat(len(features))
        rest_weights = None if weights is None else weights[kept].repeat(len(features))
        images = averaged([features[view][held] for view in query]).chunk(networks, dim=1)
        logits = [
            torch.stack([head.fit_weighted(x, rest_labels, way, rest_weights)(image).log_softmax(1) for head in heads])
            for x, image in zip(rest, images, strict=True)
        ]
        found.append(torch.stack(logits))
        order.append(held)
    if not found:
        return features.new_zeros(networks, len(heads), 0, way), labels[:0]
    return torch.cat(found, dim=2), labels[torch.cat(order)]


@dataclass(frozen=True)
class Prior:
    """What `Auto` expects before it sees a task, learned from tasks by `scripts/fit_prior.py`.

    One comes with the package; a pool can have its own (`PoolConfig.head_prior`).

    Attributes:
        scales: logarithm of the factor that makes each head's logits log-probabilities.
        spread: standard deviation of such logarithms from task to task.
        heads: log-weight of each head.
        frozen: log-weight of every network but the last, relative to the last.
        frozen_by_shot: what the logarithm of the number of images per class adds to it.
        evidence: what a nat of held-out log-likelihood per image adds to a log-weight.
        evidence_by_images: what the logarithm of the number of held-out images adds to `evidence`.
    """

    scales: tuple[Finite, ...]
    spread: Finite
    heads: tuple[Finite, ...]
    frozen: Finite
    frozen_by_shot: Finite
    evidence: Finite
    evidence_by_images: Finite

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> "Prior":
        """The inverse of `numbers`.

        Raises:
            ConfigError: numbers that are missing, too many, or none.
        """
        prior = from_plain(numbers, cls, "head_prior", ConfigError)
        for name in ("scales", "heads"):
            if len(getattr(prior, name)) != len(CANDIDATES):
                raise ConfigError(f"head_prior.{name} has {len(getattr(prior, name))} numbers; give {len(CANDIDATES)}")
        return prior

    @classmethod
    def read(cls, path: Path) -> "Prior":
        """The numbers of a file that `write` wrote."""
        return cls.of(read_json(path, dict, CheckpointError, "Install smat again"))

    def numbers(self) -> dict[str, Any]:
        """The numbers, which may be tensors, to three digits, as plain data."""
        found = {name: torch.as_tensor(value).detach().double() for name, value in vars(self).items()}
        return {name: value.round(decimals=3).tolist() for name, value in found.items()}

    def write(self, path: Path) -> None:
        """Write `numbers`."""
        write_whole(path, json.dumps(self.numbers(), indent=1) + "\n")


CANDIDATES: tuple[Head, ...] = (Ridge(), LDA(0.2), LDA(0.5), LDA(2.0), LDA(8.0))
NEGLIGIBLE = 0.02
"""Share of all weights below which a network has no say, so that no image needs to pass through it."""
PRIOR_FILE = Path(__file__).with_name("prior.json")
PRIOR = Prior.read(PRIOR_FILE)


@dataclass(frozen=True)
class Auto(Head):
    """Ridge regression and LDA on each network, weighed by how well they do on held-out support images.

    The logits are Σ_k w_k s_k z_k over heads and networks k. z_k are their logits; s_k scales them to log-probabilities
    of support images that the head was not fitted to, as far as these can say; w = softmax(prior + c · L_k), with L_k
    the mean log-likelihood of these images and c = evidence + evidence_by_images · log(their number). So it is an
    average of predictions rather than a choice, and nearly the prior's where images are few. An image that is alone in
    its class is not held out; where all are, the prior decides. The router, and the network that it merged, have seen
    the images that are held out.

    Attributes:
        passes: passes through a network that a query image takes: 1, 2 or 4, in as many views; 0 for the image as a
            whole, and no further views of the support either.
        networks: number of networks whose features come side by side.
        weigh: whether held-out images count; not for a network that was tuned on them.
        prior: numbers of the `Prior`; None for those of the pool, or else of the package.
    """

    passes: int = 2
    networks: int = 1
    weigh: bool = True
    prior: Mapping[str, Any] | None = field(default=None, hash=False)

    differentiable = False
    strengths = BOTH
    version = hashlib.sha256(repr((CANDIDATES, PRIOR)).encode()).hexdigest()[:8]

    def __post_init__(self) -> None:
        Views.of(self.passes)  # raises for another number
        if self.prior is not None:
            Prior.of(self.prior)  # raises for what is none

    @property
    def views(self) -> Views:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By the number of passes."""
        return Views.of(self.passes)

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Mixture:
        """The weighted heads.

        Raises:
            DataError: the features are not those of its views.
        """
        views = len(self.views.support)
        images = len(labels) // views
        if not torch.equal(labels, labels[:images].repeat(views)):
            raise DataError(
                f"Auto with passes {self.passes} wants the features of {views} views of each image, all first ones "
                "first; for one feature per image, set passes to 0"
            )
        parts = features.double().chunk(self.networks, dim=1)
        fitted = [[head.fit_weighted(part, labels, way, weights) for head in CANDIDATES] for part in parts]
        by_view, labels = features.double().view(views, images, -1), labels[:images]
        held, held_labels = by_view.new_zeros(self.networks, len(CANDIDATES), 0, way), labels[:0]
        if self.weigh:
            query = [self.views.support.index(view) for view in self.views.query]
            by_image = None if weights is None else weights[:images]
            held, held_labels = held_out_logits(CANDIDATES, by_view, labels, way, self.networks, query, by_image)
        prior = PRIOR if self.prior is None else Prior.of(self.prior)
        shares = factors(prior, held, held_labels, images / way)
        shares[shares.sum(1) < NEGLIGIBLE * shares.sum()] = 0
        return Mixture(fitted, shares).to(features)

    def with_prior(self, prior: Mapping[str, Any]) -> "Auto":
        """The head with a prior of a pool, unless it has one already."""
        return self if self.prior else replace(self, prior=prior)

    def for_networks(self, networks: int) -> "Auto":
        """The head for so many networks."""
        return replace(self, networks=networks)

    def settled(self, classifier: Classifier) -> Weighted:
        """The candidates with the weights that the task gave them."""
        assert isinstance(classifier, Mixture)
        return Weighted(CANDIDATES, classifier.weights)

    def after_tuning(self) -> "Auto":
        """The prior alone: a network knows the images that it was tuned on."""
        return replace(self, weigh=False)


def factors(
    prior: Prior, held: Float[Tensor, "networks heads held way"], labels: Int[Tensor, " held"], shot: float
) -> Float[Tensor, "networks heads"]:
    """What the logits of each head on each network are multiplied by; the last network is the one that the task made.

    Args:
        prior: where they start.
        held: log-probabilities of held-out images by each head on each network.
        labels: labels of these images; without any, the prior decides.
        shot: support images per class.
    """
    network = held.new_zeros(len(held), 1)
    network[:-1] = prior.frozen + prior.frozen_by_shot * math.log(shot)
    log_weights = network + torch.as_tensor(prior.heads).to(held)
    log_scales = torch.as_tensor(prior.scales).to(held).expand_as(log_weights)
    if len(labels):
        steps = torch.linspace(-3, 3, 13).to(held)  # how many standard deviations a scale lies from the usual one
        tried = log_scales[..., None] + torch.as_tensor(prior.spread).to(held) * steps
        scaled = tried.exp()[..., None, None] * held[:, :, None]
        right = scaled.log_softmax(-1)[..., torch.arange(len(labels)), labels]
        belief = (right.sum(-1) - steps.square() / 2).softmax(-1)
        log_scales = (belief * tried).sum(-1)
        likelihood = (belief * right.mean(-1)).sum(-1)
        log_weights = log_weights + (prior.evidence + prior.evidence_by_images * math.log(len(labels))) * likelihood
    return log_weights.flatten().softmax(0).view_as(log_weights) * log_scales.exp()
