"""What kind of layer each parameter belongs to, and how deep in the network it lies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from smat.backbones import Backbone
from smat.experts.structure import ATTENTION, HEAD_COLUMNS, HEAD_ROWS, block_of, is_norm
from smat.flat import Layout

Axis = Literal["type", "depth"]

LAYER_TYPES = (
    "patch embedding",
    "stem convolution",
    "position",
    "query",
    "key",
    "value",
    "qkv",
    "attention projection",
    "MLP in",
    "MLP out",
    "convolution",
    "depthwise",
    "pointwise expand",
    "pointwise project",
    "downsampling",
    "squeeze-excite",
    "norm",
    "layer scale",
    "bias",
    "other",
)
"""Every type, in the order in which tables have them.

`norm` has scales and biases of normalisation layers, and `bias` all other biases; the types before them have weights
alone. `position` is tables of positions and learned tokens. A linear layer that widens what it reads is `MLP in` or,
in a convolutional network, `pointwise expand`; one that narrows it is `MLP out` or `pointwise project`, the latter
also where the width stays.
"""

_POSITION = re.compile(r"(^|[._])(pos|position|positional)([._]|$)|class_embedding$|tokens?$|probe$|attention_biases$")
_LAYER_SCALE = re.compile(r"(lambda_?\d?|gamma(_\d)?|layer_scale_parameter)$")
_DOWNSAMPLING = re.compile(r"downsampl|shortcut")
_EXCITATION = re.compile(r"[._](squeeze_excite|se|attention)\.")
_PATCHES = re.compile(r"patch_embed")


@dataclass(frozen=True)
class Layers:
    """The type and the depth of each named parameter of a network.

    Attributes:
        names: names of the T parameters, in the order of the flat vector.
        sizes: number of elements of each, P in all.
        types: one of `LAYER_TYPES` for each.
        depths: for each `embedding` (before the first block), the number of its block from `1` on, or `rest` (after the
            blocks, and everything in a network without blocks). A block is a transformer block or a stage of a
            convolutional network.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    types: tuple[str, ...]
    depths: tuple[str, ...]

    @classmethod
    def of(cls, backbone: Backbone) -> "Layers":
        """The layers of a network, by the names of its parameters and the classes of its modules."""
        layout = Layout.of(backbone)
        modules = dict(backbone.named_modules())
        owners = [modules[name.rpartition(".")[0]] for name in layout.names]
        attends = any(_projection(name) for name in layout.names)
        convolutional = not attends and len({id(owner) for owner in owners if isinstance(owner, nn.Conv2d)}) > 1
        depths = _depths(layout)
        types = tuple(
            _type_of(name, owner, depth, convolutional)
            for name, owner, depth in zip(layout.names, owners, depths, strict=True)
        )
        return cls(layout.names, layout.sizes, types, depths)

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(self.sizes)

    def labels(self, axis: Axis) -> tuple[str, ...]:
        """The types or depths that occur: types in the order of `LAYER_TYPES`, depths from the input on."""
        if axis == "type":
            return tuple(name for name in LAYER_TYPES if name in self.types)
        blocks = [depth for depth in dict.fromkeys(self.depths) if depth not in ("embedding", "rest")]
        return tuple(name for name in ("embedding", *blocks, "rest") if name in self.depths)

    def total(self, values: np.ndarray, axes: Sequence[Axis] = ()) -> np.ndarray:
        """Sums over the parameters of each type, depth, or both.

        Args:
            values: numbers of each named parameter, `[..., T]`.
            axes: what to tell apart; nothing gives the sum over the network.

        Returns:
            `[...]` followed by one dimension for each axis, in the order of `labels`; 0 where no parameter is both of a
            type and at a depth.
        """
        shape = [len(self.labels(axis)) for axis in axes]
        groups, count = self.groups(axes), int(np.prod(shape, dtype=int))
        sums = [values[..., groups == group].sum(-1) for group in range(count)]
        return np.stack(sums, axis=-1).reshape((*values.shape[:-1], *shape))

    def groups(self, axes: Sequence[Axis]) -> np.ndarray:
        """The group of each named parameter: its index into the flattened groups of `total`."""
        found = np.zeros(len(self.names), dtype=np.int64)
        for axis in axes:
            index = {name: place for place, name in enumerate(self.labels(axis))}
            found = found * len(index) + np.array([index[name] for name in self._along(axis)])
        return found

    def _along(self, axis: Axis) -> tuple[str, ...]:
        return self.types if axis == "type" else self.depths


def _depths(layout: Layout) -> tuple[str, ...]:
    blocks = block_of(layout)
    numbered = dict.fromkeys(block for block in blocks.values() if block not in ("embedding", "rest"))
    numbers = {block: str(number) for number, block in enumerate(numbered, 1)}
    return tuple(numbers.get(blocks[name], blocks[name]) for name in layout.names)


def _projection(name: str) -> str | None:
    """Which projection of an attention layer a weight is; None where it is none."""
    if not ATTENTION.match(name):
        return None
    owner, _, leaf = name.rpartition(".")
    if leaf == "in_proj_weight":  # of nn.MultiheadAttention
        return "qkv"
    if rows := HEAD_ROWS.search(owner):
        kind = rows.group(1)
        return "qkv" if kind == "qkv" else {"q": "query", "k": "key", "v": "value"}[kind[0]]
    return "attention projection" if HEAD_COLUMNS.search(owner) else None


def _type_of(name: str, owner: nn.Module, depth: str, convolutional: bool) -> str:
    leaf = name.rpartition(".")[2]
    if is_norm(owner):
        return "norm"
    if _POSITION.search(name):
        return "position"
    if leaf.endswith("bias"):
        return "bias"
    if _LAYER_SCALE.search(leaf):
        return "layer scale"
    if projection := _projection(name):
        return projection
    if isinstance(owner, nn.Conv2d) and owner.in_channels == 3:
        return "stem convolution" if convolutional else "patch embedding"
    if _DOWNSAMPLING.search(name):
        return "downsampling"
    if isinstance(owner, nn.Conv2d):
        return _convolution(name, owner, depth, convolutional)
    if isinstance(owner, nn.Linear):
        return _linear(owner.in_features, owner.out_features, convolutional)
    return "other"


def _convolution(name: str, layer: nn.Conv2d, depth: str, convolutional: bool) -> str:
    """The type of a convolution that does not read the image."""
    if 1 < layer.groups == layer.in_channels:
        return "depthwise"
    if convolutional and _EXCITATION.search(name):
        return "squeeze-excite"
    if max(layer.kernel_size) == 1:
        return _linear(layer.in_channels, layer.out_channels, convolutional)
    if convolutional:
        return "stem convolution" if depth == "embedding" else "convolution"
    return "patch embedding" if depth == "embedding" or _PATCHES.search(name) else "convolution"


def _linear(width_in: int, width_out: int, convolutional: bool) -> str:
    if convolutional:
        return "pointwise expand" if width_out > width_in else "pointwise project"
    if width_in == width_out:
        return "other"
    return "MLP in" if width_out > width_in else "MLP out"
