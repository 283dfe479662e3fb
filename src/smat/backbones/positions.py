"""Position embeddings for another image size, computed once when a network is loaded."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from smat.errors import BackboneError

PositionRule = Literal["exact", "dino"]


def resize_positions(
    table: Float[Tensor, "tokens dim"],
    grid: int,
    class_tokens: int,
    rule: PositionRule = "exact",
    *,
    antialias: bool = False,
) -> Float[Tensor, "new_tokens dim"]:
    """A table of learned position embeddings, resampled to a grid of `grid` x `grid` patches.

    Args:
        table: one row a token: `class_tokens` rows that are kept as they are, then the patches of a square
            image, row by row.
        grid: patches along a side of the new image.
        class_tokens: rows in front of the patches, 0 or 1.
        rule: `"exact"` or `"dino"`, explained in `smat.backbones.load`.
        antialias: whether the exact rule smooths before it shrinks, for the one family that was made so.

    Returns:
        The new table, `[class_tokens + grid², dim]`; the same table when the grid is already that.

    Raises:
        BackboneError: the patches of the table do not form a square.
    """
    patches = len(table) - class_tokens
    side = math.isqrt(patches)
    if side * side != patches:
        raise BackboneError(
            f"the position embeddings are for {patches} patches, which is not a square grid: load this "
            "network at the image size it was made for"
        )
    if side == grid:
        return table
    square = table[class_tokens:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    if rule == "dino":
        # The 0.1 guarded the authors' code against rounding down to one patch too few; as the scale itself is
        # handed on, it also shifts every sample a little, which weights tuned with that code have seen.
        scale = (grid + 0.1) / side
        square = interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    else:
        square = interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False, antialias=antialias)
    return torch.cat([table[:class_tokens], square.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)])
