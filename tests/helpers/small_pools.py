"""Pools around a small ViT and tasks of random images, for tests of the formulas; float64 unless told otherwise."""

import torch
from torch import nn

from golden_cases import TinyViT
from smat import backbones
from smat.episodes import Episode, EpisodePlan
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.rng import seeded_torch

SIZE = 8


def vit_pool(dtype: torch.dtype = torch.float64, **settings: object) -> SparseInterpolatedExperts:
    with seeded_torch(0, "small pool"):
        network = TinyViT(SIZE, 4, 16, 2, 2, 2)
        nn.init.normal_(network.cls_token)
        backbone = backbones.load(network, image_size=SIZE)
        config = PoolConfig(**({"experts": 3} | settings))  # type: ignore[arg-type]
        pool = SparseInterpolatedExperts(backbone, config)
        if config.experts:
            nn.init.normal_(pool.update.delta, std=0.05)
            for logits in pool.update.trainable().get("gates", []):
                nn.init.normal_(logits, std=2.0)
    return pool.to(dtype)


def random_episode(
    way: int = 3, shot: int = 2, query: int = 4, size: int = SIZE, dtype: torch.dtype = torch.float64
) -> Episode:
    with seeded_torch(1, "small episode"):
        images = torch.randn(way * (shot + query), 3, size, size, dtype=dtype)
    labels = torch.arange(way).repeat(shot), torch.arange(way).repeat(query)
    images += torch.cat(labels)[:, None, None, None] * 0.3
    n = way * shot
    plan = EpisodePlan(
        id="random/train/0/0",
        domain="random",
        split="train",
        classes=tuple("abcdefgh"[:way]),
        support_rows=tuple(range(n)),
        support_labels=tuple(labels[0].tolist()),
        query_rows=tuple(range(n, len(images))),
        query_labels=tuple(labels[1].tolist()),
    )
    return Episode(plan, images[:n], labels[0], images[n:], labels[1])
