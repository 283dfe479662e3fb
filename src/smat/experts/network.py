"""Running a backbone on parameters that lie in a flat vector."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from smat.backbones import Backbone
from smat.flat import Layout

Precision = Literal["32-true", "bf16-mixed"]


class Network:
    """A backbone with the parameters of one vector, cast for computing once.

    In `bf16-mixed` the matrices are rounded to bfloat16 here and nowhere else; vectors (biases, norms, embeddings), the
    residual stream, every accumulation and the vector itself stay in float32. Gradients arrive in float32.

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
        """Features in float32."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            return functional_call(self.backbone, self.parameters, (images,)).float()


class _Unpack(torch.autograd.Function):
    """Matrices as bfloat16 copies, everything else as float32 views; one float32 gradient for the whole vector."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, layout: Layout) -> tuple[Tensor, ...]:
        ctx.layout = layout
        ctx.set_materialize_grads(False)
        pieces = vector.split(layout.sizes)
        return tuple(
            (piece.to(torch.bfloat16) if len(shape) >= 2 and name.endswith("weight") else piece.clone()).view(shape)
            for name, piece, shape in zip(layout.names, pieces, layout.shapes, strict=True)
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
