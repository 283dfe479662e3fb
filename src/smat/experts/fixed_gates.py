"""Updates behind masks that are not learned: open everywhere, drawn at random, set by hand, or chosen by gradients.

Nothing is stored or trained for a mask that the settings and the network give: a draw is made again from its seed.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.errors import CheckpointError
from smat.experts.interpolation import Merged, Uniform, chunks, weighted_sum
from smat.experts.lookup import codes_of
from smat.experts.masks import BY_GRADIENT, BY_WEIGHTS, Gating, mask_by_gradient, mask_by_hand, random_masks
from smat.experts.updates import GatedUpdate, Scores, Update
from smat.flat import Layout


class _MaskedUpdate(Update):
    """What the two kinds share: the settings of the mask.

    Args:
        gating: what the mask is (see `smat.experts.masks`).
        density: share of the parameters that masks without a layer of their own choose.
        last_blocks: number of blocks that the mask `last` chooses.
        seed: seed of random masks.
    """

    vectors = ("delta",)
    delta: nn.Parameter
    gating: Gating

    def __init__(self, gating: Gating = "open", density: float = 0.1, last_blocks: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.gating = gating
        self.density = density
        self.last_blocks = last_blocks
        self.seed = seed

    def _mask(self, backbone: Backbone, pretrained: Tensor, layout: Layout) -> Bool[Tensor, " params"]:
        """The one mask that all experts have."""
        if self.gating == "random":
            return random_masks(layout.size, 1, self.density, self.seed)[0]
        if self.gating in BY_GRADIENT:  # as long as `choose` has not chosen; the number of parameters is the same
            return mask_by_gradient(self.gating, torch.zeros(layout.size), layout, self.density)
        return mask_by_hand(self.gating, backbone, layout, pretrained, self.density, self.last_blocks)


class SharedUpdate(_MaskedUpdate, GatedUpdate):
    """One update that the experts share, each behind a mask of its own: Δ_m = z_m ⊙ θ_δ with z_m fixed.

    Random masks differ between experts; of any other, there is one expert.

    Attributes:
        delta: θ_δ, `[params]`, zero at first.
        masks: z, `[experts, params]`, booleans; None where the update reaches everything.
    """

    masks: Tensor | None
    mask_density: Tensor

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """A zero update behind the masks."""
        self.delta = nn.Parameter(torch.zeros(layout.size))
        masks = None
        if self.gating == "random":
            masks = random_masks(layout.size, experts, self.density, self.seed)
        elif self.gating != "open":
            masks = self._mask(backbone, pretrained, layout)[None]
        # the weights that choose a mask may be loaded after this: such a mask is kept with them
        self.register_buffer("masks", masks, persistent=self.gating in BY_WEIGHTS)
        density = torch.ones(experts) if masks is None else masks.float().mean(1)
        self.register_buffer("mask_density", density, persistent=False)

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """θ_pre + Σ_m α_m (z_m ⊙ θ_δ); density and sparsity are those of the masks."""
        if self.masks is None:
            return Merged.dense(torch.addcmul(pretrained, weights.sum(), self.delta), weights)
        vector: Tensor = _Interpolate.apply(pretrained, self.delta, self.masks, weights)  # pyright: ignore
        return Merged(vector, self.mask_density, 1 - self.mask_density)

    def _codes_of_gates(self) -> Tensor | None:
        return None if self.masks is None else codes_of(self.masks[:, part] for part in chunks(self.masks))

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """Every expert's gate of every parameter, 0 or 1."""
        if self.masks is None:
            return self.delta.new_ones(len(self.mask_density), len(self.delta))
        return self.masks.to(self.delta.dtype)

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """Σ_m α_m z_m; None where the update reaches everything."""
        return None if self.masks is None else _coefficients(self.masks, weights)

    def fingerprinted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """With gate logits in place of the masks, as they were when the first results were kept."""
        return {name: value for name, value in tensors.items() if name != "update.masks"} | {
            "gate_logits": self.gates() * 18 - 9
        }

    def current(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without the gate logits that stood for the masks once."""
        if (logits := tensors.get("gate_logits")) is None or logits.shape != (len(self.mask_density), len(self.delta)):
            return tensors
        rest = {name: value for name, value in tensors.items() if name != "gate_logits"}
        if self.gating in BY_WEIGHTS:
            return rest | {"update.masks": logits > 0}
        if not torch.equal(logits > 0, self.gates() > 0):
            raise CheckpointError(f"its gates are not those of pool.gating {self.gating!r}: it was changed")
        return rest


class SeparateUpdates(_MaskedUpdate):
    """An update of each expert's own, all behind one mask: Δ_m = z ⊙ θ_δm (Muqeeth et al. 2023, with an open mask).

    It takes M numbers for each parameter that the mask chooses, and none for the others.

    Attributes:
        delta: the chosen numbers of θ_δm, `[experts, chosen]`, zero at first.
        index: parameters that the mask chooses, `[chosen]`; None where it chooses all.
    """

    index: Tensor | None

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """An update of zeros for each expert."""
        index = None
        if self.gating != "open":
            index = self._mask(backbone, pretrained, layout).nonzero()[:, 0].int()
            self.vectors = ()
            self.chosen_by = _SCORES.get(self.gating)
        self.params, self._layout = layout.size, layout
        self.register_buffer("index", index, persistent=self.gating in BY_WEIGHTS + BY_GRADIENT)
        self.delta = nn.Parameter(torch.zeros(experts, layout.size if index is None else len(index)))

    def choose(self, scores: Float[Tensor, " params"]) -> None:
        """Let the gradients choose the mask."""
        assert self.index is not None
        mask = mask_by_gradient(self.gating, scores.cpu(), self._layout, self.density)
        self.index.copy_(mask.nonzero()[:, 0])

    def parameter_vectors(self) -> list[Tensor]:
        """What the experts add, where they can add something."""
        return [self.delta]

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """θ_pre + Σ_m α_m θ_δm."""
        added = weights @ self.delta
        if self.index is None:
            return Merged.dense(pretrained + added, weights)
        density = torch.full_like(weights, len(self.index) / self.params, requires_grad=False)
        return Merged(pretrained.index_add(0, self.index, added), density, 1 - density)

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """1 where the experts can add something."""
        gates = self.delta.new_ones(self.params) if self.index is None else self._mask_of(1.0)
        return gates.expand(len(self.delta), -1)

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """Σ_m α_m z; None where the experts can add something everywhere."""
        return None if self.index is None else self._mask_of(float(weights.sum()))

    def _mask_of(self, value: float) -> Float[Tensor, " params"]:
        assert self.index is not None
        return self.delta.new_zeros(self.params).index_fill_(0, self.index.long(), value)


_SCORES: dict[str, Scores] = {"gradient": "gradient", "fisher": "square"}


@torch.no_grad()
def _coefficients(masks: Bool[Tensor, "experts params"], weights: Tensor) -> Float[Tensor, " params"]:
    """Σ_m α_m z_m, a chunk at a time."""
    coefficients = weights.new_empty(masks.shape[1])
    for part in chunks(masks):
        coefficients[part] = weighted_sum(weights, masks[:, part].to(weights.dtype))
    return coefficients


class _Interpolate(torch.autograd.Function):
    """θ_pre + c ⊙ θ_δ with c = Σ_m α_m z_m; the masks are booleans everywhere but in a chunk."""

    @staticmethod
    def forward(ctx: Any, pretrained: Tensor, delta: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(delta, masks, weights)
        return torch.addcmul(pretrained, _coefficients(masks, weights), delta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        delta, masks, weights = ctx.saved_tensors
        (grad,) = grads
        grad_weights = torch.zeros_like(weights)
        for part in chunks(masks):
            grad_weights += masks[:, part].to(grad.dtype) @ (grad[part] * delta[part])
        return None, grad * _coefficients(masks, weights), None, grad_weights
