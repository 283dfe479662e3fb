"""Running a backbone on parameters that lie in a flat vector."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, partial

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor
from torch.func import functional_call

from smat.backbones import Backbone, recomputed_activations, shared_casts
from smat.experts.activation_checkpointing import checkpointed_blocks
from smat.flat import Layout
from smat.precision import NetworkPrecision

# 2^16 over the golden ratio: multiples of it, modulo 2^16, fill 0..2^16 more evenly than random numbers.
_GOLDEN = 40503


class Network:
    """A backbone with the parameters of one vector, cast for computing once.

    In `bf16-mixed` the parameters of linear and convolutional layers are rounded to bfloat16 here and nowhere else (see
    `to_bfloat16`); others (norms, embeddings), the residual stream, every accumulation and the vector itself stay in
    float32.

    The parameters are leaves of autograd's graph; `gradient` gives the gradient of the vector.

    Args:
        backbone: the architecture; its own parameters are not used.
        vector: the parameters, in the order of `layout`.
        layout: names and shapes.
        precision: `32-true` or `bf16-mixed`.
    """

    def __init__(
        self, backbone: Backbone, vector: Float[Tensor, " params"], layout: Layout, precision: NetworkPrecision
    ) -> None:
        self.backbone, self.layout, self.precision = backbone, layout, precision
        self.device, self.dtype = vector.device, vector.dtype
        self.parameters = layout.views(vector.detach())
        if precision == "bf16-mixed":
            matrices = layout.views(to_bfloat16(vector.detach()))
            self.parameters = {
                name: matrices[name].clone() if name in _multiplied(layout) else value
                for name, value in self.parameters.items()
            }
        if torch.is_grad_enabled():
            self.parameters = {name: value.detach().requires_grad_() for name, value in self.parameters.items()}

    def __call__(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Features in the vector's type, float32 as a rule."""
        with ExitStack() as stack:
            if self.precision == "bf16-mixed":
                stack.enter_context(torch.autocast(self.device.type, torch.bfloat16))
                stack.enter_context(shared_casts(self.backbone, torch.bfloat16))
            if torch.is_grad_enabled() and self.backbone.activation_checkpointing:
                stack.enter_context(checkpointed_blocks(self.backbone, self.parameters))
            elif torch.is_grad_enabled():
                stack.enter_context(recomputed_activations(self.backbone))
            features = functional_call(self.backbone, self.parameters, (images,))
        return features if self.precision == "32-true" else features.float()

    def gradient(
        self,
        outputs: Tensor | Sequence[Tensor],
        others: Sequence[Tensor] = (),
        *,
        cotangents: Sequence[Tensor] | None = None,
        retain_graph: bool = False,
    ) -> list[Tensor]:
        """Gradients of what was computed from the network's features.

        Each parameter's gradient goes to its place in one vector as soon as it is there. Kept until the last one, they
        would lie between the blocks of memory that the layers free, which then do not join to be used again.

        Args:
            outputs: a scalar, or any tensors with their `cotangents`.
            others: further leaves to differentiate by.
            cotangents: the gradient of a later quantity with respect to each of the outputs.
            retain_graph: whether another gradient follows.

        Returns:
            The gradient of the vector, `[params]`, in the vector's type, and those of the others.
        """
        whole = torch.zeros(self.layout.size, dtype=self.dtype, device=self.device)
        leaves = list(self.parameters.values())
        places = [whole[where] for where in self.layout.slices.values()]
        hooks = [
            leaf.register_post_accumulate_grad_hook(partial(_move_gradient, place))
            for leaf, place in zip(leaves, places, strict=True)
        ]
        try:
            torch.autograd.backward(outputs, cotangents, retain_graph=retain_graph, inputs=[*leaves, *others])
        finally:
            for hook in hooks:
                hook.remove()
        found = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in others]
        for leaf in others:
            leaf.grad = None
        return [whole, *found]


def _move_gradient(place: Tensor, leaf: Tensor) -> None:
    if leaf.grad is not None:
        place.copy_(leaf.grad.reshape(-1))
        leaf.grad = None


@cache
def _multiplied(layout: Layout) -> frozenset[str]:
    """The parameters of layers that multiply: those of a module with a weight of two or more axes."""
    modules = {
        name.removesuffix("weight")
        for name, shape in zip(layout.names, layout.shapes, strict=True)
        if name.endswith("weight") and len(shape) >= 2
    }
    return frozenset(name for name in layout.names if name.removesuffix(name.rpartition(".")[2]) in modules)


def to_bfloat16(values: Float[Tensor, " n"]) -> BFloat16[Tensor, " n"]:
    """Each number rounded up or down to bfloat16 at a threshold of its own, fixed by its place.

    The inner and the teacher's step move a weight by a thousandth of a bfloat16 spacing. Rounded to the nearest, such
    a step is lost where weights lie off the midpoints, and a thousand times too large where they lie on them, as one
    in eight of a float16 checkpoint's weights does. With thresholds spread evenly over the spacing, a thousandth of
    the weights moves by one spacing each: the sums that the layers make move as they do in float32. The thresholds
    are the same at every call, so equal numbers stay equal, and whatever bfloat16 can hold is not changed.
    """
    thresholds = torch.arange(len(values), dtype=torch.int32, device=values.device).mul_(_GOLDEN).bitwise_and_(0xFFFF)
    bits = thresholds.add_(values.view(torch.int32)).bitwise_right_shift_(16)
    return bits.to(torch.int16).view(torch.bfloat16)
