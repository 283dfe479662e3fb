"""Optimizer groups of meta-tuning: each part of the pool with its own rule, clipping and schedule."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from smat.errors import ConfigError
from smat.experts import ShardedGates, SparseInterpolatedExperts
from smat.metatuning.checkpoints import restore_optimizer
from smat.schema import NotNegative, Positive, Share, checked


@dataclass(frozen=True)
@checked()
class GroupConfig:
    """One group's rule.

    Attributes:
        rule: optimizer, `sgd` or `adamw`.
        lr: highest learning rate; null, which only that of `delta` can be: found by short trials before the training.
        momentum: momentum of `sgd`; `adamw` does not use it.
        weight_decay: weight decay, which `adamw` keeps apart from the gradient.
        clip: largest norm that the group's gradient is clipped to; None: no clipping.
        scheduled: whether the learning rate follows the schedule; otherwise it stays the highest.
    """

    rule: Literal["sgd", "adamw"]
    lr: NotNegative | None = None
    momentum: Share = 0.0
    weight_decay: NotNegative = 0.0
    clip: Positive | None = None
    scheduled: bool = True

    def build(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The optimizer of these parameters; raises a `ConfigError` without a learning rate."""
        if self.lr is None:
            raise ConfigError(
                "a learning rate is missing: give tuning.optimizers.delta.lr, or have it found (--find-lr, in Python "
                "smat.meta_tune(find_lr=True))"
            )
        if self.rule == "sgd":
            return SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        return AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)


@dataclass(frozen=True)
@checked("tuning.optimizers")
class OptimizerConfig:
    """The groups and the schedule; the defaults are those of the paper's code, but for the learning rate of `delta`.

    What rate suits depends on the network: 3e-3 for a small one may be a hundred times too much for another.

    Attributes:
        delta: optimizer of the dense update θ_δ, and of the head where it is learned.
        gates: optimizer of the gate logits φ, whose gradients are of the order of 1/P, hence the learning rate.
        router: optimizer of the routing hypernetwork.
        multipliers: optimizer of the Lagrange multipliers λ of the sparsity constraint.
        warmup: share of the run over which scheduled learning rates rise linearly.
        final_lr: share of the highest learning rate that is left at the end, reached by a cosine.
    """

    delta: GroupConfig = GroupConfig("sgd", momentum=0.9, weight_decay=1e-4)
    gates: GroupConfig = GroupConfig("sgd", 1e6, clip=5.0, scheduled=False)
    router: GroupConfig = GroupConfig("adamw", 1e-4, weight_decay=1e-2, clip=1.0)
    multipliers: GroupConfig = GroupConfig("sgd", 2e-3, scheduled=False)
    warmup: Share = 0.2
    final_lr: Share = 0.01

    def __post_init__(self) -> None:
        for name in ("gates", "router", "multipliers"):
            if getattr(self, name).lr is None:
                raise ConfigError(f"tuning.optimizers.{name}.lr is missing: give a number; only that of delta is found")

    def scale(self, progress: float) -> float:
        """Factor of the scheduled learning rates at a share of the run, 0..1."""
        if progress < self.warmup:
            return self.final_lr + (1 - self.final_lr) * progress / self.warmup
        after = (progress - self.warmup) / max(1e-12, 1 - self.warmup)
        return self.final_lr + (1 - self.final_lr) * (1 + math.cos(math.pi * min(1.0, after))) / 2


def tunes_delta(pool: SparseInterpolatedExperts) -> bool:
    """Whether anything in a pool follows the learning rate of `delta`."""
    return bool(pool.update.trainable().get("delta")) or pool.head is not None


def parameter_groups(pool: SparseInterpolatedExperts) -> dict[str, list[nn.Parameter]]:
    """The trained parameters of a pool with experts by group, `delta`, `gates` and `router`, as far as there are any.

    Those that are frozen (`requires_grad` is false) are none.

    Raises:
        ConfigError: its update names another group.
    """
    own = pool.update.trainable()
    if unknown := sorted(set(own) - {"delta", "gates"}):
        raise ConfigError(
            f"{type(pool.update).__name__}.trainable() names groups {unknown}; the groups are delta and gates"
        )
    groups = {
        "delta": [*own.get("delta", ()), *([] if pool.head is None else [pool.head])],
        "gates": [*own.get("gates", ())],
        "router": [*pool.router.parameters()],
    }
    trained = {name: [p for p in members if p.requires_grad] for name, members in groups.items()}
    return {name: members for name, members in trained.items() if members}


class MetaOptimizer:
    """The groups' optimizers, stepped together.

    Args:
        pool: whose parameters are tuned. Where processes hold slices of them, norms are of the whole.
        multipliers: λ, a leaf with gradient, `[experts]`.
        config: rules and schedule.
    """

    def __init__(self, pool: SparseInterpolatedExperts, multipliers: nn.Parameter, config: OptimizerConfig) -> None:
        self.config = config
        self._divided = ("delta", "gates") if isinstance(pool.update, ShardedGates) else ()
        self.groups: dict[str, tuple[GroupConfig, Optimizer]] = {
            name: (getattr(config, name), getattr(config, name).build(members))
            for name, members in (parameter_groups(pool) | {"multipliers": [multipliers]}).items()
        }

    def clip(self, groups: Collection[str] | None = None) -> dict[str, Tensor]:
        """Clip the gradients of some groups, by default of all; gives the norm of each before that."""
        return {
            name: self._clip(optimizer, math.inf if config.clip is None else config.clip, name in self._divided)
            for name, (config, optimizer) in self.groups.items()
            if groups is None or name in groups
        }

    def step(self, progress: float, groups: Collection[str] | None = None) -> None:
        """Update and clear gradients.

        Args:
            progress: share of the run that is done, 0..1, for the schedule.
            groups: names of the groups that are updated; the others only lose their gradients. None: all.
        """
        for name, (config, optimizer) in self.groups.items():
            assert config.lr is not None  # `build` has checked it
            for group in optimizer.param_groups:
                group["lr"] = config.lr * (self.config.scale(progress) if config.scheduled else 1.0)
            if groups is None or name in groups:
                optimizer.step()
            optimizer.zero_grad()

    @staticmethod
    def _clip(optimizer: Optimizer, limit: float, divided: bool) -> Tensor:
        """Clip gradients; gives their norm before that, over all processes if these hold slices."""
        parameters = optimizer.param_groups[0]["params"]
        members = [p for p in parameters if p.grad is not None]
        if not members:
            return parameters[0].new_zeros(())
        norm = torch.nn.utils.get_total_norm([p.grad for p in members if p.grad is not None])
        if divided:
            square = norm.square()
            torch.distributed.all_reduce(square)
            norm = square.sqrt()
        torch.nn.utils.clip_grads_with_norm_(members, limit, norm)
        return norm

    def state_dict(self) -> dict[str, dict]:
        """Every group's state."""
        return {name: optimizer.state_dict() for name, (_, optimizer) in self.groups.items()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Take up every group's state; raises a `CheckpointError` for that of other parameters."""
        for name, (_, optimizer) in self.groups.items():
            restore_optimizer(optimizer, state[name], name)
