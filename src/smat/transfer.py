"""Tensors from the processor to another device, without waiting for it."""

import torch
from torch import Tensor


def onto(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device; a GPU gets it while it computes, and this process goes on.

    A plain copy, also that which `torch.tensor(values, device="cuda")` makes, waits until the GPU has done all that it
    was asked before.
    """
    device = torch.device(device)
    if tensor.device.type != "cpu" or device.type in ("cpu", "mps"):  # Apple's copies may come later than they say
        return tensor.to(device)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
