"""What the processes of a run, one per device, tell each other."""

from collections.abc import Iterable

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn


class Processes:
    """The processes of a run; with one alone nothing happens.

    Args:
        fabric: devices; launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    def mean(self, value: Tensor) -> Tensor:
        """The average over the processes."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(value)
        return value / self.fabric.world_size

    def reduce_gradients(self, parameters: Iterable[nn.Parameter], multipliers: nn.Parameter) -> None:
        """Sum gradients over the processes; multipliers that one process set to 0 are 0 in all."""
        if self.fabric.world_size == 1:
            return
        for parameter in [*parameters, multipliers]:
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
        torch.distributed.all_reduce(multipliers.data, torch.distributed.ReduceOp.MIN)
