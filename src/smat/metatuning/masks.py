"""Masks that gradients choose, before a training begins."""

import torch

from smat.episodes import EpisodeSource
from smat.experts import SparseInterpolatedExperts
from smat.heads import Prototype
from smat.metatuning.passes import pass_through_networks
from smat.metatuning.settings import TuningConfig
from smat.precision import NetworkPrecision

TASKS = 16
"""Number of training tasks whose gradients choose a mask: the first of the run."""


def choose_mask(
    pool: SparseInterpolatedExperts, source: EpisodeSource, config: TuningConfig, precision: NetworkPrecision
) -> None:
    """Let the update of a pool choose what it trains, where gradients decide that.

    They are those of the objective of the first training tasks at θ_pre, the same in every process of a run.

    Args:
        pool: not trained yet.
        source: training episodes.
        config: the run's settings.
        precision: of the passes over networks.
    """
    wanted = pool.update.chosen_by
    if wanted is None:
        return
    head, device = config.head or Prototype(pool.head), pool.pretrained.device
    total = torch.zeros_like(pool.pretrained)
    for number in range(min(TASKS, config.tasks)):
        episode = source.episode(number).to(device)
        n_support, network = len(episode.support), pool.network(pool.pretrained, precision)
        with torch.no_grad():
            features = network(torch.cat([episode.support, episode.query]))
            logits = head.fit(features[:n_support], episode.support_labels, episode.way)(features[n_support:]).detach()
        vector = pool.pretrained.clone()
        _, gradient, _ = pass_through_networks(pool, vector, head, episode, config.objective, precision, logits, False)
        total += gradient.square() if wanted == "square" else gradient
    pool.update.choose(total.abs())
