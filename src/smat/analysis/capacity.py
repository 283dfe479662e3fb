"""Where the capacity of the experts lies: how many gates are open, and how much moves, by type and depth of layer.

Chen et al. (2024), Fig. 5a and b.
"""

from dataclasses import dataclass

import numpy as np

from smat.analysis.contributions import Contributions
from smat.analysis.layers import Axis


@dataclass(frozen=True)
class Capacity:
    """Open gates and energy of each expert, in groups of parameters.

    The groups G are types of layers, depths, both (a grid, `[types, depths]`) or, without axes, the whole network, for
    which nothing takes the place of G. Ratios of empty groups are NaN.

    Attributes:
        axes: what the groups tell apart.
        labels: names along each axis.
        params: number of parameters in each group, `[*G]`; they sum to P.
        open: number of them that each expert's mask has, `[experts, *G]` (see `Contributions.masks`).
        open_in_any: number of them that are in the mask of at least one expert, `[*G]`.
        energy: ‖z_m ⊙ θ_δ‖, the root of the sum of squares of what each expert adds, `[experts, *G]`. An open gate over
            an update of zero moves nothing.
        pretrained_energy: the same of the pre-trained parameters, `[*G]`.
    """

    axes: tuple[Axis, ...]
    labels: tuple[tuple[str, ...], ...]
    params: np.ndarray
    open: np.ndarray
    open_in_any: np.ndarray
    energy: np.ndarray
    pretrained_energy: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """The share of each group's parameters that each expert's mask has, 0..1, `[experts, *G]`."""
        return ratio(self.open, self.params)

    @property
    def share_in_any(self) -> np.ndarray:
        """The share of each group's parameters that are in the mask of at least one expert, 0..1, `[*G]`."""
        return ratio(self.open_in_any, self.params)

    @property
    def relative_energy(self) -> np.ndarray:
        """`energy` over `pretrained_energy`, `[experts, *G]`."""
        return ratio(self.energy, self.pretrained_energy)


def capacity(contributions: Contributions, *axes: Axis) -> Capacity:
    """Count a pool's open gates, and add up what its experts move, by type and depth of layer.

    Args:
        contributions: what each expert adds.
        axes: what to tell apart: `type`, `depth`, both, or nothing.
    """
    layers, pieces = contributions.layers, contributions.pieces()
    opened = np.stack([piece.sum(1) for piece in pieces], axis=1)
    in_any = np.array([piece.any(0).sum() for piece in pieces])
    return Capacity(
        axes,
        tuple(layers.labels(axis) for axis in axes),
        layers.total(contributions.sizes, axes),
        layers.total(opened, axes),
        layers.total(in_any, axes),
        layers.total(contributions.energy, axes) ** 0.5,
        np.asarray(layers.total(contributions.pretrained_energy, axes) ** 0.5),  # of one number NumPy makes a scalar
    )


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole == 0, np.nan, part / whole)
