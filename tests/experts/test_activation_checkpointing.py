"""Blocks that compute again in backward: the same gradients, and less that is kept."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from small_pools import random_episode
from smat import backbones
from smat.errors import ConfigError
from smat.experts import Network, PoolConfig, SparseInterpolatedExperts
from smat.metatuning.objective import train_task
from smat.metatuning.objective_config import ObjectiveConfig
from tiny import tiny_pool, tiny_tuner
from tiny_checkpoints import save

FAMILIES = ["vit", "dinov2", "dinov2_swiglu", "dinov3_vit", "clip_vision", "siglip_vision", "convnext", "mobilenet_v2"]


def pool_of(family: str, folder: Path) -> SparseInterpolatedExperts:
    torch.manual_seed(0)
    save(family, folder)
    pool = SparseInterpolatedExperts(backbones.load(str(folder)), PoolConfig(experts=2)).train()
    nn.init.normal_(pool.update.delta, std=1e-3)
    return pool


def gradients(network: Network, images: Tensor) -> tuple[list[Tensor], int]:
    """Of a scalar, twice over one graph, as a training task takes them; and how often layers computed in backward."""
    features, calls = network(images), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    layers = [module for module in network.backbone.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    found = [network.gradient((features * weight).sum(), retain_graph=more)[0] for more in (True, False)]
    for hook in hooks:
        hook.remove()
    return found, calls


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_same_numbers_and_blocks_compute_again(family: str, tmp_path: Path) -> None:
    pool = pool_of(family, tmp_path)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    vector = pool.pretrained + 0.01
    plain, calls = gradients(pool.network(vector), images)
    assert calls == 0
    pool.backbone.activation_checkpointing = True
    again, calls = gradients(pool.network(vector), images)
    assert calls >= 2 * 2  # twice for two blocks or more
    assert plain[0].abs().max() > 0
    torch.testing.assert_close(again, plain, rtol=1e-6, atol=1e-7)
    assert not any("forward" in vars(module) for module in pool.backbone.modules())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_task_comes_to_the_same(precision: str, tmp_path: Path) -> None:
    found = []
    for checkpointing in (False, True):
        pool = pool_of("vit", tmp_path)
        pool.backbone.activation_checkpointing = checkpointing
        multipliers, episode = nn.Parameter(torch.ones(2)), random_episode(size=32, dtype=torch.float32)
        config, target = ObjectiveConfig(), 0.9
        result = train_task(pool, multipliers, episode, config, target_sparsity=target, precision=precision)  # type: ignore[arg-type]
        found.append([result.loss, *(p.grad for p in pool.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


def test_a_network_without_blocks_is_refused(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path, tiny_pool(), activation_checkpointing=True)
    with pytest.raises(ConfigError, match=r"tuning.activation_checkpointing is true, but the network has no blocks"):
        tuner.run()
