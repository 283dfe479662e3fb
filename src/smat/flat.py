"""Named parameters as one contiguous vector, and back.

Everything that treats a network's parameters alike (interpolation, optimizers, checkpoints, analysis) sees a vector of
P numbers; the network itself sees views into it, under the names it knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.errors import CheckpointError


@dataclass(frozen=True)
class Layout:
    """The order of named parameters in a flat vector.

    Attributes:
        names: parameter names, as in `nn.Module.named_parameters()`.
        shapes: their shapes, in the same order.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> "Layout":
        """The layout of a module's parameters, in the module's own order (shared parameters once)."""
        named = list(module.named_parameters())
        return cls(tuple(n for n, _ in named), tuple(tuple(p.shape) for _, p in named))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each parameter."""
        return tuple(prod(shape) for shape in self.shapes)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the vector."""
        stops = list(accumulate(self.sizes))
        return {n: slice(stop - size, stop) for n, size, stop in zip(self.names, self.sizes, stops, strict=True)}

    @property
    def size(self) -> int:
        """P, the length of the vector."""
        return sum(self.sizes)

    def flatten(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, " params"]:
        """Copy named tensors into a new float32 vector.

        Raises:
            CheckpointError: a name is missing or left over, a shape differs, or a tensor is of whole numbers.
        """
        missing = [n for n in self.names if n not in parameters]
        extra = [n for n in parameters if n not in self.slices]
        wrong = [
            f"{n}: {tuple(parameters[n].shape)} instead of {shape}"
            for n, shape in zip(self.names, self.shapes, strict=True)
            if n in parameters and tuple(parameters[n].shape) != shape
        ]
        whole = [n for n in self.names if n in parameters and not parameters[n].is_floating_point()]
        problems = [
            f"{what} {found[:5]}{' and more' if len(found) > 5 else ''}"
            for what, found in (
                ("missing", missing),
                ("unexpected", extra),
                ("wrong shape", wrong),
                ("no floating-point numbers", whole),
            )
            if found
        ]
        if problems:
            raise CheckpointError(
                "these parameters do not fit the network: " + "; ".join(problems) + ". Use the backbone (and the "
                "transformers major version) that they were saved with."
            )
        return torch.cat([parameters[n].detach().reshape(-1).float() for n in self.names])

    def views(self, vector: Float[Tensor, " params"]) -> dict[str, Tensor]:
        """Each parameter as a view into the vector."""
        pieces = vector.split(self.sizes)
        return {n: p.view(s) for n, p, s in zip(self.names, pieces, self.shapes, strict=True)}


def adopt(module: nn.Module, vector: Float[Tensor, " params"], layout: Layout) -> None:
    """Make a module's parameters frozen views into `vector`, so that the numbers exist once in memory."""
    owners: dict[str, nn.Module] = dict(module.named_modules())
    for name, view in layout.views(vector.detach()).items():
        prefix, _, leaf = name.rpartition(".")
        setattr(owners[prefix], leaf, nn.Parameter(view, requires_grad=False))
