"""A run's settings, and what it reports on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from smat.errors import ConfigError
from smat.heads import Head
from smat.metatuning.constraint import Budget
from smat.metatuning.leave_out import LeaveOut
from smat.metatuning.objective_config import ObjectiveConfig
from smat.metatuning.optimizers import OptimizerConfig
from smat.precision import Precision
from smat.schema import Count, Number, Range, Seed, checked

Compile = Literal["auto", "on", "off"]
"""Whether the interpolation is compiled: `auto` does so where there are many gates and a compiler."""

Sparsity = Annotated[float, Range(0, 1, below=True)]


@dataclass(frozen=True)
@checked("tuning")
class TuningConfig:
    """How a pool is meta-tuned.

    Attributes:
        tasks: number of training tasks in all.
        meta_batch: number of tasks per optimizer step, shared among the devices.
        target_sparsity: share τ of the gates that must be zero, one for all experts or a list of one per expert; None:
            no constraint.
        objective: loss of a task.
        optimizers: optimizers, learning rates and schedule.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        validate_every: number of tasks between validations; 0: no validation.
        validation_episodes: number of episodes per domain in a validation.
        patience: number of validations without a better accuracy after which the run stops; None: it never does.
        checkpoint_every: number of tasks between checkpoints; the end and an interruption save one too.
        seed: seed of everything random in the run.
        head: head that the tasks are trained and validated through, by import path; nearest prototypes by default.
        leave_out: domains left out in turn, from whose tasks only the router learns.
        sparsity_budget: whether the target sparsity holds for each `expert`, for each `block` of the network in each
            expert, or for the whole `pool`, whose experts then share a budget of open gates.
        record_alignment: number of tasks between records of how far the gradients of a fixed probe, two tasks per
            training domain, point the same way, which changes no other number of the run; 0: none.
        keep_every: number of tasks between pools that are kept for good, in `kept`, the first before training and the
            last at the end; 0: none.
        only_router: whether the router alone learns, and the experts stay as they are.
        activation_checkpointing: whether passes keep only the inputs of the network's blocks for backward, and compute
            the rest again: the same numbers, in less memory and more time.
        compile: whether the kernels that merge experts with learned gates are compiled: `on`, `off`, or `auto`: from
            20 million gates on, where there is a C++ compiler. Compiled ones are several times as fast and give the
            same numbers within rounding.
    """

    tasks: Count = 100_000
    meta_batch: Count = 4
    target_sparsity: Sparsity | list[Sparsity] | None = 0.9
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizers: OptimizerConfig = OptimizerConfig()
    precision: Precision = "auto"
    validate_every: Number = 2000
    validation_episodes: Count = 40
    patience: Number | None = None
    checkpoint_every: Count = 500
    seed: Seed = 0
    head: Head | None = None
    leave_out: LeaveOut = LeaveOut()
    sparsity_budget: Budget = "expert"
    record_alignment: Number = 0
    keep_every: Number = 0
    only_router: bool = False
    activation_checkpointing: bool = False
    compile: Compile = "auto"

    def __post_init__(self) -> None:
        if self.tasks % self.meta_batch:
            raise ConfigError(
                f"tuning.tasks is {self.tasks}, which is no multiple of tuning.meta_batch {self.meta_batch}: choose "
                f"{self.tasks - self.tasks % self.meta_batch or self.meta_batch}"
            )
        if self.only_router and self.target_sparsity is not None:
            raise ConfigError(
                f"tuning.target_sparsity is {self.target_sparsity}, but with tuning.only_router no gate is trained: "
                "set tuning.target_sparsity to null"
            )

    def router_alone(self, task: int) -> bool:
        """Whether only the router learns from a training task; it is alike for all tasks of an optimizer step."""
        return self.leave_out.router_alone(self.seed, task // self.meta_batch)

    def domain_weights(self, weights: Sequence[float], task: int) -> list[float]:
        """How often each domain is drawn for a training task, given how often each is where none is left out."""
        step, steps = task // self.meta_batch, self.tasks // self.meta_batch
        return self.leave_out.domain_weights(weights, self.seed, step, steps)


@dataclass
class StepReport:
    """What one optimizer step came to, averaged over its tasks.

    Attributes:
        tasks: training tasks so far.
        values: numbers by name, as they are logged.
        sparsity: sparsity of each expert.
    """

    tasks: int
    values: dict[str, float]
    sparsity: list[float]


@dataclass
class Progress:
    """Where a run is; saved with it.

    Attributes:
        tasks: training tasks done.
        best_accuracy: the best validation accuracy so far, -1 before the first.
        best_tasks: number of tasks when it was reached.
        waited: number of validations since then.
        validated: number of tasks at the last validation.
        aligned: number of tasks at the last record of alignment, -1 before the first.
    """

    tasks: Number = 0
    best_accuracy: Annotated[float, Range(-1, 1)] = -1.0
    best_tasks: Number = 0
    waited: Number = 0
    validated: Number = 0
    aligned: Annotated[int, Range(-1)] = -1
