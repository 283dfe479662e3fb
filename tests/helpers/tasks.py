"""Networks for one task, and support sets to fine-tune them on."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    MobileNetV2Config,
    PretrainedConfig,
    SiglipVisionConfig,
    ViTConfig,
)

from small_pools import random_episode, vit_pool
from smat import adaptation
from smat.adaptation import FineTuneConfig, FineTuning, Kind, make_tuner
from smat.backbones import Backbone, BackboneSpec, build
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.heads import TaskModel, specialise

_SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "vit": ViTConfig(**_SHAPE, intermediate_size=16),
    "dinov2": Dinov2Config(**_SHAPE, mlp_ratio=1),
    "dinov2_registers": Dinov2WithRegistersConfig(**_SHAPE, mlp_ratio=1),
    "dinov3": DINOv3ViTConfig(**_SHAPE, intermediate_size=16),
    "clip": CLIPVisionConfig(**_SHAPE, intermediate_size=16),
    "siglip": SiglipVisionConfig(**_SHAPE, intermediate_size=16),
    "mobilenet": MobileNetV2Config(depth_multiplier=0.25, image_size=32),
}


def backbone(family: str) -> Backbone:
    values = CONFIGS[family].to_dict()
    feature = "cls" if family == "vit" else "pooler"
    half = (0.5, 0.5, 0.5)
    return build(BackboneSpec("transformers", f"tiny-{family}", values, values["image_size"], half, half, feature))


def family_task(family: str) -> tuple[TaskModel, Tensor, Tensor]:
    """An untrained network of a family, and its support set: two images each of three classes."""
    pool = SparseInterpolatedExperts(backbone(family), PoolConfig(experts=0))
    episode = random_episode(size=pool.backbone.spec.image_size, dtype=torch.float32)
    return specialise(pool, episode.support, episode.support_labels), episode.support, episode.support_labels


def task(shot: int = 2, dtype: torch.dtype = torch.float64) -> tuple[TaskModel, Tensor, Tensor]:
    """A ViT with a fused projection, merged for a support set of three classes, and that support set."""
    episode = random_episode(shot=shot, dtype=dtype)
    model = specialise(vit_pool(dtype).eval(), episode.support, episode.support_labels)
    return model, episode.support, episode.support_labels


def adapt(
    model: TaskModel, images: Tensor, labels: Tensor, *, kind: Kind, lr: float, on_step: Any = None, **settings: Any
) -> TaskModel:
    """The model, fine-tuned on its support set."""
    return tuning_of(images, labels, kind=kind, **settings).adapt(model, lr, on_step)


def cross_validated_lr(
    model: TaskModel, images: Tensor, labels: Tensor, *, on_step: Any = None, **settings: Any
) -> float:
    """The learning rate that the support set chooses."""
    return adaptation.cross_validated_lr(tuning_of(images, labels, **settings), model, on_step)


def tuning_of(
    images: Tensor, labels: Tensor, *, kind: Kind, config: FineTuneConfig | None = None, **settings: Any
) -> FineTuning:
    return FineTuning(images, labels, make_tuner(kind), config or FineTuneConfig(), **settings)
