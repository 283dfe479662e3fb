"""Casts that several layers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def shared_casts(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Within the block, linear layers that read the same tensor share one copy of it in `dtype`.

    Autocast makes a copy for each: three for query, key and value, all kept for backward.
    """
    last: list[tuple[Tensor, Tensor]] = []  # what was cast last, and the copy

    def cast(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        (given,) = inputs
        if not last or last[0][0] is not given:
            last[:] = [(given, given.to(dtype))]
        return (last[0][1],)

    hooks = [m.register_forward_pre_hook(cast) for m in network.modules() if isinstance(m, nn.Linear)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
