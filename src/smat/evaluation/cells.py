"""One result: a method's accuracies in the episodes of one domain, and everything that they depend on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from smat.domains import Role
from smat.errors import CheckpointError
from smat.evaluation.protocol import EpisodeRow
from smat.schema import NotNegative, Number, Seed, Share

CALIBRATION_BINS = 15


def with_tuning(method: str, adapt: str) -> str:
    """The name of a method with that of its fine-tuning, if there is one."""
    return method if adapt == "none" else f"{method} + {adapt}"


@dataclass(frozen=True)
class CellKey:
    """Everything that a result depends on.

    Attributes:
        method: name of what was evaluated.
        seed: its training seed; 0 for what is not trained.
        adapt: name of the fine-tuning; `none` without.
        learning_rate: rule that chose the learning rate of the fine-tuning; `""` without fine-tuning.
        domain: name of the domain.
        split: split whose classes the episodes are of.
        protocol: settings of the episodes but for their number, and of the fine-tuning.
        data: fingerprint of the domain.
        checkpoint: fingerprint of the pool.
    """

    method: str
    seed: Seed
    adapt: str
    learning_rate: str
    domain: str
    split: str
    protocol: dict[str, Any]
    data: str
    checkpoint: str

    @property
    def column(self) -> str:
        """Name of what was evaluated, with its fine-tuning where it has one: `smat + full`."""
        return with_tuning(self.method, self.adapt)

    def text(self) -> str:
        """The key as JSON; equal keys, and keys that were stored and read again, have equal texts."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Cell:
    """The results of one method in episodes of one domain.

    Attributes:
        key: what they depend on.
        role: role of the domain: `id`, `ood`, `validation` or `""`.
        first: number of the first episode.
        accuracies: of each episode, in order; the same episodes for all keys of one protocol and domain.
        calibration: queries, right answers and sum of the confidence by bins of confidence (`calibration_bins`).
        seconds: time of the method itself, without the images and their frozen features.
        rates: learning rates of the fine-tuning in each episode, in order; none without fine-tuning, or where networks
            of several rates are averaged.
        passes: passes through a network that a query image takes.
    """

    key: CellKey
    role: Role
    first: Number
    accuracies: Annotated[list[Share], Field(min_length=1)]
    calibration: list[Annotated[list[NotNegative], Field(min_length=3, max_length=3)]]
    seconds: NotNegative
    rates: list[NotNegative]
    passes: Number = 1

    @classmethod
    def of(
        cls,
        key: CellKey,
        role: Role,
        rows: Sequence[EpisodeRow],
        contender: str,
        rates: Sequence[float] = (),
        passes: int = 1,
    ) -> "Cell":
        """What is kept of a contender's episodes.

        Args:
            key: what they depend on.
            role: role of the domain.
            rows: episodes that follow one another, at least one.
            contender: name of the contender in the rows.
            rates: learning rates of its fine-tuning in these episodes.
            passes: passes through a network that a query image takes.
        """
        outcomes = [row.outcomes[contender] for row in rows]
        return cls(
            key=key,
            role=role,
            first=rows[0].n,
            accuracies=[outcome.accuracy for outcome in outcomes],
            calibration=calibration_bins(rows, contender).tolist(),
            seconds=sum(outcome.seconds for outcome in outcomes),
            rates=list(rates),
            passes=passes,
        )

    def __add__(self, more: "Cell") -> "Cell":
        """Together with the episodes that follow; raises a `CheckpointError` for results in other bins."""
        if len(self.calibration) != len(more.calibration):
            raise CheckpointError(
                f"results of {self.key.method} on {self.key.domain} from episode {more.first} on have "
                f"{len(more.calibration)} bins of confidence instead of {len(self.calibration)}: delete their line"
            )
        return replace(
            self,
            accuracies=self.accuracies + more.accuracies,
            calibration=np.add(self.calibration, more.calibration).tolist(),
            seconds=self.seconds + more.seconds,
            rates=self.rates + more.rates,
        )


def calibration_bins(rows: Sequence[EpisodeRow], contender: str) -> Float[torch.Tensor, "bins 3"]:
    """Queries, right answers and sum of the confidence in each of 15 equal bins of confidence.

    They depend on the highest probability of each query and on whether that class was right, and on nothing else, so
    that episodes of different ways can be pooled; bins of more episodes are the sums of theirs.
    """
    confidence = torch.cat([row.outcomes[contender].confidence for row in rows]).double().clamp(0, 1)
    correct = torch.cat([row.outcomes[contender].correct for row in rows]).double()
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    each = torch.stack([torch.ones_like(confidence), correct, confidence], dim=1)
    return torch.zeros(CALIBRATION_BINS, 3, dtype=torch.float64).index_add_(0, bins, each)
