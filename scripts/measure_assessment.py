"""Measure on tasks from domains what `smat.assessment` promises: coverage, false alarms, accuracy, calibration.

    python scripts/measure_assessment.py OUT.csv --model MODEL --tasks 5x5,5x10,10x10 DOMAIN [DOMAIN ...]

MODEL is a backbone or a checkpoint, as `smat predict` takes it. A task has so many classes (the first number) and
images of each (the second), and up to 30 queries per class; other classes of the domain give the images of none of the
classes. The features of a network that is the same for all tasks are computed once and kept (--cache); experts are
merged for each task. Of each domain up to 22 classes and 50 images of each are looked at. Each domain has its mean over
tasks in OUT.csv; what is printed is their mean, smallest and largest.

The classifier is `auto` in two passes. What it is compared with, for images of none of the classes, is the largest
probability by logistic regression (C = 10) on the same features, of length 1.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from smat.adaptation import open_model
from smat.assessment import Knownness, assess, hold_out
from smat.backbones import ImageOptions
from smat.domains import Domain, open_domains
from smat.episodes import TransformConfig
from smat.episodes.transforms import plain_transform
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.heads import Auto, Logistic, averaged, query_features, support_features
from smat.rng import numpy_generator
from smat.statistics import calibration_error

CLASSES, IMAGES, QUERIES, STRANGERS, BINS = 22, 50, 30, 100, 15
SHARES = (0.05, 0.1, 0.2)
HEAD = Auto()
SUPPORT, QUERY = HEAD.views.support, HEAD.views.query

Numbers = dict[str, float]
FeaturesOf = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Support, its labels and other images, by index, to support features by view and query features of the others."""


@dataclass
class Images:
    """Images of some classes of a domain: the row of each, its class and its track."""

    domain: Domain
    rows: np.ndarray
    labels: np.ndarray
    tracks: np.ndarray

    @classmethod
    def of(cls, domain: Domain, split: str) -> "Images":
        """A part of the domain, always the same."""
        rng = np.random.default_rng(0)
        names, found = domain.classes(split), []
        for code, place in enumerate(rng.permutation(len(names))[:CLASSES]):
            rows, tracks = domain.rows(names[place]), domain.tracks(names[place])
            chosen = rng.permutation(len(rows))[:IMAGES]
            own = chosen if tracks is None else tracks[chosen]
            found.append((rows[chosen], np.full(len(chosen), code), own))
        return cls(domain, *(np.concatenate(part) for part in zip(*found, strict=True)))

    def pixels(self, places: Tensor | Sequence[int], pool: SparseInterpolatedExperts) -> Tensor:
        """The images as a network takes them."""
        spec = pool.backbone.spec
        side = TransformConfig(margin=spec.margin).canvas_size(spec.image_size)
        canvases = [self.domain.canvas(int(self.rows[int(place)]), side) for place in places]
        return plain_transform(torch.stack(canvases), spec.image_format)

    def draw(
        self, way: int, shot: int, n: int, queries: int, apart: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Support and its labels, queries and theirs with -1 for images of other classes; None: too few images."""
        rng = numpy_generator(0, f"assessment/{self.domain.name}/{way}/{shot}", n)
        counts = np.bincount(self.labels)
        able = np.flatnonzero(counts >= shot + 5)
        if len(able) < way:
            return None
        chosen = rng.permutation(able)[:way]
        support, query, labels = [], [], []
        for code, label in enumerate(chosen):
            places = rng.permutation(np.flatnonzero(self.labels == label))
            first, rest = places[:shot], places[shot:]
            if apart:
                rest = rest[~np.isin(self.tracks[rest], self.tracks[first])]
            support += first.tolist()
            query += rest[:queries].tolist()
            labels += [code] * len(rest[:queries])
        strangers = rng.permutation(np.flatnonzero(~np.isin(self.labels, chosen)))[: min(STRANGERS, 3 * queries)]
        every = torch.tensor([*query, *strangers.tolist()])
        wanted = torch.tensor([*labels, *[-1] * len(strangers)])
        return torch.tensor(support), torch.arange(way).repeat_interleave(shot), every, wanted


@torch.no_grad()
def frozen_features(images: Images, pool: SparseInterpolatedExperts, cache: Path) -> FeaturesOf:
    """Features of one network for all tasks, from a file if it is there."""
    if cache.is_file():
        features = torch.load(cache)["features"].float()
    else:
        network = pool.network(pool.pretrained, "32-true")
        parts = torch.arange(len(images.rows)).split(50)
        found = [
            support_features([network], images.pixels(part, pool), SUPPORT).unflatten(0, (-1, len(part)))
            for part in parts
        ]
        features = torch.cat(found, dim=1)
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"features": features.half()}, cache)
    queries = averaged([features[SUPPORT.index(view)] for view in QUERY])
    return lambda support, _, others: (features[:, support], queries[others])


def merged_features(images: Images, pool: SparseInterpolatedExperts) -> FeaturesOf:
    """Features of the network that is merged for each task."""

    def features(support: Tensor, labels: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        own = images.pixels(support, pool)
        network = pool.network(pool.merged_for(own, labels, "32-true")[0], "32-true")
        rest = [query_features([network], images.pixels(part, pool), QUERY) for part in others.split(50)]
        return support_features([network], own, SUPPORT).unflatten(0, (-1, len(own))), torch.cat(rest)

    return features


def measured(support: Tensor, labels: Tensor, queries: Tensor, wanted: Tensor, way: int) -> tuple[Numbers, Tensor]:
    """The numbers of a task; and confidence before and after the temperature and whether it was right, `[3, n]`."""
    classifier = HEAD.fit(support.flatten(0, 1), labels.repeat(len(support)), way)
    held = hold_out(HEAD, classifier, support, labels)
    found, known = assess(held), Knownness.fit(support, labels, way)(queries)
    own = wanted >= 0
    logits, truth = classifier(queries[own]).double(), wanted[own]
    probabilities = (logits / found.temperature).softmax(1)
    right = (logits.argmax(1) == truth).double()
    assert found.accuracy
    actual, expected = float(right.mean()), found.accuracy
    numbers = {
        "images": len(labels),
        "accuracy": actual,
        "expected - accuracy": expected.expected - actual,
        "inside": float(expected.low <= actual <= expected.high),
        "width": expected.high - expected.low,
        "temperature": found.temperature,
    }
    for share in SHARES:
        try:
            sets = found.sets(probabilities, share)
            numbers[f"coverage - {1 - share:g}"] = (
                float(sets[torch.arange(len(truth)), truth].double().mean()) - 1 + share
            )
            numbers[f"size {1 - share:g}"] = float(sets.sum(1).double().mean())
            unknown = known < found.threshold(share)
            numbers[f"false alarms - {share:g}"] = float(unknown[own].double().mean()) - share
            if not own.all():
                numbers[f"detected {share:g}"] = float(unknown[~own].double().mean())
        except ConfigError:  # too few images for the share
            pass
    if not own.all():
        logistic = Logistic(0.1).fit(averaged([support[SUPPORT.index(view)] for view in QUERY]), labels, way)
        numbers["auroc"] = float(roc_auc_score(own, known))
        numbers["auroc, logistic"] = float(roc_auc_score(own, logistic(queries).softmax(1).max(1).values))
    sure = [p.max(1).values for p in (logits.softmax(1), probabilities)]
    return numbers, torch.stack([*sure, right])


@torch.no_grad()
def domain_numbers(
    images: Images, features: FeaturesOf, way: int, shot: int, args: argparse.Namespace
) -> Numbers | None:
    """The mean over the tasks of a domain; None where it has too few classes or images."""
    tasks, answers = [], []
    for n in range(args.episodes):
        drawn = images.draw(way, shot, n, args.queries, args.tracks == "apart")
        if drawn is None:
            return None
        support, labels, every, wanted = drawn
        by_view, queries = features(support, labels, every)
        numbers, sure = measured(by_view, labels, queries, wanted, way)
        tasks.append(numbers)
        answers.append(sure)
    found = {key: float(np.mean([task[key] for task in tasks])) for key in tasks[0]}
    before, after, right = torch.cat(answers, dim=1)
    for name, sure in (("ECE without", before), ("ECE", after)):
        bins = (sure * BINS).long().clamp(max=BINS - 1)
        sums = [
            [float((bins == b).sum()), float(right[bins == b].sum()), float(sure[bins == b].sum())] for b in range(BINS)
        ]
        found[name] = calibration_error(sums)
    return found


def show(title: str, found: dict[str, Numbers]) -> None:
    """Mean, smallest and largest over domains."""
    print(f"\n{title}, {len(found)} domains")
    for key in max(found.values(), key=len):
        values = [numbers[key] for numbers in found.values() if key in numbers]
        print(f"  {key:24} {np.mean(values):8.4f}  {min(values):8.4f} .. {max(values):8.4f}", flush=True)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="CSV file to write")
    parser.add_argument("domains", nargs="+", help="domains")
    parser.add_argument("--model", required=True, help="backbone or checkpoint")
    parser.add_argument("--image-size", type=int, help="side of the images in pixels, of a backbone")
    parser.add_argument("--split", default="test", help="split whose classes are taken")
    parser.add_argument("--tasks", default="5x5,5x10", help="classes and images of each, as 5x5,5x10")
    parser.add_argument("--episodes", type=int, default=20, help="tasks per domain")
    parser.add_argument("--queries", type=int, default=QUERIES, help="most queries per class")
    parser.add_argument("--tracks", choices=["apart", "ignore"], default="ignore", help="rule for tracks")
    parser.add_argument("--cache", type=Path, default=Path("features"), help="folder of features")
    args = parser.parse_args()
    pool = open_model(args.model, torch.device("cpu"), images=ImageOptions(args.image_size)).eval()
    every = {domain.name: Images.of(domain, args.split) for domain in open_domains(args.domains)}
    rows = []
    for task in args.tasks.split(","):
        way, shot = (int(number) for number in task.split("x"))
        found: dict[str, Numbers] = {}
        for name, images in every.items():
            cache = args.cache / f"{name}-{args.split}.pt"
            features = merged_features(images, pool) if pool.config.experts else frozen_features(images, pool, cache)
            numbers = domain_numbers(images, features, way, shot, args)
            if numbers:
                found[name] = numbers
                rows.append({"model": args.model, "task": task, "domain": name} | numbers)
        show(f"{args.model}, {task}", found)
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, max(rows, key=len), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
                for row in rows
            )


if __name__ == "__main__":
    main()
