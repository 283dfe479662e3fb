"""Fine-tuning at several learning rates and seeds, averaged."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.adaptation import tuned_models
from smat.episodes import Episode
from smat.evaluation.contenders import FineTuned
from smat.evaluation.protocol import EpisodeFeatures


@dataclass
class Averaged(FineTuned):
    """A pool, fine-tuned on each episode's support set at each rate of `config.grid` by `config.seeds` seeds.

    The probabilities are the mean of theirs; one network is in memory at a time. `rate` means nothing here, and there
    are no `rates` to report.
    """

    def __call__(self, episode: Episode, features: EpisodeFeatures) -> Float[Tensor, "n_query way"]:
        """Probabilities of the queries' classes; all alike where every rate broke the network."""
        model = self.specialise(episode)
        found = [self.classified(tuned, episode) for _, tuned in tuned_models(self._tuning(episode), model)]
        return torch.stack(found).mean(0) if found else torch.full((len(episode.query), episode.way), 1 / episode.way)
