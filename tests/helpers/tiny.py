"""A network, domains and runs that are small enough to be tuned within a test."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from smat import backbones
from smat.backbones import ImageFormat
from smat.domains.pocket import pocket_domains
from smat.episodes import EpisodeSource, FixedSampler
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.metatuning import GroupConfig, MetaTuner, OptimizerConfig, TuningConfig
from smat.rng import seeded_torch

IMAGE_SIZE = 16


class TinyNetwork(nn.Module):
    """A convolution and two linear layers: `[n, 3, 16, 16]` to `[n, 16]`."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.hidden, self.out = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(torch.tanh(self.patches(images)).mean((2, 3)))))


def tiny_pool(**settings: object) -> SparseInterpolatedExperts:
    with seeded_torch(0, "tiny"):
        backbone = backbones.load(TinyNetwork(), image_size=IMAGE_SIZE)
        return SparseInterpolatedExperts(backbone, PoolConfig(**({"experts": 2} | settings)))  # type: ignore[arg-type]


def tiny_source(
    split: str,
    name: str | None = None,
    train: bool = False,
    weights: Callable[[int], Sequence[float]] | None = None,
) -> EpisodeSource:
    domains = [
        d for d in pocket_domains(image_size=IMAGE_SIZE) if d.name in ((name,) if name else ("glyphs", "polygons"))
    ]
    third = (1 / 3, 1 / 3, 1 / 3)
    image_format = ImageFormat(IMAGE_SIZE, third, third)
    return EpisodeSource(
        domains, split, FixedSampler(3, 2, 2), image_format=image_format, train=train, seed=1, weights=weights
    )


def tiny_tuner(folder: Path, pool: SparseInterpolatedExperts | None = None, **settings: object) -> MetaTuner:
    """A run of 12 tasks, two an optimizer step, with validation and checkpoint every 4; `on_...` go to the tuner."""
    callbacks = {key: settings.pop(key) for key in list(settings) if key.startswith("on_")}
    defaults: dict[str, object] = {
        "tasks": 12,
        "meta_batch": 2,
        "validate_every": 4,
        "validation_episodes": 2,
        "checkpoint_every": 4,
        "precision": "32-true",
        "optimizers": OptimizerConfig(
            delta=GroupConfig("adamw", 1e-2), gates=GroupConfig("sgd", 1e3), router=GroupConfig("adamw", 1e-3)
        ),
    }
    config = TuningConfig(**(defaults | settings))  # type: ignore[arg-type]
    weights = partial(config.domain_weights, (1.0, 1.0)) if config.leave_out.share else None
    return MetaTuner(
        pool or tiny_pool(),
        tiny_source("train", train=True, weights=weights),
        [tiny_source("val", "glyphs")],
        config,
        folder,
        Fabric(accelerator="cpu", devices=1),
        **callbacks,  # type: ignore[arg-type]
    )


def everything(tuner: MetaTuner) -> dict[str, torch.Tensor]:
    """All tensors that the rest of a run depends on."""
    optimizers = {
        f"{group}/{number}/{key}": value
        for group, state in tuner.optimizer.state_dict().items()
        for number, entries in state["state"].items()
        for key, value in entries.items()
    }
    return dict(tuner.pool.state_dict()) | {"multipliers": tuner.multipliers.data} | optimizers
