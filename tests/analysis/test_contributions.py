"""What each expert adds, read from pools of every kind, against their own formulas."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from small_pools import vit_pool
from smat.analysis import Contributions, read_contributions
from smat.errors import ConfigError
from smat.experts import HardConcrete, Merged, PoolConfig, SparseInterpolatedExperts, Update, gate
from smat.flat import Layout
from tiny import tiny_pool


def check(pool: SparseInterpolatedExperts, found: Contributions, added: Tensor) -> None:
    """The energies are those of `added`, `[experts, params]`."""
    squares = [[float(part.double().square().sum()) for part in row.split(pool.layout.sizes)] for row in added]
    np.testing.assert_allclose(found.energy, squares, rtol=1e-5)
    parts = pool.pretrained.split(pool.layout.sizes)
    np.testing.assert_allclose(found.pretrained_energy, [float(part.square().sum()) for part in parts], rtol=1e-5)
    assert found.experts == len(added)
    assert found.layers.names == pool.layout.names


def test_learned_gates() -> None:
    pool = vit_pool()
    z = gate(pool.update.gate_logits.detach(), HardConcrete())
    found = read_contributions(pool)
    assert found.gated
    assert np.array_equal(found.masks, (z > 0).numpy())
    check(pool, found, z * pool.update.delta.detach())
    counts = torch.stack([z == 0, (z > 0) & (z < 1), z == 1]).sum(2).T
    assert found.gate_values is not None
    assert np.array_equal(found.gate_values, counts.numpy())


def test_gates_that_are_shared_count_for_each_parameter() -> None:
    pool = vit_pool(structure="output")
    found = read_contributions(pool)
    gates = pool.gates()
    assert gates is not None
    assert np.array_equal(found.masks, (gates > 0).numpy())
    check(pool, found, gates * pool.update.delta.detach())


def test_gates_that_are_set_by_hand() -> None:
    pool = vit_pool(gating="bias", separate_deltas=True)
    found = read_contributions(pool)
    opened = np.repeat([name.endswith("bias") for name in pool.layout.names], pool.layout.sizes)
    assert np.array_equal(found.masks, np.tile(opened, (3, 1)))
    assert found.gate_values is not None
    assert found.gate_values.tolist() == [[opened.size - opened.sum(), 0, opened.sum()]] * 3


def test_an_open_gate_over_no_update_is_open_and_moves_nothing() -> None:
    pool = vit_pool(gating="norm", experts=1)
    pool.update.delta.data.zero_()
    found = read_contributions(pool)
    assert found.masks.any()
    assert not found.energy.any()


def test_without_gates_what_counts_is_what_moves() -> None:
    pool = vit_pool(experts=1, gating="open")
    pool.update.delta.data[::2] = 0
    found = read_contributions(pool)
    assert not found.gated
    assert found.gate_values is None
    assert np.array_equal(found.masks[0], np.arange(pool.layout.size) % 2 == 1)
    check(pool, found, pool.update.delta.detach()[None])


def test_updates_of_each_expert() -> None:
    pool = vit_pool(experts=2, gating="open", separate_deltas=True)
    pool.update.delta.data[1, 5:] = 0
    found = read_contributions(pool)
    assert not found.gated
    assert found.masks.sum(1).tolist() == [pool.layout.size, 5]
    check(pool, found, pool.update.delta.detach())


def test_an_update_that_is_tiny_beside_its_parameter_is_seen() -> None:
    pool = vit_pool(torch.float32, experts=1, gating="open")
    pool.pretrained.fill_(1.0)
    pool.update.delta.data.fill_(1e-20)
    found = read_contributions(pool)
    assert found.masks.all()
    np.testing.assert_allclose(found.energy.sum(), pool.layout.size * 1e-40, rtol=1e-3)


class Scaled(Update):
    """Expert m makes the network 1 + m/8 times as large."""

    def build(self, backbone: nn.Module, pretrained: Tensor, layout: Layout, experts: int) -> None:
        self.factors = nn.Parameter(torch.arange(experts) / 8)

    def merge(self, pretrained: Tensor, weights: Tensor, uniform: object = None) -> Merged:
        return Merged.dense(pretrained * (1 + weights @ self.factors), weights)


def test_an_update_of_ones_own() -> None:
    pool = tiny_pool(experts=3, update=Scaled())
    found = read_contributions(pool)
    check(pool, found, torch.arange(3)[:, None] / 8 * pool.pretrained)
    assert found.masks.any(1).tolist() == [False, True, True]


def test_a_pool_without_experts_is_refused() -> None:
    pool = SparseInterpolatedExperts(tiny_pool().backbone, PoolConfig(experts=0, method="pretrained"))
    with pytest.raises(ConfigError, match=r"'pretrained' has no experts.*nothing to analyse"):
        read_contributions(pool)
