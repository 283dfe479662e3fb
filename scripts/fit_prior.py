"""Learn the prior of `smat.heads.Auto` from tasks, and write it to `src/smat/heads/prior.json`, or into a pool.

    python scripts/fit_prior.py TASKS [TASKS ...] [--pool CHECKPOINT]

TASKS are made by the same script from a checkpoint and domains, of classes that its training did not see:

    python scripts/fit_prior.py --collect TASKS CHECKPOINT SPLIT DOMAIN [DOMAIN ...] --shot 5 --episodes 30

What is minimised is the cross-entropy of the queries, averaged over domains, as a function of the prior's numbers, by
the formula of the head itself: with the frozen network, with the merged one, and with both side by side. Most of it is
the cross-entropy at the temperature that suits each task best, which is about which class comes first; the rest is
about how sure the probabilities are.
"""

import argparse
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from smat.domains import open_domains
from smat.episodes import EpisodeSource, FixedSampler, Sampler, TransformConfig, VariableSampler, episode_loader
from smat.experts import SparseInterpolatedExperts, Strength
from smat.heads import TaskFeatures, vectors_at
from smat.heads.auto import CANDIDATES, PRIOR_FILE, Prior, factors, held_out_logits
from smat.heads.features import FeatureNetwork
from smat.heads.views import Views

PRECISION = "32-true"
STRENGTHS = (Strength(0.0, 0.0), Strength())
"""The frozen and the merged network."""

CALIBRATION = 0.2
"""Share of the cross-entropy at the head's own temperature."""

Task = dict[str, Tensor]


@torch.no_grad()
def collect(pool: SparseInterpolatedExperts, source: EpisodeSource, episodes: int, passes: int) -> list[Task]:
    """What each candidate says of the queries, and of support images that it was not fitted to."""
    views, tasks = Views.of(passes), []
    query = [views.support.index(view) for view in views.query]
    for episode in episode_loader(source, 0, episodes):
        labels, way = episode.support_labels, episode.way
        merged, _ = pool.merged_for(episode.support, labels, PRECISION)
        vectors = vectors_at(pool, merged, STRENGTHS)
        networks: dict[Hashable, FeatureNetwork] = {
            place: pool.network(vector, PRECISION) for place, vector in enumerate(vectors)
        }
        support, queries = TaskFeatures(episode.support, episode.query).of(networks, views)
        support, queries = support.double(), queries.double()
        every = labels.repeat(len(views.support))
        parts = zip(support.chunk(2, dim=1), queries.chunk(2, dim=1), strict=True)
        logits = [torch.stack([head.fit(s, every, way)(q).log_softmax(1) for head in CANDIDATES]) for s, q in parts]
        by_view = support.view(len(views.support), len(labels), -1)
        held, held_labels = held_out_logits(CANDIDATES, by_view, labels, way, 2, query)
        tasks.append(
            {
                "logits": torch.stack(logits).float(),
                "labels": episode.query_labels,
                "held": held.float(),
                "held_labels": held_labels,
                "shot": torch.tensor(len(labels) / way),
            }
        )
    return tasks


def fit(groups: list[list[Task]], steps: int = 120) -> tuple[Prior, float]:
    """The prior with the smallest cross-entropy, each group of tasks counting alike, and that cross-entropy."""
    heads = len(CANDIDATES)
    start = {
        "scales": torch.zeros(heads),
        "heads": torch.zeros(heads),
        "others": torch.tensor([0.7, -1.0, 0.0, 1.0, 0.0]),
    }
    numbers = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(numbers.values(), lr=0.1)

    def prior() -> Prior:
        spread, *others = numbers["others"]
        return Prior(numbers["scales"], spread.abs(), numbers["heads"], *others)  # pyright: ignore

    temperatures = torch.linspace(-3, 3, 25).exp()

    def loss_of(task: Task, networks: list[int]) -> Tensor:
        found = factors(prior(), task["held"][networks], task["held_labels"], float(task["shot"]))
        logits = torch.einsum("kh,khnc->nc", found, task["logits"][networks])
        plain = cross_entropy(logits, task["labels"])
        with torch.no_grad():
            losses = [cross_entropy(logits * t, task["labels"]) for t in temperatures]
            best = temperatures[int(torch.stack(losses).argmin())]
        return (1 - CALIBRATION) * cross_entropy(logits * best, task["labels"]) + CALIBRATION * plain

    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        losses = [
            torch.stack([loss_of(task, networks) for task in tasks for networks in ([0], [1], [0, 1])]).mean()
            for tasks in groups
        ]
        # a weak pull keeps the numbers that the tasks do not determine near where they began
        pull = sum((numbers[name] - start[name]).square().sum() for name in numbers)
        loss = torch.stack(losses).mean()
        (loss + 1e-4 * pull).backward()
        optimizer.step()
    return prior(), float(loss)


def main() -> None:
    """Collect tasks, or fit the prior to those that were collected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="files of tasks; with --collect CHECKPOINT SPLIT DOMAIN ...")
    parser.add_argument("--collect", metavar="TASKS", help="file to write tasks to")
    parser.add_argument("--pool", metavar="CHECKPOINT", help="local pool whose own prior it becomes")
    parser.add_argument("--shot", type=int, default=5, help="images per class; 0 for Meta-Dataset's rule")
    parser.add_argument("--episodes", type=int, default=30, help="number of episodes per domain")
    parser.add_argument("--passes", type=int, default=2, help="passes through a network per image")
    parser.add_argument("--seed", type=int, default=0, help="seed of the episodes")
    args = parser.parse_args()
    if not args.collect:
        groups = [tasks for name in args.names for tasks in torch.load(name).values()]
        found, loss = fit(groups)
        if args.pool:
            pool = SparseInterpolatedExperts.from_pretrained(args.pool)
            pool.config = replace(pool.config, head_prior=found.numbers())
            pool.save_pretrained(args.pool)
        else:
            found.write(PRIOR_FILE)
        print(f"{len(groups)} groups of tasks, loss {loss:.4f}: {found.numbers()}")
        return
    checkpoint, split, *domains = args.names
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint).eval()
    sampler: Sampler = FixedSampler(5, args.shot, 10) if args.shot else VariableSampler(max_support=200)
    spec, found = pool.backbone.spec, {}
    for domain in open_domains(domains):
        source = EpisodeSource(
            [domain],
            split,
            sampler,
            image_format=spec.image_format,
            transforms=TransformConfig(margin=spec.margin),
            seed=args.seed,
        )
        found[domain.name] = collect(pool, source, args.episodes, args.passes)
        torch.save(found, Path(args.collect))
        print(f"{domain.name}: {len(found[domain.name])} tasks")


if __name__ == "__main__":
    main()
