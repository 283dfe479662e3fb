"""Which parameters share a gate, and which lie in one block of the network.

`parameter` gives every parameter its own gate. The structured kinds tie the parameters of a tensor that read the same
input, write the same output, belong to the same attention head, or sit in the same layer.
"""

import re
from itertools import accumulate
from typing import Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor, nn

from smat.errors import ConfigError
from smat.flat import Layout

Structure = Literal["parameter", "input", "output", "head", "layer"]

# Names of the attention projections in transformers, timm and DINO. A fused qkv stacks query, key and value rows.
HEAD_ROWS = re.compile(r"(query|key|value|[qkv]_proj|qkv)$")
HEAD_COLUMNS = re.compile(r"(o_proj|out_proj|(attn|attention)\.proj|attention\.output\.dense)$")
ATTENTION = re.compile(r".*?(attention|attn)(?=\.)")
BLOCK = re.compile(r".*?\.(\d+)(?=\.)")  # transformer blocks, and stages of convolutional networks, are numbered


def block_of(layout: Layout) -> dict[str, str]:
    """The block that each parameter lies in.

    A block is a transformer block or a stage of a convolutional network, by the name of its module; `embedding` is
    what comes before the first of them, and `rest` everything else.
    """
    numbered = [BLOCK.match(name) for name in layout.names]
    first = next((place for place, found in enumerate(numbered) if found), 0)
    return {
        name: found.group() if found else "embedding" if place < first else "rest"
        for place, (name, found) in enumerate(zip(layout.names, numbered, strict=True))
    }


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises, by the name of its class."""
    name = type(module).__name__.lower()
    return "norm" in name or name.endswith("grn")  # ConvNeXt V2's global response normalisation


def gate_index(layout: Layout, structure: Structure, heads: int | None = None) -> Int[Tensor, " params"] | None:
    """The gate that each parameter follows; None where every parameter has its own.

    Args:
        layout: names and shapes of the P parameters.
        structure: `parameter`; `input`, a gate for each input column of a linear layer, each output filter of a
            convolution (whose inputs are the pixels of one patch), each parameter of anything else; `output`, a gate
            for each row or filter of a module, its bias included; `head`, a gate for each head of an attention layer
            (rows of query, key and value, columns of the projection after it), and one for any other module;
            `layer`, one gate for a module.
        heads: number of attention heads, needed for `head`.

    Returns:
        Indices in 0..G-1, each gate used at least once.

    Raises:
        ConfigError: an unknown structure, or `head` for a network without attention heads.
    """
    if structure not in get_args(Structure):
        raise ConfigError(f"gate structure {structure!r} is unknown: choose one of {', '.join(get_args(Structure))}")
    if structure == "parameter":
        return None
    if structure == "head" and heads is None:
        raise ConfigError("gate structure 'head' needs a network with attention heads: choose input, output or layer")
    local = []
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        owner, _, leaf = name.rpartition(".")
        local.append(_local_index(structure, owner or name, leaf, shape, heads or 1))
    sizes: dict[tuple[str, str], int] = {}  # gates of each group, which several tensors may share
    for group, index in local:
        sizes[group] = max(sizes.get(group, 0), int(index.max()) + 1)
    starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    return torch.cat(
        [
            (starts[group] + index).expand(shape).reshape(-1)
            for (group, index), shape in zip(local, layout.shapes, strict=True)
        ]
    )


def _local_index(
    structure: Structure, owner: str, leaf: str, shape: tuple[int, ...], heads: int
) -> tuple[tuple[str, str], Tensor]:
    """The group of gates that a tensor uses and, broadcastable to its shape, which of them each parameter follows."""
    is_weight, is_affine = (
        leaf == "weight" and len(shape) >= 2,
        leaf in ("weight", "bias") and len(shape) >= 1,
    )
    rows = torch.arange(shape[0] if shape else 1).view(-1, *[1] * (len(shape) - 1))
    if structure == "input":
        if is_weight and len(shape) == 2:
            return (owner, leaf), torch.arange(shape[1])
        if is_weight:
            return (owner, leaf), rows
        return (owner, leaf), torch.arange(int(torch.Size(shape).numel())).view(shape)
    if structure == "output" and is_affine:
        return (owner, "rows"), rows
    attention = ATTENTION.match(owner)
    if structure == "head" and attention and is_affine:
        heads_of = (attention.group(), "heads")  # query, key, value and output of a layer share the gates of its heads
        if HEAD_ROWS.search(owner):
            block = len(rows) // (heads * (3 if owner.endswith("qkv") else 1))
            return heads_of, (rows // block) % heads
        if HEAD_COLUMNS.search(owner) and len(shape) == 2:
            return heads_of, torch.arange(shape[1]) // (shape[1] // heads)
    return (owner, "layer"), torch.zeros([1] * len(shape), dtype=torch.long)
