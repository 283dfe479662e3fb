"""Running a backbone on parameters that lie in a flat vector."""

from typing import Any, Literal

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor
from torch.func import functional_call

from smat.backbones import Backbone
from smat.flat import Layout

Precision = Literal["32-true", "bf16-mixed"]

# 2^16 over the golden ratio: multiples of it, modulo 2^16, fill 0..2^16 more evenly than random numbers.
_GOLDEN = 40503


class Network:
    """A backbone with the parameters of one vector, cast for computing once.

    In `bf16-mixed` the parameters of linear and convolutional layers are rounded to bfloat16 here and nowhere else (see
    `to_bfloat16`); others (norms, embeddings), the residual stream, every accumulation and the vector itself stay in
    float32. Gradients arrive in float32.

    Args:
        backbone: the architecture; its own parameters are not used.
        vector: the parameters, in the order of `layout`.
        layout: names and shapes.
        precision: `32-true` or `bf16-mixed`.
    """

    def __init__(
        self, backbone: Backbone, vector: Float[Tensor, " params"], layout: Layout, precision: Precision
    ) -> None:
        self.backbone, self.precision, self.device = backbone, precision, vector.device.type
        if precision == "32-true":
            self.parameters = layout.views(vector)
        else:
            self.parameters = dict(zip(layout.names, _Unpack.apply(vector, layout), strict=True))

    def __call__(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Features in the vector's type, float32 as a rule."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            features = functional_call(self.backbone, self.parameters, (images,))
        return features if self.precision == "32-true" else features.float()


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


class _Unpack(torch.autograd.Function):
    """What layers multiply with as bfloat16, everything else as float32; one float32 gradient for the whole vector."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, layout: Layout) -> tuple[Tensor, ...]:
        ctx.layout = layout
        ctx.set_materialize_grads(False)
        rounded = to_bfloat16(vector)
        matrices = {
            name.removesuffix("weight")
            for name, shape in zip(layout.names, layout.shapes, strict=True)
            if name.endswith("weight") and len(shape) >= 2
        }
        return tuple(
            (rounded if name.removesuffix(name.rpartition(".")[2]) in matrices else vector)[where].view(shape).clone()
            for (name, where), shape in zip(layout.slices.items(), layout.shapes, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        layout: Layout = ctx.layout
        given = next(g for g in grads if g is not None)
        whole = torch.zeros(layout.size, device=given.device)
        for name, grad in zip(layout.names, grads, strict=True):
            if grad is not None:
                whole[layout.slices[name]] = grad.reshape(-1)
        return whole, None
