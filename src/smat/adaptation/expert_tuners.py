"""Fine-tuning by what the experts know: their merge weights block by block, or the parameters behind open gates."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NoReturn, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations

from smat.adaptation.settings import FineTuneConfig
from smat.adaptation.tuners import FineTuner, FullTuning, LoRATuning, NoTuning
from smat.backbones import Backbone
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts, block_of

Kind = Literal["none", "full", "lora", "weights", "gates"]


class ExpertTuner(FineTuner):
    """Chooses what fine-tuning changes by the experts that a backbone was merged from."""

    def check(self, backbone: Backbone) -> NoReturn:
        """Raise a `ConfigError`: a backbone alone has no experts."""
        raise ConfigError(
            f"fine-tuning by {self.name} needs experts, and {backbone.spec.name!r} is a backbone without: give a "
            "checkpoint of experts (in Python, FineTuning's pool), or choose adapt full (--adapt full)"
        )

    def check_pool(self, pool: SparseInterpolatedExperts) -> None:
        """Raise a `ConfigError` for a pool without experts."""
        if not pool.config.experts:
            self.check(pool.backbone)

    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> NoReturn:
        """Raise a `ConfigError`, as `check`."""
        self.check(backbone)

    @abstractmethod
    def prepare_merged(
        self,
        backbone: Backbone,
        pool: SparseInterpolatedExperts,
        weights: Float[Tensor, " experts"],
        config: FineTuneConfig,
        seed: int,
    ) -> Callable[[], None]:
        """Make what is tuned the only parameters of a backbone with `requires_grad`."""


@dataclass(frozen=True)
class WeightTuning(ExpertTuner):
    """Tunes one merge weight per expert and block of the network (aTLAS; Zhang et al. 2024).

    θ = θ_pre + Σ_b Σ_m α_bm (z_m ⊙ θ_δ)_b, where all α_bm begin as the router's α_m; they may become any real numbers.
    The tuned numbers are the differences α_bm - α_m, so that weight decay draws the weights to the router's. While it
    tunes, it needs an update of P numbers per expert in memory.
    """

    rate_factor = 10.0

    @property
    def name(self) -> str:
        """`weights`."""
        return "weights"

    def prepare_merged(
        self,
        backbone: Backbone,
        pool: SparseInterpolatedExperts,
        weights: Float[Tensor, " experts"],
        config: FineTuneConfig,
        seed: int,
    ) -> Callable[[], None]:
        """Add to each parameter the experts' updates of it, times the differences of its block, zero at first."""
        updates, blocks = _updates(pool), block_of(pool.layout)
        backbone.requires_grad_(False)
        differences = {block: nn.Parameter(torch.zeros_like(weights)) for block in dict.fromkeys(blocks.values())}
        for name, where, shape in zip(pool.layout.names, pool.layout.slices.values(), pool.layout.shapes, strict=True):
            moved = _Moved(differences[blocks[name]], updates[:, where].view(-1, *shape))
            register_parametrization(*_place(backbone, name), moved, unsafe=True)
        return partial(_leave_plain, backbone, pool.layout.names)


@dataclass(frozen=True)
class GateTuning(ExpertTuner):
    """Tunes the parameters whose gate is open in at least one expert with a merge weight above 0.

    All others keep their value exactly. Where a network has no attention layers for LoRA, this is another way to tune
    few parameters: those that meta-tuning found worth changing.
    """

    @property
    def name(self) -> str:
        """`gates`."""
        return "gates"

    def check_pool(self, pool: SparseInterpolatedExperts) -> None:
        """Raise a `ConfigError` for a pool without experts, or whose gates cannot be closed."""
        super().check_pool(pool)
        _open_gates(pool, pool.pretrained.new_ones(pool.config.experts))

    def prepare_merged(
        self,
        backbone: Backbone,
        pool: SparseInterpolatedExperts,
        weights: Float[Tensor, " experts"],
        config: FineTuneConfig,
        seed: int,
    ) -> Callable[[], None]:
        """Take the parameters behind open gates out of each tensor, as a vector of their own."""
        is_open = _open_gates(pool, weights)
        for name, where in pool.layout.slices.items():
            parameter = backbone.get_parameter(name)
            chosen = is_open[where].view_as(parameter)
            parameter.requires_grad_(bool(chosen.all()))
            if chosen.any() and not chosen.all():
                behind = _Partial(chosen, parameter.detach()[chosen])
                register_parametrization(*_place(backbone, name), behind, unsafe=True)
        return partial(_leave_plain, backbone, pool.layout.names)


_KINDS: dict[str, FineTuner] = {
    tuner.name: tuner for tuner in (NoTuning(), FullTuning(), LoRATuning(), WeightTuning(), GateTuning())
}


def make_tuner(kind: str | FineTuner) -> FineTuner:
    """The fine-tuner of a name; one that is given is the result.

    Raises:
        ConfigError: an unknown name.
    """
    if isinstance(kind, FineTuner):
        return kind
    if kind not in _KINDS:
        known = ", ".join(get_args(Kind))
        raise ConfigError(f"adapt is {kind!r}; choose one of {known}, or give a FineTuner by import path")
    return _KINDS[kind]


def _updates(pool: SparseInterpolatedExperts) -> Float[Tensor, "experts params"]:
    """What each expert alone adds to the pre-trained parameters."""
    nothing = torch.zeros_like(pool.pretrained)
    alone = torch.eye(pool.config.experts, dtype=nothing.dtype, device=nothing.device)
    return torch.stack([pool.update.merged_vector(nothing, weights) for weights in alone])


def _open_gates(pool: SparseInterpolatedExperts, weights: Float[Tensor, " experts"]) -> Bool[Tensor, " params"]:
    """Whether any expert with a merge weight above 0 has a parameter's gate open."""
    merged = pool.update.merged_gates((weights > 0).to(weights.dtype))
    if merged is None:
        raise ConfigError(
            f"fine-tuning by gates tunes the parameters whose gates are open, and the pool ({pool.config.method}) has "
            "no gates that could be closed: tune all parameters, with adapt full (--adapt full)"
        )
    return merged > 0


def _place(backbone: Backbone, name: str) -> tuple[nn.Module, str]:
    """The module that has a parameter, and its name there."""
    prefix, _, leaf = name.rpartition(".")
    return backbone.get_submodule(prefix), leaf


def _leave_plain(backbone: Backbone, names: Iterable[str]) -> None:
    """End the computing of parameters: they become what was computed last, in their order, which is that of `names`."""
    for name in names:
        owner, leaf = _place(backbone, name)
        if is_parametrized(owner, leaf):
            remove_parametrizations(owner, leaf)  # this puts the parameter behind the module's others
        else:
            parameter = owner.get_parameter(leaf)
            delattr(owner, leaf)
            owner.register_parameter(leaf, parameter)


class _Moved(nn.Module):
    """A parameter plus a weighted sum of updates of it."""

    def __init__(self, weights: nn.Parameter, updates: Float[Tensor, "experts *shape"]) -> None:
        super().__init__()
        self.weights, self.updates = weights, updates

    def forward(self, value: Tensor) -> Tensor:
        with torch.autocast(value.device.type, enabled=False):  # the sum stays in float32
            return value + torch.tensordot(self.weights, self.updates, 1)


class _Partial(nn.Module):
    """A parameter of which some numbers are replaced by those of a vector."""

    def __init__(self, chosen: Bool[Tensor, "*shape"], numbers: Float[Tensor, " chosen"]) -> None:
        super().__init__()
        self.chosen, self.numbers = chosen, nn.Parameter(numbers)

    def forward(self, value: Tensor) -> Tensor:
        return value.masked_scatter(self.chosen, self.numbers)
