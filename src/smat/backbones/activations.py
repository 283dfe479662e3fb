"""Activation functions that are computed again in backward, so that what they gave need not be kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import activations

# Autograd keeps the input of these for their own backward, so that their output can always be made again from it.
_ACTIVATIONS = (
    nn.GELU,
    nn.SiLU,
    activations.GELUActivation,
    activations.GELUTanh,
    activations.NewGELUActivation,
    activations.QuickGELUActivation,
    activations.SiLUActivation,
)


@contextmanager
def recomputed_activations(network: nn.Module) -> Iterator[None]:
    """Within the block, what the network's smooth activation functions give is not kept for backward.

    The layer after an activation function saves its input, the widest tensor of a transformer's block and a quarter of
    what a pass keeps. It is computed again from the function's own input, which is kept anyway: exactly the same
    numbers, for one more call of the function.
    """
    made: dict[StorageWeakRef, Callable[[], Tensor]] = {}

    def remember(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given = inputs[0].detach()
        made[StorageWeakRef(output.untyped_storage())] = lambda: module(given)

    def pack(tensor: Tensor) -> Any:
        # A weak reference keeps a storage's address from being used again: an equal one means the same storage.
        again = made.get(StorageWeakRef(tensor.untyped_storage()))
        return tensor if again is None or not tensor.is_contiguous() else (again, tensor.shape)

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        again, shape = packed
        with torch.no_grad():
            return again().view(shape)

    smooth = [m for m in network.modules() if isinstance(m, _ACTIVATIONS) and not getattr(m, "inplace", False)]
    hooks = [m.register_forward_hook(remember) for m in smooth]
    try:
        with saved_tensors_hooks(pack, unpack):
            yield
    finally:
        made.clear()  # the graph keeps `pack` and, through it, would keep every activation's input to its end
        for hook in hooks:
            hook.remove()
