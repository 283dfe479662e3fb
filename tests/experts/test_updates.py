"""Updates and routers of one's own: tuned, kept in a checkpoint, and loaded only where that is allowed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from small_pools import vit_pool
from smat.errors import CheckpointError, ConfigError
from smat.experts import (
    LearnedGates,
    Merged,
    NoUpdate,
    OfficialGates,
    PoolConfig,
    Router,
    SeparateUpdates,
    SharedUpdate,
    SparseInterpolatedExperts,
    TransformerRouter,
    Update,
)
from smat.metatuning import GroupConfig, MetaOptimizer, OptimizerConfig
from tiny import tiny_pool, tiny_tuner


class Scales(Update):
    """Each expert scales the network's parameters, tensor by tensor."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength

    def build(self, backbone: nn.Module, pretrained: Tensor, layout: object, experts: int) -> None:
        self.sizes = torch.tensor(layout.sizes)  # type: ignore[attr-defined]
        self.scale = nn.Parameter(torch.zeros(experts, len(self.sizes)))

    def merge(self, pretrained: Tensor, weights: Tensor, uniform: object = None) -> Merged:
        factors = 1 + self.strength * (weights @ self.scale).repeat_interleave(self.sizes)
        return Merged.dense(pretrained * factors, weights)


class Shares(Router):
    """The same learned logits for every task."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.start = start

    def build(self, dim: int, experts: int) -> None:
        self.logits = nn.Parameter(torch.full((experts,), self.start))

    def forward(self, prototypes: Tensor) -> Tensor:
        return self.logits


def own_pool(strength: float = 0.5) -> SparseInterpolatedExperts:
    return tiny_pool(update=Scales(strength), routing=Shares(1.0))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, LearnedGates),
        ({"experts": 0}, NoUpdate),
        ({"experts": 0, "update": Scales()}, NoUpdate),
        ({"separate_deltas": True, "gating": "open"}, SeparateUpdates),
        ({"gating": "random"}, SharedUpdate),
        ({"gating": "bias", "separate_deltas": True}, SeparateUpdates),
        ({"count_head": True}, OfficialGates),
        ({"evaluation_beta": 1.0}, OfficialGates),
        ({"update": Scales()}, Scales),
    ],
)
def test_settings_make_one_kind_of_update(settings: dict[str, object], kind: type) -> None:
    assert type(tiny_pool(**settings).update) is kind


def test_pools_do_not_share_what_one_setting_describes() -> None:
    config = PoolConfig(experts=2, update=Scales(), routing=Shares())
    first, second = (tiny_pool(**{"update": config.update, "routing": config.routing}) for _ in range(2))
    assert first.update is not second.update
    assert first.update is not config.update
    assert not list(config.update.parameters()), "what describes a pool has no parameters"  # type: ignore[union-attr]


def test_an_own_update_and_router_are_tuned_resumed_and_kept(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path / "run", own_pool(), target_sparsity=None)
    tuner.run()
    assert tuner.pool.update.scale.abs().max() > 0
    again = tiny_tuner(tmp_path / "run", own_pool(), target_sparsity=None)
    again.resume()
    assert torch.equal(again.pool.update.scale, tuner.pool.update.scale)


def test_a_checkpoint_with_code_of_ones_own_is_loaded_where_it_is_allowed(tmp_path: Path) -> None:
    pool = own_pool().eval()
    nn.init.normal_(pool.update.scale)
    pool.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{__name__}\.Scales, code outside smat.*--allow-import {__name__}"):
        SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=tiny_pool().backbone)
    allowed = [__name__]
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=tiny_pool().backbone, allow_imports=allowed)
    assert again.update.strength == 0.5
    assert isinstance(again.router, Shares)
    assert again.fingerprint() == pool.fingerprint()
    assert set(again.tensors()) == {"pretrained", "tasks_seen", "router.logits", "update.scale"}
    weights = torch.tensor([0.25, 0.75])
    assert torch.equal(again.merged_vector(weights), pool.merged_vector(weights))


def test_fingerprints_tell_settings_of_plugins_apart() -> None:
    assert own_pool(0.5).fingerprint() == own_pool(0.5).fingerprint() != own_pool(0.25).fingerprint()


def test_records_of_pools_without_plugins_are_as_before() -> None:
    plain = PoolConfig()
    assert {"update", "routing"}.isdisjoint(plain.to_dict())
    assert "update" not in repr(plain)
    assert PoolConfig.from_dict(plain.to_dict()) == plain
    with pytest.raises(CheckpointError, match=r"pool\.later is not known.*a newer smat"):
        PoolConfig.from_dict(plain.to_dict() | {"later": 1})


def test_unknown_optimizer_groups_are_named() -> None:
    class Grouped(Scales):
        def trainable(self) -> dict[str, list[nn.Parameter]]:
            return {"scales": [self.scale]}

    pool = tiny_pool(update=Grouped())
    with pytest.raises(
        ConfigError, match=r"Grouped.trainable\(\) names groups \['scales'\]; the groups are delta and gates"
    ):
        MetaOptimizer(pool, nn.Parameter(torch.zeros(2)), OptimizerConfig(delta=GroupConfig("sgd", 1e-4)))


def test_a_constraint_needs_gates(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Scales .* has no gates to learn: set tuning.target_sparsity to null"):
        tiny_tuner(tmp_path, own_pool())


def test_merged_gates_are_the_sum_of_the_experts_gates_where_gates_can_be_closed() -> None:
    weights = torch.tensor([0.5, 0.0, 0.2], dtype=torch.float64)
    for settings in (
        {},
        {"structure": "output"},
        {"gating": "attention", "separate_deltas": True},
        {"evaluation_beta": 1.0},
    ):
        pool = vit_pool(**settings).eval()
        gates, found = pool.gates(), pool.update.merged_gates(weights)
        assert gates is not None
        assert found is not None
        assert (gates == 0).any()
        torch.testing.assert_close(found, weights @ gates)
    assert own_pool().update.merged_gates(weights) is None
    for settings in ({"gating": "open"}, {"gating": "open", "separate_deltas": True}):
        assert vit_pool(**settings).update.merged_gates(weights) is None
    assert vit_pool(experts=0).update.merged_gates(weights[:0]) is None


def test_the_usual_router_is_the_papers() -> None:
    assert type(tiny_pool().router) is TransformerRouter
