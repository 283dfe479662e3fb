"""Leaving one domain out in turn, so that the router meets tasks that the experts are not trained on at the time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from smat.rng import numpy_generator
from smat.schema import Count, Range, checked


@dataclass(frozen=True)
@checked("tuning.leave_out")
class LeaveOut:
    """Optimizer steps in which only the router learns, on tasks of a domain that the experts are not trained on.

    The run is divided into turns of equal length, and in each of them one domain is left out: the experts learn from
    the tasks of the others. In a share of the steps, all tasks are of the domain left out, and only the router learns.
    What it sees there are tasks that the experts were not trained on *since the turn began*: those of the first turn
    are new to them, those of later turns were trained on before.

    Attributes:
        share: share of the optimizer steps, 0 to below 1, in which the router alone learns, on tasks of the domain left
            out; 0: no domain is left out.
        cycles: number of times that each domain is left out in the course of the run.
    """

    share: Annotated[float, Range(0, 1, below=True)] = 0.0
    cycles: Count = 1

    def router_alone(self, seed: int, step: int) -> bool:
        """Whether only the router learns in an optimizer step: a function of the seed and the step alone."""
        return self.share > 0 and float(numpy_generator(seed, "leave-out", step).random()) < self.share

    def domain_weights(self, weights: Sequence[float], seed: int, step: int, steps: int) -> list[float]:
        """How often each domain is drawn in an optimizer step.

        Args:
            weights: how often each is drawn otherwise, 0 or more; those of 0 have no turn.
            seed: random seed of the run.
            step: number of the step.
            steps: number of steps of the run.
        """
        drawn = [index for index, weight in enumerate(weights) if weight > 0]
        turn = step * self.cycles * len(drawn) // steps
        left_out, alone = drawn[turn % len(drawn)], self.router_alone(seed, step)
        return [weight if (index == left_out) == alone else 0.0 for index, weight in enumerate(weights)]
