"""A tiny pool whose network counts the images that pass through it."""

from typing import Any

import torch
from torch import nn

from smat.backbones import load
from smat.experts import PoolConfig, SparseInterpolatedExperts

SIZE = 16


class Counting(nn.Module):
    """Patches, a nonlinearity, their mean: 16 features."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.out = nn.Conv2d(3, 16, 4, stride=4), nn.Linear(16, 16)
        self.images = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images += len(images)
        return self.out(torch.relu(self.patches(images)).mean((2, 3)))


def make_pool(experts: int = 2, delta: float = 0.5, **config: Any) -> SparseInterpolatedExperts:
    torch.manual_seed(0)
    pool = SparseInterpolatedExperts(load(Counting(), image_size=SIZE), PoolConfig(experts=experts, **config))
    if experts:
        pool.update.delta.data.normal_(0, delta)
    counter(pool).images = 0
    return pool


def counter(pool: SparseInterpolatedExperts) -> Counting:
    network = pool.backbone.network
    assert isinstance(network, Counting)
    return network


def images_seen(pool: SparseInterpolatedExperts) -> int:
    """How many images have passed through the network, with whatever parameters, since the pool was made."""
    return counter(pool).images
