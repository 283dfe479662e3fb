"""Coloured noise to classify, and a network that tells colours apart."""

import numpy as np
import torch
from torch import nn

from smat.backbones import load
from smat.experts import PoolConfig, SparseInterpolatedExperts

SIZE = 8
COLOURS = {"sky": (30, 60, 220), "grass": (40, 200, 40), "brick": (200, 50, 40)}


class Patches(nn.Module):
    """The patches' linear features next to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, stride=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.patches(images).flatten(1)


def make_pool(experts: int = 2) -> SparseInterpolatedExperts:
    torch.manual_seed(0)
    backbone = load(Patches(), image_size=SIZE)
    pool = SparseInterpolatedExperts(backbone, PoolConfig(experts=experts))
    if experts:
        pool.update.delta.data.normal_(0, 0.05)
    return pool


def image(name: str, seed: int, size: tuple[int, int] = (12, 10)) -> np.ndarray:
    """A noisy image `[height, width, 3]` of a colour."""
    noise = np.random.default_rng(seed).integers(-25, 26, (*size, 3))
    return (noise + COLOURS[name]).clip(0, 255).astype(np.uint8)


def labelled(each: int, start: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """So many images of each colour, in turn, and their names."""
    names = [name for _ in range(each) for name in COLOURS]
    return [image(name, start + i) for i, name in enumerate(names)], names


def class_images(classes: int, shots: int, seed: int = 0, noise: int = 60) -> tuple[list[np.ndarray], list[str]]:
    """So many noisy images of classes a, b, ..., class after class."""
    colours = np.random.default_rng(9).integers(40, 216, (classes, 3))
    draw = np.random.default_rng([seed, 1])
    images = [
        (draw.integers(-noise, noise + 1, (12, 10, 3)) + colour).clip(0, 255).astype(np.uint8)
        for colour in colours
        for _ in range(shots)
    ]
    return images, [chr(ord("a") + code) for code in range(classes) for _ in range(shots)]
