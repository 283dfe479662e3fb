"""A pool's settings."""

import copy
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from smat.errors import CheckpointError, ConfigError
from smat.experts.fixed_gates import SeparateUpdates, SharedUpdate
from smat.experts.gates import HardConcrete
from smat.experts.learned_gates import Estimator, GateStart, Hardening, LearnedGates, OfficialGates, Start
from smat.experts.masks import BY_GRADIENT, Gating
from smat.experts.packed import PackedGates, Packing
from smat.experts.router import OfficialRouter, Router, RouterConfig, TransformerRouter
from smat.experts.structure import Structure
from smat.experts.updates import NoUpdate, Update
from smat.plugins import plain
from smat.schema import Count, Finite, NotNegative, Number, Positive, Range, Seed, checked, from_plain

Logit = Annotated[float, Range(-1000, 1000)]


@dataclass(frozen=True)
@checked("pool.temperature")
class TemperatureSchedule:
    """The routing temperature, which falls linearly.

    Attributes:
        start: routing temperature at the first task.
        end: routing temperature once it has fallen; above 0.
        tasks: number of training tasks over which the routing temperature falls.
    """

    start: Positive = 5.0
    end: Positive = 0.5
    tasks: Count = 18_000

    def __post_init__(self) -> None:
        if self.start < self.end:
            raise ConfigError(f"{self}: needs start >= end > 0")

    def at(self, tasks: int) -> float:
        """The temperature after so many tasks."""
        return max(self.end, self.start - (self.start - self.end) * tasks / self.tasks)


@dataclass(frozen=True)
@checked("pool")
class PoolConfig:
    """The experts, their gates and their router.

    Attributes:
        experts: number of experts M; 0 leaves the pre-trained network as it is, 1 needs no routing unless there is a
            null expert.
        gating: `learned` gates, or what takes their place: `open` everywhere; a draw for each expert (`random`); or one
            mask, of the largest or smallest pre-trained weights (`magnitude`, `smallest`), of the largest
            gradients of a few training tasks, per neuron (`gradient`) or in all, squared (`fisher`), or of layers of
            one kind (`norm`, `bias`, `attention`, `qkv`, `mlp`, `last`).
        density: share of the parameters that the masks of draws, weights and gradients open.
        last_blocks: number of blocks that the mask `last` opens.
        separate_deltas: whether each expert has an update of its own behind one mask, in place of a shared one (Muqeeth
            et al. 2023); several experts need it with every gating but `learned`, `open` and `random`.
        learned_head: whether the scale and the bias of the cosine head are learned (Hu et al. 2022).
        structure: groups of parameters that share a learned gate.
        gates: hard-concrete distribution of the gates.
        evaluation_beta: gate temperature outside training; None keeps that of training.
        init_mean: mean of the gate logits at the start.
        init_std: standard deviation of the gate logits at the start.
        logit_range: bounds that gate logits are kept in, so that a closed gate can open again.
        random_gates: whether the gates' noise is drawn in training (u ~ U(0, 1)); otherwise u is 1/2.
        router: routing hypernetwork.
        temperature: temperature of the routing.
        method: name of the method that the pool is a setting for, kept for the record.
        count_head: whether each number of a one-row linear head, which nothing uses, counts as an open gate, as in
            the authors' code.
        update: class of one's own for what the experts add, by import path, in place of what `gating`,
            `separate_deltas` and the settings of gates make.
        routing: class of one's own for the router, by import path, in place of what `router` makes.
        null_expert: whether the router can also choose a null expert, which adds nothing, so that the merge weights of
            the others may sum to less than 1 (beyond the paper).
        head_prior: numbers of the prior of `smat.heads.Auto` that were learned with this pool, in place of the
            package's (`scripts/fit_prior.py --pool`).
        mask_seed: seed of random masks; by default that of the training.
        init_order: whether the gate logits start anywhere (`normal`), or such that gates of large pre-trained weights
            are more open (`magnitude`), or those of small ones (`small-magnitude`).
        estimator: what learned gates are in training: `soft`, numbers in [0, 1], or `straight-through`, 0 or 1.
        hardening: schedule by which learned gates become exactly 0 or 1 by the end of the training; null: they need
            not.
        packed: what `smat pack` made of the pool, which cannot be trained then; null: it is not packed.
    """

    experts: Number = 8
    gating: Gating = "learned"
    density: Annotated[float, Range(0, 1, above=True)] = 0.1
    last_blocks: Count = 2
    separate_deltas: bool = False
    learned_head: bool = False
    structure: Structure = "parameter"
    gates: HardConcrete = HardConcrete()
    evaluation_beta: Positive | None = None
    init_mean: Finite = 0.0
    init_std: NotNegative = 0.5
    logit_range: tuple[Logit, Logit] = (math.log(0.01), math.log(100))
    random_gates: bool = False
    router: RouterConfig = RouterConfig()
    temperature: TemperatureSchedule = TemperatureSchedule()
    count_head: bool = False
    method: str = "smat"
    # Not in the repr, of which fingerprints of pools are made, and absent from the records of pools without them.
    update: Update | None = field(default=None, repr=False)
    routing: Router | None = field(default=None, repr=False)
    null_expert: bool = field(default=False, repr=False)
    head_prior: dict[str, Any] | None = field(default=None, repr=False)
    mask_seed: Seed | None = field(default=None, repr=False)
    init_order: Start = field(default="normal", repr=False)
    estimator: Estimator = field(default="soft", repr=False)
    hardening: Hardening | None = field(default=None, repr=False)
    packed: Packing | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.null_expert and not self.experts:
            raise ConfigError("pool.null_expert needs experts to choose from: set pool.experts to 1 or more")
        if not self.logit_range[0] < self.logit_range[1]:
            raise ConfigError(f"pool.logit_range is {self.logit_range}; give a lower bound and a higher one")
        alike = self.gating not in ("learned", "open", "random")
        if self.separate_deltas and self.gating == "learned":
            raise ConfigError(
                "pool.separate_deltas needs gates that are not learned: set pool.gating to open or a mask"
            )
        or_one = "" if self.gating in BY_GRADIENT else ", or pool.experts to 1"
        if alike and not self.separate_deltas and (self.experts > 1 or self.gating in BY_GRADIENT):
            raise ConfigError(
                f"pool.gating is {self.gating}, one mask for all experts: set pool.separate_deltas to true, so that "
                f"each has an update of its own behind it{or_one}"
            )
        changed = [name for name in _OF_LEARNED_GATES if getattr(self, name) != _DEFAULTS[name]]
        if self.gating != "learned" and changed:
            usual = ", ".join(f"pool.{name} to {json.dumps(_DEFAULTS[name])}" for name in changed)
            raise ConfigError(
                f"{', '.join(f'pool.{name}' for name in changed)}: of learned gates; with pool.gating {self.gating} "
                f"leave it out, or, where a configuration below has it, set {usual}"
            )
        if self.init_order != "normal" and self.structure != "parameter":
            raise ConfigError("pool.init_order needs a gate for each parameter: set pool.structure to parameter")
        if (self.estimator != "soft" or self.hardening) and (self.count_head or self.evaluation_beta is not None):
            raise ConfigError("pool.estimator and pool.hardening are not of the authors' code: leave compat official")

    @property
    def routes(self) -> int:
        """Number of routing logits: one per expert and, where there is a null expert, a last one for it."""
        return self.experts + self.null_expert

    @property
    def routed(self) -> bool:
        """Whether merge weights can differ between tasks; they do not for one expert whose weight is always 1."""
        alone_is_one = self.routing is None and self.router.normalise_single
        return self.routes > 1 or (self.routes == 1 and not alone_is_one)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain data, those that pools did not always have only where they are not the default."""
        absent = {field.name for field in fields(self) if not field.repr and getattr(self, field.name) == field.default}
        return {name: value for name, value in plain(self).items() if name not in absent}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], allow_imports: Collection[str] = ()) -> "PoolConfig":
        """The inverse of `to_dict`, also after a pass through JSON.

        Args:
            values: settings, all that `to_dict` gives.
            allow_imports: packages or modules, besides smat, whose code may be imported.

        Raises:
            CheckpointError: a setting that is missing, not known or of a wrong value; code that may not be imported.
        """
        always = [field.name for field in fields(cls) if field.repr]
        if missing := [f"pool.{name}" for name in always if name not in values]:
            raise CheckpointError(f"{', '.join(missing)} is missing")
        return from_plain(plain(values), cls, "pool", CheckpointError, allow_imports)

    def make_update(self) -> Update:
        """What the experts add, not built yet: the one place that knows which settings make which update."""
        if self.experts == 0:
            return NoUpdate()
        if self.packed is not None:
            return PackedGates(self.packed)
        if self.update is not None:
            return copy.deepcopy(self.update)
        if self.gating != "learned":
            kind = SeparateUpdates if self.separate_deltas else SharedUpdate
            return kind(self.gating, self.density, self.last_blocks, self.mask_seed or 0)
        start = GateStart(self.init_mean, self.init_std, self.init_order)
        learned = (self.gates, self.structure, start, self.logit_range)
        if self.count_head or self.evaluation_beta is not None:
            return OfficialGates(*learned, self.evaluation_beta, self.count_head)
        return LearnedGates(*learned, self.estimator, self.hardening)

    def make_router(self) -> Router:
        """The router, not built yet."""
        if self.routing is not None:
            return copy.deepcopy(self.routing)
        ours = self.router.readout == "task" and self.router.normalise_single
        return TransformerRouter(self.router) if ours else OfficialRouter(self.router)

    def official(self) -> "PoolConfig":
        """The same pool with everything that the authors' code does otherwise (`compat="official"`)."""
        router = replace(self.router, readout="first-class", normalise_single=False)
        return replace(self, evaluation_beta=1.0, router=router, count_head=True, estimator="soft", hardening=None)


_OF_LEARNED_GATES = ("structure", "count_head", "init_order", "estimator", "hardening")
_DEFAULTS = {field.name: field.default for field in fields(PoolConfig)}
