"""How far a task's network goes from the pre-trained one to the merged one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.errors import ConfigError
from smat.experts.structure import BLOCK
from smat.flat import Layout

_LARGEST = 4.0


@dataclass(frozen=True, order=True)
class Strength:
    """c in θ_pre + c (θ_i - θ_pre), the same everywhere or linear in the depth of the layer (LiNeS, Wang et al. 2025).

    0 is the pre-trained network, 1 the merged one.

    Attributes:
        first: c in the first block and before it, 0..4.
        last: c in the last block and after it, 0..4.
    """

    first: float = 1.0
    last: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.first <= _LARGEST and 0 <= self.last <= _LARGEST):
            raise ConfigError(f"a strength is {self}; give numbers in 0..{_LARGEST:g}")

    @classmethod
    def parse(cls, text: str) -> "Strength":
        """From `0.5`, or `0.5..1` for one that is linear in depth.

        Raises:
            ConfigError: it is neither, or outside 0..4.
        """
        first, dots, last = text.partition("..")
        try:
            numbers = float(first), float(last if dots else first)
        except ValueError:
            raise ConfigError(f"strength {text!r} is no number, nor two as in 0.5..1") from None
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.first:g}" if self.first == self.last else f"{self.first:g}..{self.last:g}"

    def apply(
        self, pretrained: Float[Tensor, " params"], merged: Float[Tensor, " params"], layout: Layout
    ) -> Float[Tensor, " params"]:
        """The parameters of the network at this strength.

        Args:
            pretrained: θ_pre.
            merged: θ_i.
            layout: names of the parameters, which say where in the network they are.
        """
        if self == Strength():
            return merged
        if self == FROZEN:
            return pretrained
        if self.first == self.last:
            return torch.lerp(pretrained, merged, self.first)
        change = self.last - self.first
        factors = merged.new_tensor([self.first + change * depth for depth in depths(layout)])
        sizes = torch.tensor(layout.sizes, device=merged.device)
        return torch.lerp(pretrained, merged, factors.repeat_interleave(sizes))


FROZEN = Strength(0.0, 0.0)
"""The pre-trained network."""
MERGED = (Strength(),)
"""The merged network alone."""
BOTH = (FROZEN, Strength())
"""The pre-trained network beside the merged one."""


def depths(layout: Layout) -> list[float]:
    """How deep in the network each named parameter is: 0 in the first block and before it, 1 from the last block on.

    Blocks are told by the first number in a parameter's name; a network without has its parameters in order.
    """
    numbers = [int(found[1]) if (found := BLOCK.match(name)) else None for name in layout.names]
    blocks = [number for number in numbers if number is not None]
    if not blocks or max(blocks) == min(blocks):
        last = max(1, len(numbers) - 1)
        return [index / last for index in range(len(numbers))]
    low, high = min(blocks), max(blocks)
    first_block = next(index for index, number in enumerate(numbers) if number is not None)
    return [
        (number - low) / (high - low) if number is not None else float(index > first_block)
        for index, number in enumerate(numbers)
    ]
