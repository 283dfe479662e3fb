"""What experts add to the pre-trained network: an update for each kind of pool.

An extension point: a class of one's own needs `build`, `merge` and, where there are other groups than `delta`,
`trainable`.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.experts.gates import HardConcrete, gate, nonzero_probability
from smat.experts.interpolation import Merged, Uniform, interpolate
from smat.experts.masks import Gating, fixed_gate_logits
from smat.experts.structure import Structure, gate_index
from smat.flat import Layout
from smat.plugins import Plugin

Range = tuple[float, float]


class Update(nn.Module, Plugin, ABC):
    """What the experts of a pool add to the pre-trained parameters: θ_i = θ_pre + Σ_m α_im Δ_m.

    The constructor takes settings only and keeps each as an attribute of its name. The parameters are made by `build`,
    on a copy for each pool.

    Attributes:
        vectors: names of those tensors that have an entry for each parameter of the network, `[params]` or
            `[experts, params]`; a checkpoint stores them under the network's own names.
    """

    vectors: tuple[str, ...] = ()

    @abstractmethod
    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """Make the parameters and buffers, such that the update is zero at first.

        Args:
            backbone: the network, for the types of its layers and its dimensions.
            pretrained: θ_pre.
            layout: names and shapes of its parameters.
            experts: M.
        """

    @abstractmethod
    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """The network that the experts make together, differentiable in `weights` and in what is trained.

        Args:
            pretrained: θ_pre.
            weights: merge weights α.
            uniform: noise of random gates, where the update has any.
        """

    def merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """The parameters of `merge` alone, for use without training."""
        with torch.no_grad():
            return self.merge(pretrained, weights).vector

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters by optimizer group: `delta`, and `gates` for those that the constraint closes."""
        return {"delta": list(self.parameters())}

    def parameter_vectors(self) -> list[Tensor]:
        """The tensors of `vectors`."""
        return [getattr(self, name) for name in self.vectors]

    def after_step(self) -> None:
        """Called after every optimizer step, to bring parameters back into their range."""

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"] | None:
        """Every expert's gate of every parameter, in full, for analysis; None where the update has no gates."""
        return None

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """How open each parameter's gates are together, Σ_m α_m z_m; None where no gate can be closed."""
        return None


class NoUpdate(Update):
    """The pre-trained network as it is."""

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """Nothing to make."""

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """θ_pre."""
        return Merged.dense(pretrained, weights)


class SeparateUpdates(Update):
    """A dense update for each expert: Δ_m = θ_δm (Muqeeth et al. 2023). It takes M·P numbers.

    Attributes:
        delta: `[experts, params]`, zero at first.
    """

    vectors = ("delta",)
    delta: nn.Parameter

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """An update of zeros for each expert."""
        self.delta = nn.Parameter(torch.zeros(experts, layout.size))

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """θ_pre + Σ_m α_m θ_δm."""
        return Merged.dense(pretrained + weights @ self.delta, weights)

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """All open."""
        return torch.ones_like(self.delta)


class SharedUpdate(Update):
    """One update that the experts share, each through gates of its own: Δ_m = z_m ⊙ θ_δ (paper, eq. 4).

    Attributes:
        delta: θ_δ, `[params]`, zero at first.
        gate_logits: φ, `[experts, gates]`.
        gate_index: the gate of each parameter, `[params]`; None where each has its own.
    """

    vectors = ("delta",)
    delta: nn.Parameter
    gate_logits: Tensor
    gate_index: Tensor | None

    def __init__(self, distribution: HardConcrete) -> None:
        super().__init__()
        self.distribution = distribution

    @property
    def gate_distribution(self) -> HardConcrete:
        """β, γ and ζ as they are now: in training or in evaluation."""
        return self.distribution

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """θ_pre + Σ_m α_m (z_m ⊙ θ_δ), with the gates' expected density and measured sparsity."""
        return interpolate(
            pretrained,
            self.delta,
            self.gate_logits,
            weights,
            self.gate_distribution,
            index=self.gate_index,
            uniform=uniform,
            density_hc=self.distribution,
        )

    @torch.no_grad()
    def merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """The parameters of `merge` alone: the gates are not measured."""
        return interpolate(
            pretrained,
            self.delta,
            self.gate_logits,
            weights,
            self.gate_distribution,
            index=self.gate_index,
            measure=False,
        )

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """Every expert's gate of every parameter: M·P numbers."""
        logits = self.gate_logits.detach()
        z = gate(logits, self.gate_distribution, uniform(0, logits.shape[1]) if uniform else None)
        return z if self.gate_index is None else z[:, self.gate_index]

    @torch.no_grad()
    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """Σ_m α_m z_m, without the M·P numbers of `gates`."""
        return interpolate(
            torch.zeros_like(self.delta),
            torch.ones_like(self.delta),
            self.gate_logits,
            weights,
            self.gate_distribution,
            index=self.gate_index,
            measure=False,
        )


class LearnedGates(SharedUpdate):
    """A shared update with learned gates: SMAT's.

    Args:
        distribution: hard-concrete distribution of the gates.
        structure: groups of parameters that share a gate.
        init_mean: mean of the gate logits at the start.
        init_std: standard deviation of the gate logits at the start.
        logit_range: bounds that gate logits are kept in, so that a closed gate can open again.
    """

    structure: Structure

    def __init__(
        self, distribution: HardConcrete, structure: Structure, init_mean: float, init_std: float, logit_range: Range
    ) -> None:
        super().__init__(distribution)
        self.structure = structure
        self.init_mean = init_mean
        self.init_std = init_std
        self.logit_range = logit_range

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """A zero update behind gates at random."""
        index = gate_index(layout, self.structure, backbone.attention_heads)
        self.register_buffer("gate_index", index, persistent=False)
        self.delta = nn.Parameter(torch.zeros(layout.size))
        self.gate_logits = self._logits(experts, layout.size if index is None else int(index.max()) + 1)
        self.after_step()

    def _logits(self, experts: int, gates: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(experts, gates).normal_(self.init_mean, self.init_std))

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The update and its gates."""
        return {"delta": [self.delta], "gates": [cast(nn.Parameter, self.gate_logits)]}

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring the gate logits back into their range."""
        for logits in self.trainable()["gates"]:
            logits.clamp_(*self.logit_range)


class FixedGates(SharedUpdate):
    """A shared update with gates set by hand (see `smat.experts.masks`); only the update is trained.

    Args:
        distribution: hard-concrete distribution of the gates.
        gating: mask that says where gates are open.
        density: share of open gates of the masks `random` and `magnitude`.
        last_blocks: number of blocks that the mask `last` opens.
    """

    gate_index = None
    gating: Gating

    def __init__(self, distribution: HardConcrete, gating: Gating, density: float, last_blocks: int) -> None:
        super().__init__(distribution)
        self.gating = gating
        self.density = density
        self.last_blocks = last_blocks

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """A zero update behind the mask."""
        self.delta = nn.Parameter(torch.zeros(layout.size))
        logits = fixed_gate_logits(self.gating, backbone, layout, pretrained, experts, self.density, self.last_blocks)
        self.register_buffer("gate_logits", logits)

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """Σ_m α_m z_m; None where all gates are open by hand."""
        return None if self.gating == "open" else super().merged_gates(weights)


class OfficialGates(LearnedGates):
    """Learned gates with what the authors' code does otherwise.

    Args:
        distribution: hard-concrete distribution of the gates in training.
        structure: groups of parameters that share a gate.
        init_mean: mean of the gate logits at the start.
        init_std: standard deviation of the gate logits at the start.
        logit_range: bounds that gate logits are kept in.
        evaluation_beta: gate temperature outside training; None keeps that of training.
        count_head: whether each number of a one-row linear head, which nothing uses, counts as an open gate.
    """

    head_logits: Tensor

    def __init__(
        self,
        distribution: HardConcrete,
        structure: Structure,
        init_mean: float,
        init_std: float,
        logit_range: Range,
        evaluation_beta: float | None,
        count_head: bool,
    ) -> None:
        super().__init__(distribution, structure, init_mean, init_std, logit_range)
        self.evaluation_beta = evaluation_beta
        self.count_head = count_head

    @property
    def gate_distribution(self) -> HardConcrete:
        """The distribution, outside training with the other temperature."""
        if self.training or self.evaluation_beta is None:
            return self.distribution
        return replace(self.distribution, beta=self.evaluation_beta)

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """As without the head, then the logits of the head's gates."""
        super().build(backbone, pretrained, layout, experts)
        if self.count_head:
            self.head_logits = self._logits(experts, backbone.feature_dim)
            self.after_step()

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The update, its gates, and those of the unused head."""
        groups = super().trainable()
        if hasattr(self, "head_logits"):
            groups["gates"].append(cast(nn.Parameter, self.head_logits))
        return groups

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """As without the head, but density and sparsity as the authors' code counts them.

        Its head's gates are open, and each expert's count of open gates gets those of all M experts.
        """
        merged = super().merge(pretrained, weights, uniform)
        if not self.count_head:
            return merged
        experts, extra = self.head_logits.shape
        total = self.delta.numel() + extra
        share = self.delta.numel() / total
        head = nonzero_probability(self.head_logits, self.distribution).mean(1)
        density = merged.expected_density * share + head * (extra / total)
        sparsity = merged.sparsity * share - (experts - 1) * extra / total
        return Merged(merged.vector, density, sparsity)
