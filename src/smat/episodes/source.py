"""Episodes by number: which domain, which images, and the tensors they become."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from smat.backbones.spec import ImageFormat
from smat.domains.domain import Domain
from smat.episodes.episode import Episode, EpisodePlan
from smat.episodes.samplers import Draw, FixedSampler, Sampler, SplitClasses
from smat.episodes.tracks import TrackRule, draw_apart, track_rule
from smat.episodes.transforms import TransformConfig, plain_transform, random_transform
from smat.errors import ConfigError
from smat.plugins import import_path
from smat.rng import numpy_generator, seeded_torch


class EpisodeSource:
    """A numbered series of episodes, endless unless they are given as `plans`.

    Episode n is a function of the arguments here and n alone: not of what was asked for before, nor of the
    process that makes it.

    Args:
        domains: one or more; each episode is from one of them.
        split: whose classes: `"train"`, `"val"` or `"test"`.
        sampler: what draws the make-up of an episode.
        image_format: the images that the network takes.
        train: whether images are augmented at random (training) or only cut (tests).
        transforms: how images are cut and augmented.
        seed: random seed of the run, 0 or more.
        weights: how often each domain is drawn, in proportion, or a function that says so of the number of an episode;
            None: all alike.
        joined: whether all images of an episode are both its support and its query.
        plans: episodes of these domains that were drawn before: episode n is `plans[n]`. None: draw them.
        tracks: whether no track of a domain may be in an episode's support and query (`"keep-apart"`), or tracks are
            not looked at (`"ignore"`, and always where episodes are `joined`); of `plans`, how they were drawn. None:
            `"keep-apart"` with a `FixedSampler`, `"ignore"` with others.

    Raises:
        DataError: a domain has no such split, or too few classes, images or tracks for the sampler, or names of images
            that do not fit its pattern of tracks.
        ConfigError: no domains, two of one name, weights that do not fit them, or no such rule for tracks.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        split: str,
        sampler: Sampler,
        *,
        image_format: ImageFormat,
        train: bool = False,
        transforms: TransformConfig | None = None,
        seed: int = 0,
        weights: Sequence[float] | Callable[[int], Sequence[float]] | None = None,
        joined: bool = False,
        plans: Sequence[EpisodePlan] | None = None,
        tracks: TrackRule | None = None,
    ) -> None:
        rule = track_rule(tracks, "keep-apart" if isinstance(sampler, FixedSampler) else "ignore")
        self.tracks: TrackRule = "ignore" if joined else rule
        self.joined = joined
        self.domains = tuple(domains)
        self.split = split
        self.sampler = sampler
        self.image_format = image_format
        self.train = train
        self.transforms = transforms or TransformConfig()
        self.seed = seed
        self.plans = plans
        self._by_name = {domain.name: domain for domain in self.domains}
        self._weights = weights
        self._shares = _shares(self.domains, weights(0) if callable(weights) else weights)
        if len(self._by_name) < len(self.domains):
            raise ConfigError(f"two domains have one name: {[d.name for d in self.domains]}; give each its own")
        self._classes = {domain.name: _classes(domain, split, self.tracks) for domain in self.domains}
        if plans is None:  # given ones need not be what the sampler could draw
            for classes in self._classes.values():
                sampler.check(classes)

    @property
    def tracks_apart(self) -> tuple[str, ...]:
        """Names of the domains that have tracks, where these are kept apart."""
        return tuple(name for name, classes in self._classes.items() if classes.tracks is not None)

    def plan(self, n: int) -> EpisodePlan:
        """Which images episode `n` is made of; reads no image.

        Raises:
            ConfigError: a sampler from outside smat drew what cannot be.
        """
        if self.plans is not None:
            return self.plans[n]
        shares = _shares(self.domains, self._weights(n)) if callable(self._weights) else self._shares
        choice = numpy_generator(self.seed, "domain", n).choice(len(self.domains), p=shares)
        domain = self.domains[int(choice)]
        rng = numpy_generator(self.seed, f"episode/{self.split}/{domain.name}", n)
        classes = self._classes[domain.name]
        names = classes.names
        draw = self.sampler.draw(classes, rng)
        _check_draw(draw, classes, self.sampler)
        support: list[np.ndarray] = []
        query: list[np.ndarray] = []
        for index, shot in zip(draw.classes, draw.shots, strict=True):
            rows, tracks = domain.rows(names[index]), domain.tracks(names[index]) if classes.tracks else None
            if tracks is None:
                chosen = rng.choice(rows, shot + draw.query, replace=False)
                support.append(chosen[:shot])
                query.append(chosen[shot:])
            else:
                first, second = draw_apart(tracks, shot, draw.query, rng)
                support.append(rows[first])
                query.append(rows[second])
        return EpisodePlan(
            id=f"{domain.name}/{self.split}/{self.seed}/{n}",
            domain=domain.name,
            split=self.split,
            classes=tuple(names[index] for index in draw.classes),
            support_rows=tuple(np.concatenate(support).tolist()),
            support_labels=_labels(support),
            query_rows=tuple(np.concatenate(query).tolist()),
            query_labels=_labels(query),
        )

    def episode(self, n: int) -> Episode:
        """Episode `n` with its images.

        Raises:
            DataError: an image cannot be read.
        """
        plan = self.plan(n)
        domain = self._by_name[plan.domain]
        side = self.transforms.canvas_size(self.image_format.size)
        canvases = torch.stack([domain.canvas(row, side) for row in plan.support_rows + plan.query_rows])
        images = self._transform(canvases, domain, n)
        labels = torch.tensor(plan.support_labels + plan.query_labels)
        if self.joined:
            return Episode(plan, images, labels, images, labels)
        n = len(plan.support_rows)
        return Episode(plan, images[:n], labels[:n], images[n:], labels[n:])

    def _transform(self, canvases: UInt8[Tensor, "n 3 side side"], domain: Domain, n: int) -> Tensor:
        if not self.train:
            return plain_transform(canvases, self.image_format)
        with seeded_torch(self.seed, f"augment/{self.split}", n):
            return random_transform(canvases, self.image_format, self.transforms, flip=domain.flip)

    def trace(self, n: int) -> dict[str, Any]:
        """Where episode `n` comes from, for JSON: id, classes, and each image's row, name and label."""
        plan = self.plan(n)
        domain = self._by_name[plan.domain]

        def images(rows: Sequence[int], labels: Sequence[int]) -> list[dict[str, Any]]:
            return [
                {"row": row, "image": domain.image_name(row), "label": label}
                for row, label in zip(rows, labels, strict=True)
            ]

        return {
            "id": plan.id,
            "domain": plan.domain,
            "split": plan.split,
            "classes": list(plan.classes),
            "support": images(plan.support_rows, plan.support_labels),
            "query": images(plan.query_rows, plan.query_labels),
        }


def _classes(domain: Domain, split: str, rule: TrackRule) -> SplitClasses:
    names = domain.classes(split)
    part = f"the {split} split of " if len(domain.splits) > 1 else ""
    sizes = np.array([len(domain.rows(name)) for name in names], dtype=np.int64)
    tracks = [domain.tracks(name) for name in names] if rule == "keep-apart" else []
    counts = [list(Counter(of_class.tolist()).values()) for of_class in tracks if of_class is not None]
    if 0 < len(counts) < len(names):
        raise ConfigError(
            f"domain '{domain.name}' gives tracks for {len(counts)} of its {len(names)} {split} classes; give them for "
            "all (an image of no track is one by itself), or for none"
        )
    return SplitClasses(f"{part}domain '{domain.name}'", names, sizes, domain.hierarchy(split), counts or None)


def _check_draw(draw: Draw, classes: SplitClasses, sampler: Sampler) -> None:
    count, way = len(classes.names), len(draw.classes)
    if not (
        way == len(set(draw.classes)) == len(draw.shots) >= 2
        and all(0 <= index < count for index in draw.classes)
        and min(*draw.shots, draw.query) >= 1
        and all(shot <= classes.most_support(i, draw.query) for i, shot in zip(draw.classes, draw.shots, strict=True))
    ):
        advice = "" if classes.tracks is None else ", in different tracks (otherwise set tracks to ignore)"
        raise ConfigError(
            f"{import_path(type(sampler))} drew {draw} from {classes.owner}, which has {count} classes: an episode "
            f"needs two or more of the classes 0..{count - 1}, each once, and of each 1 or more support and 1 or "
            f"more query images, together no more than it has{advice}"
        )


def _labels(groups: Sequence[np.ndarray]) -> tuple[int, ...]:
    return tuple(label for label, rows in enumerate(groups) for _ in rows)


def _shares(domains: Sequence[Domain], weights: Sequence[float] | None) -> np.ndarray:
    if not domains:
        raise ConfigError("an episode source needs at least one domain; it was given none")
    shares = np.ones(len(domains)) if weights is None else np.array(weights, dtype=np.float64)
    if len(shares) != len(domains) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise ConfigError(
            f"domain weights are {weights} for the {len(domains)} domains {[d.name for d in domains]}; give one number "
            "per domain, 0 or more, not all 0"
        )
    return shares / shares.sum()
