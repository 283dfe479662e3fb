"""Gates that are set by hand instead of learned, the paper's baselines for learned sparsity.

A mask says which parameters an update may reach; `smat.experts.fixed_gates` has the updates.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from smat.errors import ConfigError
from smat.experts.structure import ATTENTION, BLOCK, HEAD_ROWS, is_norm
from smat.flat import Layout
from smat.rng import torch_generator

Gating = Literal[
    "learned",
    "open",
    "random",
    "magnitude",
    "smallest",
    "gradient",
    "fisher",
    "norm",
    "bias",
    "attention",
    "qkv",
    "mlp",
    "last",
]

BY_GRADIENT = ("gradient", "fisher")
"""Masks that gradients of training tasks choose, before the training begins."""

BY_WEIGHTS = ("magnitude", "smallest")
"""Masks that the pre-trained weights choose."""


def random_masks(params: int, experts: int, density: float, seed: int) -> Bool[Tensor, "experts params"]:
    """For each expert, every parameter is chosen with the probability `density`; the same for the same seed."""
    draws = [torch.rand(params, generator=torch_generator(seed, "mask", m)) < density for m in range(experts)]
    return torch.stack(draws)


def mask_by_hand(
    gating: Gating,
    module: nn.Module,
    layout: Layout,
    pretrained: Float[Tensor, " params"],
    density: float,
    blocks: int,
) -> Bool[Tensor, " params"]:
    """Where an update may reach, by what is known of the network alone.

    Args:
        gating: `open`, everywhere; `magnitude`, the share `density` of the largest pre-trained weights;
            `smallest`, that of the smallest; `norm`, normalisation layers; `bias`, all biases; `attention`,
            attention layers; `qkv`, the projections to query, key and value; `mlp`, the blocks' other linear layers;
            `last`, the last `blocks` blocks (stages of a convolutional network) and what follows them.
        module: the backbone, for the types of its layers.
        layout: names and shapes of its parameters.
        pretrained: θ_pre.
        density: share of the parameters, in (0, 1].
        blocks: number of blocks (`last`).

    Raises:
        ConfigError: the network has no such parameters.
    """
    if gating in BY_WEIGHTS:
        count = max(1, round(density * layout.size))
        chosen = pretrained.abs().topk(count, largest=gating == "magnitude").indices
        return torch.zeros(layout.size, dtype=torch.bool).index_fill_(0, chosen, True)
    mask = _named_mask(layout, _rule(gating, module, layout, blocks))
    if not mask.any():
        raise ConfigError(f"pool.gating is {gating!r}, but the network has no such parameters: choose another")
    return mask


def mask_by_gradient(
    gating: Gating, scores: Float[Tensor, " params"], layout: Layout, density: float
) -> Bool[Tensor, " params"]:
    """Where an update may reach, by gradients of the loss at θ_pre.

    Args:
        gating: `gradient`, the share `density` of each neuron's inputs with the largest gradients, one at least, so
            that every neuron is reached (Zhang et al., *Gradient-based Parameter Selection*, 2024); the neurons of a
            layer's bias or norm count as one. `fisher`, the share `density` of all parameters with the largest squared
            gradients (Sung et al., *Training Neural Networks with Fixed Sparse Masks*, 2021).
        scores: size of each parameter's summed gradients, or the sum of their squares.
        layout: names and shapes of the parameters.
        density: share of the parameters, in (0, 1].

    Returns:
        A mask whose number of parameters does not depend on the scores.
    """
    mask = torch.zeros(layout.size, dtype=torch.bool)
    if gating == "fisher":
        return mask.index_fill_(0, scores.topk(max(1, round(density * layout.size))).indices, True)
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        neurons = shape[0] if len(shape) > 1 else 1
        rows = scores[layout.slices[name]].view(neurons, -1)
        chosen = rows.topk(max(1, round(density * rows.shape[1])), dim=1).indices
        mask[layout.slices[name]].view(neurons, -1).scatter_(1, chosen, True)
    return mask


def _named_mask(layout: Layout, rule: Callable[[str], bool]) -> Bool[Tensor, " params"]:
    return torch.tensor([rule(name) for name in layout.names]).repeat_interleave(torch.tensor(layout.sizes))


def _rule(gating: Gating, module: nn.Module, layout: Layout, blocks: int) -> Callable[[str], bool]:
    """Whether a parameter of that name belongs to the kind."""
    modules = dict(module.named_modules())

    def owner(name: str) -> str:
        return name.rpartition(".")[0]

    def block(name: str) -> int:
        found = BLOCK.match(name)
        return int(found.group(1)) if found else -1

    count = 1 + max(block(name) for name in layout.names)
    last_of_blocks = max((i for i, name in enumerate(layout.names) if block(name) >= 0), default=-1)
    after = set(layout.names[last_of_blocks + 1 :])
    rules: dict[str, Callable[[str], bool]] = {
        "open": lambda name: True,
        "norm": lambda name: is_norm(modules[owner(name)]),
        "bias": lambda name: name.endswith("bias"),
        # by the whole name: some attention layers hold their projections themselves
        "attention": lambda name: bool(ATTENTION.match(name)) and not is_norm(modules[owner(name)]),
        "qkv": lambda name: bool(ATTENTION.match(owner(name)) and HEAD_ROWS.search(owner(name))),
        "mlp": lambda name: (
            isinstance(modules[owner(name)], nn.Linear) and block(name) >= 0 and not ATTENTION.match(owner(name))
        ),
        "last": lambda name: count > 0 and (block(name) >= count - blocks or name in after),
    }
    return rules[gating]
