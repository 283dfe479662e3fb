"""A shared update behind learned gates: SMAT's."""

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.errors import ConfigError
from smat.experts.gates import GateMode, HardConcrete, gate, nonzero_probability
from smat.experts.interpolation import Merged, Uniform, chunks, interpolate
from smat.experts.lookup import codes_of
from smat.experts.structure import Structure, block_of, gate_index
from smat.experts.updates import GatedUpdate
from smat.flat import Layout
from smat.schema import Positive, Share, checked

Range = tuple[float, float]
Start = Literal["normal", "magnitude", "small-magnitude"]
Estimator = Literal["soft", "straight-through"]


@dataclass(frozen=True)
@checked("pool.hardening")
class Hardening:
    """How gates become exactly 0 or 1 by the end of the training; outside of it, they always are.

    Attributes:
        share: share of the training, its last, in which gates are 0 or 1 and rest, while the update goes on.
        beta: gate temperature that is reached before that; it falls geometrically from that of the distribution.
    """

    share: Share = 0.1
    beta: Positive = 0.1

    def beta_at(self, progress: float, first: float) -> float:
        """The gate temperature at a share of the training, 0..1."""
        done = min(1.0, progress / max(1e-12, 1 - self.share))
        return first * (self.beta / first) ** done


@dataclass(frozen=True)
class GateStart:
    """The gate logits at the start.

    Attributes:
        mean: their mean.
        std: their standard deviation.
        order: whether they lie anywhere (`normal`), or so that those of each expert rise with the size of the
            pre-trained weights (`magnitude`) or fall with it (`small-magnitude`).
    """

    mean: float = 0.0
    std: float = 0.5
    order: Start = "normal"

    def draw(self, experts: int, gates: int, pretrained: Float[Tensor, " params"]) -> Float[Tensor, "experts gates"]:
        """The logits; one per parameter unless the order is `normal`."""
        logits = torch.empty(experts, gates).normal_(self.mean, self.std)
        if self.order == "normal":
            return logits
        by_size = pretrained.abs().argsort(descending=self.order == "small-magnitude")
        return torch.empty_like(logits).index_copy_(1, by_size, logits.sort(1).values)


class LearnedGates(GatedUpdate):
    """One update that the experts share, each through learned gates of its own: Δ_m = z_m ⊙ θ_δ (paper, eq. 4).

    Args:
        distribution: hard-concrete distribution of the gates.
        structure: groups of parameters that share a gate.
        start: gate logits at the start.
        logit_range: bounds that gate logits are kept in, so that a closed gate can open again.
        estimator: what a gate is in training: `soft`, a number in [0, 1], or `straight-through`, 0 or 1.
        hardening: schedule by which gates become 0 or 1 by the end of the training; None: they need not.

    Attributes:
        delta: θ_δ, `[params]`, zero at first.
        gate_logits: φ, `[experts, gates]`.
        gate_index: the gate of each parameter, `[params]`; None where each has its own.
        segments: lengths of consecutive parts of the parameters that are measured apart; see `measure_blocks`.
        compiled: whether the interpolation uses compiled kernels where there are some (see `smat.experts.compiled`).
    """

    vectors = ("delta",)
    delta: nn.Parameter
    gate_logits: nn.Parameter
    gate_index: Tensor | None
    structure: Structure

    def __init__(
        self,
        distribution: HardConcrete,
        structure: Structure,
        start: GateStart,
        logit_range: Range,
        estimator: Estimator = "soft",
        hardening: Hardening | None = None,
    ) -> None:
        super().__init__()
        self.distribution = distribution
        self.structure = structure
        self.start = start
        self.logit_range = logit_range
        self.estimator: Estimator = estimator
        self.hardening = hardening
        self.progress = 0.0
        self.segments: tuple[int, ...] = ()
        self.compiled = False

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """A zero update behind gates at random."""
        index = gate_index(layout, self.structure, backbone.attention_heads)
        self.register_buffer("gate_index", index, persistent=False)
        self.delta = nn.Parameter(torch.zeros(layout.size))
        gates = layout.size if index is None else int(index.max()) + 1
        self.gate_logits = nn.Parameter(self.start.draw(experts, gates, pretrained))
        self._layout = layout
        self.after_step()

    # -- what the gates are now ------------------------------------------------------------------------------------

    @property
    def mode(self) -> GateMode:
        """Whether gates are numbers in [0, 1], or 0 or 1: with hardening at the end of the training and outside it."""
        if self.hardening and (not self.training or self.progress >= 1 - self.hardening.share):
            return "hard"
        return self.estimator

    @property
    def training_distribution(self) -> HardConcrete:
        """β, γ and ζ in training, at this point of it."""
        if not self.hardening:
            return self.distribution
        return replace(self.distribution, beta=self.hardening.beta_at(self.progress, self.distribution.beta))

    @property
    def gate_distribution(self) -> HardConcrete:
        """β, γ and ζ as they are now: in training or in evaluation."""
        return self.training_distribution

    def before_step(self, progress: float) -> None:
        """Follow the hardening."""
        self.progress = progress

    def measure_blocks(self) -> None:
        """Have the density and sparsity of each block measured too: of parameters that follow each other in a block."""
        if self.gate_index is not None:
            raise ConfigError(
                f"tuning.sparsity_budget is block, but pool.structure is {self.structure}: set it to parameter"
            )
        blocks = block_of(self._layout)
        runs = groupby(zip(self._layout.names, self._layout.sizes, strict=True), key=lambda entry: blocks[entry[0]])
        self.segments = tuple(sum(size for _, size in run) for _, run in runs)

    # -- merging ---------------------------------------------------------------------------------------------------

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
            density_hc=self.training_distribution,
            mode=self.mode,
            segments=self.segments,
            compiled=self.compiled,
        )

    def _merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        return self._merged(pretrained, self.delta, weights)

    def _codes_of_gates(self) -> Tensor | None:
        logits, hc = self.gate_logits.detach(), self.gate_distribution
        codes = codes_of(gate(logits[:, part], hc, mode=self.mode) for part in chunks(logits))
        return codes if codes is None or self.gate_index is None else codes[:, self.gate_index]

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """Every expert's gate of every parameter: M·P numbers."""
        logits = self.gate_logits.detach()
        z = gate(logits, self.gate_distribution, uniform(0, logits.shape[1]) if uniform else None, self.mode)
        return z if self.gate_index is None else z[:, self.gate_index]

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """Σ_m α_m z_m, without the M·P numbers of `gates`."""
        return self._merged(torch.zeros_like(self.delta), torch.ones_like(self.delta), weights)

    @torch.no_grad()
    def _merged(self, pretrained: Tensor, delta: Tensor, weights: Tensor) -> Tensor:
        return interpolate(
            pretrained,
            delta,
            self.gate_logits,
            weights,
            self.gate_distribution,
            index=self.gate_index,
            mode=self.mode,
            compiled=self.compiled,
            measure=False,
        )

    # -- training --------------------------------------------------------------------------------------------------

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The update and its gates."""
        return {"delta": [self.delta], "gates": [self.gate_logits]}

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring the gate logits back into their range."""
        for logits in self.trainable()["gates"]:
            logits.clamp_(*self.logit_range)


class OfficialGates(LearnedGates):
    """Learned gates with what the authors' code does otherwise.

    Args:
        distribution: hard-concrete distribution of the gates in training.
        structure: groups of parameters that share a gate.
        start: gate logits at the start.
        logit_range: bounds that gate logits are kept in.
        evaluation_beta: gate temperature outside training; None keeps that of training.
        count_head: whether each number of a one-row linear head, which nothing uses, counts as an open gate.
    """

    head_logits: nn.Parameter

    def __init__(
        self,
        distribution: HardConcrete,
        structure: Structure,
        start: GateStart,
        logit_range: Range,
        evaluation_beta: float | None,
        count_head: bool,
    ) -> None:
        super().__init__(distribution, structure, start, logit_range)
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
            unused = pretrained.new_zeros(backbone.feature_dim)
            self.head_logits = nn.Parameter(self.start.draw(experts, backbone.feature_dim, unused))
            self.after_step()

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The update, its gates, and those of the unused head."""
        groups = super().trainable()
        if hasattr(self, "head_logits"):
            groups["gates"].append(self.head_logits)
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
