"""Gates that are set by hand instead of learned, the paper's baselines for learned sparsity.

They are gate logits that nobody trains, far enough from 0 for gates of exactly 0 and 1: everything else about the
experts stays as it is.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from smat.errors import ConfigError
from smat.experts.structure import ATTENTION, BLOCK, HEAD_ROWS
from smat.flat import Layout
from smat.rng import torch_generator

Gating = Literal["learned", "open", "random", "magnitude", "norm", "bias", "attention", "qkv", "mlp", "last"]

_OPEN, _CLOSED = 9.0, -9.0


def fixed_gate_logits(
    gating: Gating,
    module: nn.Module,
    layout: Layout,
    pretrained: Float[Tensor, " params"],
    experts: int,
    density: float,
    blocks: int,
) -> Float[Tensor, "experts params"]:
    """Logits of gates that are 1 where the update may reach, and 0 elsewhere.

    Args:
        gating: `open`, everywhere; `random`, a share `density` drawn for each expert; `magnitude`, the share `density`
            of the largest pre-trained weights; `norm`, normalisation layers; `bias`, all biases; `attention`, attention
            layers; `qkv`, the projections to query, key and value; `mlp`, the blocks' other linear layers; `last`, the
            last `blocks` blocks (stages of a convolutional network) and what follows them.
        module: the backbone, for the types of its layers.
        layout: names and shapes of its parameters.
        pretrained: θ_pre.
        experts: M.
        density: share of gates that are 1 (`random`, `magnitude`), in (0, 1].
        blocks: number of blocks (`last`).

    Raises:
        ConfigError: the network has no such parameters.
    """
    if gating == "random":
        draws = [torch.rand(layout.size, generator=torch_generator(0, "mask", m)) for m in range(experts)]
        mask = torch.stack(draws) < density
    elif gating == "magnitude":
        chosen = pretrained.abs().topk(max(1, round(density * layout.size))).indices
        mask = torch.zeros(layout.size, dtype=torch.bool).index_fill_(0, chosen, True).expand(experts, -1)
    else:
        mask = _named_mask(layout, _rule(gating, module, layout, blocks)).expand(experts, -1)
    if not mask.any():
        raise ConfigError(f"pool.gating is {gating!r}, but the network has no such parameters: choose another")
    return torch.where(mask, _OPEN, _CLOSED)


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
        "norm": lambda name: "norm" in type(modules[owner(name)]).__name__.lower(),
        "bias": lambda name: name.endswith("bias"),
        "attention": lambda name: bool(ATTENTION.match(owner(name))),
        "qkv": lambda name: bool(ATTENTION.match(owner(name)) and HEAD_ROWS.search(owner(name))),
        "mlp": lambda name: (
            isinstance(modules[owner(name)], nn.Linear) and block(name) >= 0 and not ATTENTION.match(owner(name))
        ),
        "last": lambda name: count > 0 and (block(name) >= count - blocks or name in after),
    }
    return rules[gating]
