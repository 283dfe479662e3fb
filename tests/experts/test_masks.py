"""Gates that are set by hand."""

import pytest
import torch
from torch import Tensor

from small_pools import random_episode, vit_pool
from smat.errors import ConfigError
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.metatuning import ObjectiveConfig, train_task
from tiny import tiny_pool


def open_names(pool: SparseInterpolatedExperts) -> set[str]:
    """Parameters whose gates are open in every expert; gates of the others must be closed."""
    gates, names = pool.gates(), set()
    assert set(gates.unique().tolist()) <= {0.0, 1.0}
    for name, where in pool.layout.slices.items():
        assert gates[:, where].unique().numel() == 1, "all of a parameter or nothing"
        if gates[0, where.start]:
            names.add(name)
    return names


def named(pool: SparseInterpolatedExperts, *parts: str) -> set[str]:
    return {name for name in pool.layout.names if any(part in name for part in parts)}


@pytest.mark.parametrize(
    ("gating", "parts"),
    [
        ("open", [""]),
        ("norm", ["norm"]),
        ("bias", ["bias"]),
        ("attention", [".attn."]),
        ("qkv", [".qkv."]),
        ("mlp", [".fc1.", ".fc2.", ".mlp."]),
        ("last", ["blocks.1.", "network.norm."]),
    ],
)
def test_masks_by_name(gating: str, parts: list[str]) -> None:
    pool = vit_pool(gating=gating, last_blocks=1)
    expected = named(pool, *parts)
    assert expected
    assert open_names(pool) == expected


def test_random_masks_have_the_density_and_differ_between_experts() -> None:
    gates = vit_pool(gating="random", density=0.25).gates()
    size = gates.shape[1]
    assert ((gates.mean(1) - 0.25).abs() < 4 * (0.25 * 0.75 / size) ** 0.5).all()
    both = (gates[0] * gates[1]).mean()
    assert abs(both - 1 / 16) < 4 * (1 / 16 * 15 / 16 / size) ** 0.5
    assert torch.equal(gates, vit_pool(gating="random", density=0.25).gates())


def test_the_magnitude_mask_opens_the_largest_weights() -> None:
    pool = vit_pool(gating="magnitude", density=0.1)
    opened = pool.gates()[0].bool()
    assert opened.sum() == round(0.1 * pool.layout.size)
    assert pool.pretrained[opened].abs().min() >= pool.pretrained[~opened].abs().max()


@pytest.mark.parametrize("gating", ["random", "norm"])
def test_only_what_a_mask_opens_learns(gating: str) -> None:
    pool = vit_pool(gating=gating).train()
    multipliers = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    train_task(pool, multipliers, random_episode(), ObjectiveConfig(), target_sparsity=None)
    reached: Tensor = pool.gates().amax(0) > 0
    assert pool.update.delta.grad is not None
    assert (pool.update.delta.grad[~reached] == 0).all()
    assert (pool.update.delta.grad[reached] != 0).double().mean() > 0.9
    assert pool.update.trainable().get("gates", []) == []
    assert "update.gate_logits" not in dict(pool.named_parameters())


def test_a_mask_that_nothing_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"attention.*no such parameters"):
        tiny_pool(gating="attention")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gating": "random", "density": 0.0}, "density"),
        ({"gating": "last", "last_blocks": 0}, "last_blocks"),
        ({"separate_deltas": True}, "open gates"),
        ({"gating": "norm", "structure": "output"}, "structure"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PoolConfig(**settings)
