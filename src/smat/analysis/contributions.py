"""What each expert of a pool adds to the pre-trained network, read once for all that is counted of it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from smat.analysis.layers import Layers
from smat.errors import ConfigError
from smat.experts import SeparateUpdates, SharedUpdate, SparseInterpolatedExperts


@dataclass(frozen=True)
class Contributions:
    """The masks of a pool's experts, and the sizes of what they add.

    Attributes:
        layers: type and depth of the T named parameters.
        gated: whether `masks` are open gates; otherwise no gate can be closed, and they are the entries in which an
            expert's own update is not exactly 0.
        masks: where each expert is open, `[experts, params]`.
        gate_values: how many gates of each expert are exactly 0, in between, and exactly 1, `[experts, 3]`; None where
            not `gated`.
        energy: sum of squares of what each expert adds to each named parameter, z_m ⊙ θ_δ, `[experts, T]`.
        pretrained_energy: sum of squares of each pre-trained named parameter, `[T]`.
    """

    layers: Layers
    gated: bool
    masks: np.ndarray
    gate_values: np.ndarray | None
    energy: np.ndarray
    pretrained_energy: np.ndarray

    @property
    def experts(self) -> int:
        """M, the number of experts."""
        return len(self.masks)

    @property
    def sizes(self) -> np.ndarray:
        """Number of elements of each named parameter."""
        return np.array(self.layers.sizes)

    def pieces(self) -> list[np.ndarray]:
        """The masks of each named parameter, views of `masks`."""
        return np.split(self.masks, np.cumsum(self.sizes)[:-1], axis=1)


@torch.no_grad()
def read_contributions(pool: SparseInterpolatedExperts) -> Contributions:
    """Read a pool's experts one by one, so that M·P numbers are in memory as truth values only.

    Args:
        pool: any pool with experts, in evaluation mode; its gates are taken without noise.

    Raises:
        ConfigError: it has no experts.
    """
    experts = pool.config.experts
    if not experts:
        raise ConfigError(
            f"a pool of method {pool.config.method!r} has no experts, so there is nothing to analyse: give one that "
            "was meta-tuned with experts, such as by `smat train --method smat`"
        )
    masks = np.empty((experts, pool.layout.size), dtype=bool)
    values: list[list[int]] = []
    energy = np.empty((experts, len(pool.layout.names)))
    for m, weights in enumerate(torch.eye(experts, dtype=pool.pretrained.dtype, device=pool.pretrained.device)):
        gates = pool.update.merged_gates(weights)
        added = _added(pool, weights, gates)
        energy[m] = _energy(pool, added)
        if gates is None:
            masks[m] = (added != 0).cpu().numpy()
            continue
        masks[m] = (gates > 0).cpu().numpy()
        closed, whole = int((gates == 0).sum()), int((gates == 1).sum())
        values.append([closed, gates.numel() - closed - whole, whole])
    return Contributions(
        Layers.of(pool.backbone),
        bool(values),
        masks,
        np.array(values) if values else None,
        energy,
        _energy(pool, pool.pretrained),
    )


def _added(
    pool: SparseInterpolatedExperts, weights: Float[Tensor, " experts"], gates: Float[Tensor, " params"] | None
) -> Float[Tensor, " params"]:
    """What the experts add under the given weights, exactly where the kind of update is known.

    In a sum with θ_pre, from which it would have to be taken again, small entries are lost.
    """
    update = pool.update
    if isinstance(update, SharedUpdate) and gates is not None:
        return gates * update.delta
    if isinstance(update, SharedUpdate | SeparateUpdates):
        return update.merged_vector(torch.zeros_like(pool.pretrained), weights)
    return pool.merged_vector(weights) - pool.pretrained


def _energy(pool: SparseInterpolatedExperts, vector: Float[Tensor, " params"]) -> np.ndarray:
    return np.array([float(part.double().square().sum()) for part in vector.split(pool.layout.sizes)])
