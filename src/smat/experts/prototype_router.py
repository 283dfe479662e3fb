"""A router that is computed and not trained: experts by the distance of a task to where each was tuned."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from smat.errors import DataError
from smat.experts.gates import noisy
from smat.experts.router import Router

_LARGEST = 10.0  # logarithm of the scale: cosines that differ by 0.001 then choose one expert


def task_direction(prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, " dim"]:
    """Where a task lies: the mean direction of its class prototypes, as a vector of length 1."""
    return normalize(normalize(prototypes, dim=1).mean(0), dim=0)


class PrototypeRouter(Router):
    """Merge weights by the cosine of a task with one centre for each expert: softmax of scale · cosine.

    `fit` finds centres and scale. Nothing is trained, and the pool's temperature has no part in it.

    Attributes:
        centres: where the tasks of each expert lie, `[experts, dim]`, of length 1.
        scale: how much a difference of cosines counts.
    """

    centres: Tensor
    scale: Tensor

    def build(self, dim: int, experts: int) -> None:
        """Centres and a scale of zeros: all experts get the same weight."""
        self.register_buffer("centres", torch.zeros(experts, dim))
        self.register_buffer("scale", torch.zeros(()))

    def forward(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, " experts"]:
        """The scaled cosines."""
        return self.scale * (self.centres @ task_direction(prototypes))

    def merge_weights(
        self,
        logits: Float[Tensor, " experts"],
        temperature: float,
        uniform: Float[Tensor, " experts"] | None = None,
    ) -> Float[Tensor, " experts"]:
        """The softmax of the logits."""
        return noisy(logits, uniform).softmax(0)

    @torch.no_grad()
    def fit(self, places: Sequence[Float[Tensor, "tasks dim"]]) -> float:
        """Learn from tasks of each expert's domain, of which the first half gives the centres and the second the scale.

        The scale is the one that makes the second half most likely to be told right, with targets that are the less
        certain the fewer tasks there are (Platt 1999), for otherwise domains that never meet would make it infinite.
        The centres of all tasks are kept.

        Args:
            places: `task_direction` of tasks, one matrix per expert.

        Returns:
            The share of the second half whose own expert gets the largest weight.

        Raises:
            DataError: fewer than two experts, or two tasks for each.
        """
        if len(places) < 2 or min(map(len, places)) < 2:
            raise DataError("a router by prototypes needs two or more experts, and as many tasks of each one's domain")
        halves = [(each[: len(each) // 2], each[len(each) // 2 :]) for each in places]
        centres = torch.stack([normalize(first.mean(0), dim=0) for first, _ in halves])
        cosines = torch.cat([second for _, second in halves]) @ centres.T
        experts = torch.cat([torch.full((len(second),), m) for m, (_, second) in enumerate(halves)])
        smoothing = len(places) / ((len(places) - 1) * (min(len(second) for _, second in halves) + 2))
        found = minimize_scalar(
            lambda log: float(cross_entropy(cosines * torch.tensor(log).exp(), experts, label_smoothing=smoothing)),
            bounds=(0.0, _LARGEST),
            method="bounded",
        )
        self.scale.copy_(torch.tensor(float(found.x)).exp())  # pyright: ignore[reportAttributeAccessIssue]
        self.centres.copy_(torch.stack([normalize(each.mean(0), dim=0) for each in places]))
        return float((cosines.argmax(1) == experts).float().mean())
