"""A pool's settings."""

import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from smat.errors import ConfigError
from smat.experts.gates import HardConcrete
from smat.experts.masks import Gating
from smat.experts.router import OfficialRouter, Router, RouterConfig, TransformerRouter
from smat.experts.structure import Structure
from smat.experts.updates import FixedGates, LearnedGates, NoUpdate, OfficialGates, SeparateUpdates, Update
from smat.plugins import plain, restore


@dataclass(frozen=True)
class TemperatureSchedule:
    """The routing temperature, which falls linearly.

    Attributes:
        start: routing temperature at the first task.
        end: routing temperature once it has fallen; above 0.
        tasks: number of training tasks over which the routing temperature falls.
    """

    start: float = 5.0
    end: float = 0.5
    tasks: int = 18_000

    def __post_init__(self) -> None:
        if not (self.start >= self.end > 0 and self.tasks > 0):
            raise ConfigError(f"{self}: needs start >= end > 0 and tasks > 0")

    def at(self, tasks: int) -> float:
        """The temperature after so many tasks."""
        return max(self.end, self.start - (self.start - self.end) * tasks / self.tasks)


@dataclass(frozen=True)
class PoolConfig:
    """The experts, their gates and their router.

    Attributes:
        experts: number of experts M; 0 leaves the pre-trained network as it is, 1 needs no routing unless there is a
            null expert.
        gating: `learned` gates, or what takes their place: `open` everywhere, or where a mask set by hand lets the
            update through (see `smat.experts.masks`).
        density: share of open gates of the masks `random` and `magnitude`.
        last_blocks: number of blocks that the mask `last` opens.
        separate_deltas: whether each expert has an update of its own, with open gates (Muqeeth et al. 2023).
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
    """

    experts: int = 8
    gating: Gating = "learned"
    density: float = 0.1
    last_blocks: int = 2
    separate_deltas: bool = False
    learned_head: bool = False
    structure: Structure = "parameter"
    gates: HardConcrete = HardConcrete()
    evaluation_beta: float | None = None
    init_mean: float = 0.0
    init_std: float = 0.5
    logit_range: tuple[float, float] = (math.log(0.01), math.log(100))
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

    def __post_init__(self) -> None:
        if self.experts < 0:
            raise ConfigError(f"pool.experts is {self.experts}; give 0 (pre-trained network only) or more")
        if self.null_expert and not self.experts:
            raise ConfigError("pool.null_expert needs experts to choose from: set pool.experts to 1 or more")
        if self.gating not in get_args(Gating):
            raise ConfigError(f"pool.gating {self.gating!r} is unknown: choose one of {', '.join(get_args(Gating))}")
        if not 0 < self.density <= 1 or self.last_blocks < 1:
            raise ConfigError(
                f"pool.density is {self.density} and pool.last_blocks {self.last_blocks}; give a share in (0, 1], and "
                "1 block or more"
            )
        if self.separate_deltas and self.gating != "open":
            raise ConfigError(f"pool.separate_deltas needs open gates: set pool.gating to open, not {self.gating}")
        if self.gating != "learned" and (self.structure != "parameter" or self.count_head):
            raise ConfigError("pool.structure and pool.count_head are of learned gates: leave them with other gating")

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
        """All settings as plain data; plug-ins, a null expert and a prior only where there are any."""
        absent = {name for name in ("update", "routing", "null_expert", "head_prior") if not getattr(self, name)}
        return {name: value for name, value in plain(self).items() if name not in absent}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], allow_imports: Collection[str] = ()) -> "PoolConfig":
        """The inverse of `to_dict`, also after a pass through JSON.

        Raises:
            CheckpointError: an update or a router of code outside smat that may not be imported.
            ConfigError: settings that there are not.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ConfigError(f"a pool has no settings {', '.join(unknown)}: another version of smat wrote them")
        plugins = {
            name: restore(values[name], base, allow_imports)
            for name, base in (("update", Update), ("routing", Router))
            if values.get(name)
        }
        return cls(
            **{
                **values,
                "gates": HardConcrete(**values["gates"]),
                "logit_range": tuple(values["logit_range"]),
                "router": RouterConfig(**values["router"]),
                "temperature": TemperatureSchedule(**values["temperature"]),
                **plugins,
            }
        )

    def make_update(self) -> Update:
        """What the experts add, not built yet: the one place that knows which settings make which update."""
        if self.experts == 0:
            return NoUpdate()
        if self.update is not None:
            return copy.deepcopy(self.update)
        if self.separate_deltas:
            return SeparateUpdates()
        if self.gating != "learned":
            return FixedGates(self.gates, self.gating, self.density, self.last_blocks)
        learned = (self.gates, self.structure, self.init_mean, self.init_std, self.logit_range)
        if self.count_head or self.evaluation_beta is not None:
            return OfficialGates(*learned, self.evaluation_beta, self.count_head)
        return LearnedGates(*learned)

    def make_router(self) -> Router:
        """The router, not built yet."""
        if self.routing is not None:
            return copy.deepcopy(self.routing)
        ours = self.router.readout == "task" and self.router.normalise_single
        return TransformerRouter(self.router) if ours else OfficialRouter(self.router)

    def official(self) -> "PoolConfig":
        """The same pool with everything that the authors' code does otherwise (`compat="official"`)."""
        router = replace(self.router, readout="first-class", normalise_single=False)
        return replace(self, evaluation_beta=1.0, router=router, count_head=True)
