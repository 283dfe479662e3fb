"""Accuracy of a pool on validation episodes, while it is tuned."""

from collections.abc import Sequence

import torch
from torch import Tensor

from smat.episodes import Episode, EpisodeSource, episode_loader
from smat.experts import ShardedGates, SparseInterpolatedExperts
from smat.heads import Head, fit_task
from smat.metatuning.processes import Processes
from smat.metatuning.settings import TuningConfig
from smat.precision import NetworkPrecision


@torch.no_grad()
def validate(
    pool: SparseInterpolatedExperts,
    sources: Sequence[EpisodeSource],
    config: TuningConfig,
    precision: NetworkPrecision,
    processes: Processes,
    *,
    workers: int = 0,
) -> dict[str, float]:
    """The accuracy on the validation classes of each domain, whose episodes the processes share."""
    pool.eval()
    fabric, accuracies = processes.fabric, {}
    for source in sources:
        correct = torch.zeros(2, device=fabric.device)
        rank, world = fabric.global_rank, fabric.world_size
        number = config.validation_episodes
        if isinstance(pool.update, ShardedGates):  # all take part in each merge: the last round may have more
            number += -number % world
        for n, episode in enumerate(episode_loader(source, rank, number, world, workers)):
            accuracy = query_accuracy(pool, episode.to(fabric.device), config.head, precision)
            if rank + n * world < config.validation_episodes:
                correct += torch.stack([accuracy, correct.new_ones(())])
        correct = processes.mean(correct)
        accuracies[source.domains[0].name] = float(correct[0] / correct[1])
    return accuracies


@torch.no_grad()
def query_accuracy(
    pool: SparseInterpolatedExperts, episode: Episode, head: Head | None, precision: NetworkPrecision
) -> Tensor:
    """The share of right answers of a pool, in evaluation mode, on an episode's query images."""
    support, labels, query = episode.support, episode.support_labels, episode.query
    classifier, features = fit_task(pool, support, labels, query, head=head, precision=precision)
    return (classifier(features).argmax(1) == episode.query_labels).float().mean()
