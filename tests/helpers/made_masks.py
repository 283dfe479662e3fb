"""Masks and layers that are made by hand, for closed forms of what is counted of them."""

from collections.abc import Sequence

import numpy as np

from smat.analysis import Contributions, Layers


def made_layers(*names: tuple[str, str, int]) -> Layers:
    """Layers of named parameters, each given by its type, depth and size."""
    types, depths, sizes = zip(*names, strict=True)
    return Layers(tuple(f"p{i}" for i in range(len(names))), sizes, types, depths)


def made_contributions(
    layers: Layers, masks: Sequence[Sequence[int]] | np.ndarray, added: Sequence[float] | None = None
) -> Contributions:
    """Contributions of experts with given masks; each adds `added` where it is open, to pre-trained ones."""
    opened = np.array(masks, dtype=bool)
    squares = np.square(opened * np.array(added if added is not None else [1.0] * layers.size))
    edges = np.cumsum([0, *layers.sizes[:-1]])
    return Contributions(
        layers, True, opened, None, np.add.reduceat(squares, edges, axis=1), np.array(layers.sizes, dtype=float)
    )
