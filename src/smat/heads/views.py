"""Views of an image: cuts that pass through a network beside the image itself."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from smat.errors import ConfigError


@dataclass(frozen=True)
class View:
    """A square cut out of an image and brought back to its size; beyond the edge, the edge's pixels go on.

    Attributes:
        side: side of the square over that of the image, in 0.5..1.5.
        right, down: how far its centre lies from that of the image, over the image's side, in -0.25..0.25.
    """

    side: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def __post_init__(self) -> None:
        if not (0.5 <= self.side <= 1.5 and abs(self.right) <= 0.25 and abs(self.down) <= 0.25):
            raise ConfigError(f"a view is {self}; give a side in 0.5..1.5, and right and down in -0.25..0.25")

    def __call__(self, images: Float[Tensor, "n channels size size"]) -> Float[Tensor, "n channels size size"]:
        """The views of images."""
        if self == WHOLE:
            return images
        size = images.shape[-1]
        side, edge, left, top = self._cut(size)
        cut = pad(images, (edge,) * 4, mode="replicate")[..., top : top + side, left : left + side]
        return cut if side == size else interpolate(cut, size=(size, size), mode="bicubic", antialias=True)

    def matrices(self, size: int) -> tuple[Float[Tensor, "{size} {size}"], Float[Tensor, "{size} {size}"]]:
        """R and C in float64, such that the view of an image X of `size` pixels is R X Cᵀ."""
        side, edge, left, top = self._cut(size)
        # down the columns of the identity alone: a bicubic resize to the same width changes nothing
        padded = pad(torch.eye(size, dtype=torch.float64)[None, None], (0, 0, edge, edge), mode="replicate")
        cuts = (padded[..., start : start + side, :] for start in (top, left))
        rows, columns = (interpolate(cut, size=(size, size), mode="bicubic", antialias=True)[0, 0] for cut in cuts)
        return rows, columns

    def _cut(self, size: int) -> tuple[int, int, int, int]:
        """Side of the square, how far images are continued beyond their edge, and left and top of the square then."""
        side, edge = round(size * self.side), size // 2 + 1
        left, top = (edge + (size - side) // 2 + round(size * shift) for shift in (self.right, self.down))
        return side, edge, left, top


WHOLE = View()
CENTRE = View(0.875)
CORNERS = (
    View(0.875, 1 / 16, 1 / 16),
    View(0.875, -1 / 16, -1 / 16),
    View(0.875, 1 / 16, -1 / 16),
    View(0.875, -1 / 16, 1 / 16),
)
"""The whole image but for a margin of an eighth on two sides."""


@dataclass(frozen=True)
class Views:
    """What passes through a network of each support image and of each query image.

    Attributes:
        support: views of a support image; each is one more example of its class.
        query: views of a query image; their logits are averaged.
    """

    support: tuple[View, ...] = (WHOLE,)
    query: tuple[View, ...] = (WHOLE,)

    @classmethod
    def of(cls, passes: int) -> "Views":
        """Views such that a query image takes 1, 2 or 4 passes: its centre, two opposite corners, or all four.

        The support is seen in the centre and in the corners that queries are seen in, at least two. With 0 it is the
        image as a whole alone, for both.
        """
        queries = {1: (CENTRE,), 2: CORNERS[:2], 4: CORNERS}
        if passes == 0:
            return ONE_VIEW
        if passes not in queries:
            raise ConfigError(f"passes is {passes}; give 0, 1, 2 or 4")
        return cls((CENTRE, *CORNERS[: max(2, passes)]), queries[passes])


ONE_VIEW = Views()
