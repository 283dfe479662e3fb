"""A checkpoint around a tiny random vision transformer."""

from pathlib import Path

import torch
from transformers import ViTConfig

from smat.backbones import BackboneSpec, build
from smat.experts import PoolConfig, SparseInterpolatedExperts

SIZE = 16


def tiny_vit() -> ViTConfig:
    """A vision transformer of one block, for images of `SIZE` pixels."""
    return ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIZE,
        patch_size=8,
    )


def save_checkpoint(folder: Path) -> str:
    """Save a pool of two experts that differs from its backbone; returns the folder's name."""
    spec = BackboneSpec("transformers", "tiny", tiny_vit().to_dict(), SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "cls")
    torch.manual_seed(0)
    backbone = build(spec)
    for parameter in backbone.parameters():
        parameter.data.normal_(0, 0.3)
    pool = SparseInterpolatedExperts(backbone, PoolConfig(experts=2))
    pool.update.delta.data.normal_(0, 0.3)
    pool.save_pretrained(folder)
    return str(folder)
