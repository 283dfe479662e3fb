"""Masks in place of learned gates, and the updates behind them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from small_pools import random_episode, vit_pool
from smat.errors import CheckpointError, ConfigError
from smat.experts import PoolConfig, SeparateUpdates, SparseInterpolatedExperts
from smat.experts.masks import mask_by_gradient, mask_by_hand
from smat.flat import Layout
from smat.metatuning import ObjectiveConfig, train_task
from tiny import tiny_pool

RANDOM = {"gating": "random"}
OWN = {"gating": "norm", "separate_deltas": True}


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


@pytest.mark.parametrize("own", [{"separate_deltas": True}, {"experts": 1}])
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
def test_masks_by_name(gating: str, parts: list[str], own: dict) -> None:
    pool = vit_pool(gating=gating, last_blocks=1, **own)
    expected = named(pool, *parts)
    assert expected
    assert open_names(pool) == expected


def test_attention_layers_that_hold_their_projections_are_attention() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.norm = torch.nn.MultiheadAttention(4, 2), torch.nn.LayerNorm(4)

    net = Net()
    layout = Layout.of(net)
    mask = mask_by_hand("attention", net, layout, torch.zeros(layout.size), 0.1, 1)
    opened = {name for name in layout.names if mask[layout.slices[name]].all()}
    assert opened == {name for name in layout.names if name.startswith("attention.")}
    assert "attention.in_proj_weight" in opened


def test_random_masks_have_the_density_and_differ_between_experts() -> None:
    gates = vit_pool(gating="random", density=0.25).gates()
    size = gates.shape[1]
    assert ((gates.mean(1) - 0.25).abs() < 4 * (0.25 * 0.75 / size) ** 0.5).all()
    both = (gates[0] * gates[1]).mean()
    assert abs(both - 1 / 16) < 4 * (1 / 16 * 15 / 16 / size) ** 0.5
    assert torch.equal(gates, vit_pool(gating="random", density=0.25).gates())


def test_random_masks_follow_their_seed() -> None:
    first, again, other = (vit_pool(gating="random", mask_seed=seed).gates() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert 0.15 < (first != other).double().mean() < 0.21, "two draws of a tenth differ in 0.18"


@pytest.mark.parametrize(("gating", "large"), [("magnitude", True), ("smallest", False)])
@pytest.mark.parametrize("own", [{"separate_deltas": True}, {"experts": 1}])
def test_magnitude_masks_open_the_largest_or_the_smallest_weights(gating: str, large: bool, own: dict) -> None:
    pool = vit_pool(gating=gating, density=0.1, **own)
    opened = pool.gates()[0].bool()
    assert opened.sum() == round(0.1 * pool.layout.size)
    sizes = [pool.pretrained[mask].abs() for mask in (opened, ~opened)]
    larger, smaller = sizes if large else sizes[::-1]
    assert larger.min() >= smaller.max()


def test_fisher_masks_open_the_largest_scores() -> None:
    pool = tiny_pool(gating="fisher", separate_deltas=True, density=0.25)
    scores = torch.arange(pool.layout.size).flip(0).float()
    pool.update.choose(scores)
    count = round(0.25 * pool.layout.size)
    assert pool.gates()[0].nonzero()[:, 0].tolist() == list(range(count))


def test_gradient_masks_open_the_largest_scores_of_every_neuron() -> None:
    pool = vit_pool(gating="gradient", separate_deltas=True, density=0.1)
    scores = torch.rand(pool.layout.size)
    mask = mask_by_gradient("gradient", scores, pool.layout, 0.1)
    pool.update.choose(scores)
    assert torch.equal(pool.gates()[1].bool(), mask)
    for name, shape in zip(pool.layout.names, pool.layout.shapes, strict=True):
        neurons = shape[0] if len(shape) > 1 else 1
        rows, values = (vector[pool.layout.slices[name]].view(neurons, -1) for vector in (mask, scores))
        assert (rows.sum(1) == max(1, round(0.1 * rows.shape[1]))).all(), name
        for row, value in zip(rows, values, strict=True):
            assert not (~row).any() or value[row].min() >= value[~row].max(), name


@pytest.mark.parametrize("settings", [RANDOM, OWN, {"gating": "fisher", "separate_deltas": True}])
def test_a_masked_update_is_what_the_gates_say(settings: dict) -> None:
    pool = vit_pool(**settings)
    torch.nn.init.normal_(pool.update.delta)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    gates = pool.gates()
    added = torch.zeros_like(gates)
    if isinstance(pool.update, SeparateUpdates):
        added[gates.bool()] = pool.update.delta.detach().flatten()
    else:
        added = gates * pool.update.delta.detach()
    merged = pool.merge(weights)
    torch.testing.assert_close(merged.vector, pool.pretrained + weights @ added)
    torch.testing.assert_close(merged.sparsity, (gates == 0).double().mean(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(merged.expected_density, gates.mean(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pool.update.merged_gates(weights), weights @ gates)
    torch.testing.assert_close(pool.merged_vector(weights), merged.vector.detach())


def test_gradients_behind_masks_are_those_of_the_formula() -> None:
    pool = vit_pool(gating="random", density=0.3)
    torch.nn.init.normal_(pool.update.delta)
    masks = pool.gates().double()
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(pool.layout.size, dtype=torch.float64)
    leaves = [pool.update.delta, weights]
    got = torch.autograd.grad((pool.merge(weights).vector.sin() * slopes).sum(), leaves)
    plain = pool.pretrained + (weights @ masks) * pool.update.delta
    for ours, reference in zip(got, torch.autograd.grad((plain.sin() * slopes).sum(), leaves), strict=True):
        torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("settings", [RANDOM, OWN, {"gating": "norm", "experts": 1}])
def test_only_what_a_mask_opens_learns(settings: dict) -> None:
    pool = vit_pool(**settings).train()
    multipliers = torch.nn.Parameter(torch.zeros(pool.config.experts, dtype=torch.float64))
    train_task(pool, multipliers, random_episode(), ObjectiveConfig(), target_sparsity=None)
    gradient = pool.update.delta.grad
    assert gradient is not None
    if isinstance(pool.update, SeparateUpdates):
        assert gradient.shape == (3, int(pool.gates()[0].sum())), "nothing is kept for what is closed"
        assert (gradient != 0).double().mean() > 0.9
    else:
        reached: Tensor = pool.gates().amax(0) > 0
        assert (gradient[~reached] == 0).all()
        assert (gradient[reached] != 0).double().mean() > 0.9
    assert list(pool.update.trainable()) == ["delta"]


@pytest.mark.parametrize(
    "settings",
    [
        RANDOM,
        OWN,
        {"gating": "magnitude", "separate_deltas": True},
        {"gating": "smallest", "experts": 1},
        {"gating": "gradient", "separate_deltas": True},
        {"gating": "open"},
    ],
)
def test_masks_come_back_from_a_checkpoint(tmp_path: Path, settings: dict) -> None:
    pool = vit_pool(torch.float32, **settings).eval()
    if pool.update.chosen_by:
        pool.update.choose(torch.rand(pool.layout.size))
    torch.nn.init.normal_(pool.update.delta)
    pool.save_pretrained(tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=vit_pool(torch.float32).backbone)
    assert torch.equal(again.gates(), pool.gates())
    weights = torch.full((pool.config.experts,), 1 / pool.config.experts)
    assert torch.equal(again.merged_vector(weights), pool.merged_vector(weights))
    assert again.fingerprint() == pool.fingerprint()


def test_nothing_is_stored_for_random_masks(tmp_path: Path) -> None:
    pool = vit_pool(torch.float32, gating="random", mask_seed=3)
    assert {name for name in pool.tensors() if not name.startswith("router.")} == {"pretrained", "delta", "tasks_seen"}
    pool.save_pretrained(tmp_path)
    assert '"mask_seed": 3' in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("settings", [RANDOM, {"gating": "magnitude", "experts": 1}, {"gating": "open"}])
def test_checkpoints_that_stored_masks_as_gate_logits_are_read(tmp_path: Path, settings: dict) -> None:
    pool = vit_pool(torch.float32, **settings).eval()
    torch.nn.init.normal_(pool.update.delta)
    pool.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    stored = {name: value for name, value in load_file(path).items() if name != "update.masks"}
    logits = torch.where(pool.gates().bool(), 9.0, -9.0)
    save_file(stored | {"gate_logits": logits}, path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=vit_pool(torch.float32).backbone)
    assert torch.equal(again.gates(), pool.gates())
    if settings["gating"] == "magnitude":
        return
    logits[0, 0] = -logits[0, 0]
    save_file(stored | {"gate_logits": logits}, path)
    with pytest.raises(CheckpointError, match=r"its gates are not those of pool\.gating"):
        SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=vit_pool(torch.float32).backbone)


def test_a_mask_that_nothing_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"attention.*no such parameters"):
        tiny_pool(gating="attention", separate_deltas=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gating": "random", "density": 0.0}, "density"),
        ({"gating": "last", "last_blocks": 0}, "last_blocks"),
        ({"separate_deltas": True}, "gates that are not learned"),
        ({"gating": "norm", "experts": 1, "structure": "output"}, "structure"),
        ({"gating": "norm"}, "one mask for all experts: set pool.separate_deltas to true.*or pool.experts to 1"),
        ({"gating": "fisher", "experts": 1}, "set pool.separate_deltas to true, so that each has an update"),
        ({"gating": "open", "estimator": "straight-through"}, "pool.estimator: of learned gates"),
        ({"init_order": "magnitude", "structure": "layer"}, "pool.init_order needs a gate for each parameter"),
        ({"estimator": "straight-through", "evaluation_beta": 1.0}, "authors' code"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PoolConfig(**settings)
