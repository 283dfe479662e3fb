"""Activation checkpointing: of each block only what goes in is kept for backward (Chen et al. 2016)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from smat.errors import ConfigError
from smat.experts.structure import BLOCK


@contextmanager
def checkpointed_blocks(network: nn.Module, parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block of code, the network's blocks keep only their inputs, and compute again in backward.

    A block is what gates count as one: a transformer block, or a stage of a convolutional network.

    Args:
        network: called within, with `parameters` in the place of its own.
        parameters: by name; a block computes with them again when the network has its own back.

    Raises:
        ConfigError: the network has no blocks.
    """
    names = dict.fromkeys(found.group() for name in parameters if (found := BLOCK.match(name)))
    if not names:
        raise ConfigError(
            "tuning.activation_checkpointing is true, but the network has no blocks, modules with a number for a name, "
            "whose activations could be computed again: set it to false"
        )
    blocks = {name: network.get_submodule(name) for name in names}
    for name, block in blocks.items():
        own = {key.removeprefix(f"{name}."): value for key, value in parameters.items() if key.startswith(f"{name}.")}
        block.forward = partial(
            checkpoint, partial(_plainly, block, own), use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for block in blocks.values():
            del block.forward


def _plainly(block: nn.Module, parameters: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """What the block gives by its class's own forward, also where an instance's stands in for it."""
    standing_in: Callable[..., Any] | None = block.__dict__.pop("forward", None)
    try:
        return functional_call(block, dict(parameters), args, kwargs)
    finally:
        if standing_in is not None:
            block.forward = standing_in
