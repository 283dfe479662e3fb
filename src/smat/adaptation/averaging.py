"""Fine-tuning at several learning rates and seeds, averaged, in place of the choice of one rate."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.adaptation.finetune import FineTuning, OnStep
from smat.backbones import Backbone
from smat.errors import NonFiniteError
from smat.heads import TaskModel
from smat.rng import derive_seed

_log = logging.getLogger(__name__)


class TaskModels(nn.Module):
    """Several networks for one task as one: the mean of their probabilities. It takes the memory of them all.

    Attributes:
        members: the networks, at least one.
        rates: learning rate of each.
    """

    def __init__(self, members: Sequence[TaskModel], rates: Sequence[float]) -> None:
        super().__init__()
        self.members, self.rates = nn.ModuleList(members), tuple(rates)

    @property
    def each(self) -> list[TaskModel]:
        """The networks, as what they are."""
        return [*self.members]  # pyright: ignore[reportReturnType]

    @property
    def first(self) -> TaskModel:
        """One of the networks, for what is the same in all."""
        return self.each[0]

    @property
    def way(self) -> int:
        """Number of classes."""
        return self.first.way

    @property
    def backbone(self) -> Backbone:
        """That of the first network."""
        return self.first.backbone

    @property
    def merge_weights(self) -> Float[Tensor, " experts"]:
        """How much of each expert the router put into the networks."""
        return self.first.merge_weights

    @property
    def tuned(self) -> int:
        """Number of parameters that fine-tuning trained in each."""
        return self.first.tuned

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n way"]:
        """The logarithm of the mean probabilities: their softmax gives these."""
        return self.described(images)[1]

    def described(
        self, images: Float[Tensor, "n 3 height width"]
    ) -> tuple[Float[Tensor, "n networks_dim"], Float[Tensor, "n way"]]:
        """Features of the first network, and the logits of all together."""
        found = [member.described(member.networks, images) for member in self.each]
        log_probabilities = torch.stack([logits.double().log_softmax(dim=1) for _, logits in found])
        return found[0][0], log_probabilities.logsumexp(dim=0) - math.log(len(found))


def models_of(model: TaskModel | TaskModels) -> list[TaskModel]:
    """The networks of a task, one by one."""
    return [model] if isinstance(model, TaskModel) else model.each


def tuned_models(
    tuning: FineTuning, model: TaskModel, on_step: OnStep | None = None
) -> Iterator[tuple[float, TaskModel]]:
    """Networks that were fine-tuned at each learning rate of the grid by each of several seeds, with their rates.

    With the 3 rates and 2 seeds of the default that is 6 fine-tunings; choosing a rate by cross-validation takes about
    15. A network that its rate broke is left out, with a warning.

    Args:
        tuning: the support set and how the network is tuned on it, at `config.grid`, by `config.seeds` seeds: its own
            and others made from that.
        model: network of the task, as `smat.heads.specialise` gives it; it stays as it is.
        on_step: called after each step with their number so far and in the end.

    Raises:
        ConfigError: a network that cannot be tuned so.
        DataError: the model has other classes than the labels.
    """
    seeds = [tuning.seed, *(derive_seed(tuning.seed, "average", n) for n in range(1, tuning.config.seeds))]
    settings = [(rate, seed) for rate in tuning.tuner.learning_rates(tuning.config) for seed in seeds]
    steps = tuning.config.steps
    for place, (rate, seed) in enumerate(settings):

        def follow(step: int, _: int, done: int = place * steps) -> None:
            if on_step:
                on_step(done + step, len(settings) * steps)

        try:
            yield rate, replace(tuning, seed=seed).adapt(model, rate, follow)
        except NonFiniteError:
            _log.warning("learning rate %g broke the network: it is left out of the average", rate)


def averaged(tuning: FineTuning, model: TaskModel, on_step: OnStep | None = None) -> TaskModels:
    """The networks of `tuned_models` as one.

    Raises:
        NonFiniteError: every learning rate broke the network.
    """
    found = list(tuned_models(tuning, model, on_step))
    if not found:
        rates = ", ".join(f"{rate:g}" for rate in tuning.tuner.learning_rates(tuning.config))
        raise NonFiniteError(
            f"fine-tuning ({tuning.tuner.name}) broke the network at every learning rate ({rates}): give smaller ones"
        )
    return TaskModels([tuned for _, tuned in found], [rate for rate, _ in found])
