"""The pool as a whole: what it merges, what it lists, and that its numbers exist once."""

import copy

import pytest
import torch
from torch import Tensor, nn

from formulas import cosine_logits, query_logits
from small_pools import random_episode, vit_pool
from smat import backbones
from smat.errors import ConfigError, DataError
from smat.experts import PoolConfig, SparseInterpolatedExperts, TemperatureSchedule, class_prototypes
from smat.heads import specialise
from smat.metatuning.objective import ObjectiveConfig, train_task
from smat.rng import seeded_torch


class Convolutional(nn.Module):
    """A network with batch norm, in which statistics would move if it were ever in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.convolution(images))).mean((2, 3))


def weights_of(pool: SparseInterpolatedExperts) -> Tensor:
    experts = pool.config.experts
    return torch.linspace(1, 2, experts, dtype=pool.pretrained.dtype) / torch.linspace(1, 2, experts).sum()


@pytest.mark.parametrize("structure", ["parameter", "input", "head"])
def test_merge_is_the_weighted_sum_of_gated_updates(structure: str) -> None:
    if structure == "head":
        with pytest.raises(ConfigError, match="attention heads"):
            vit_pool(structure=structure)
        return
    pool = vit_pool(structure=structure)
    z, weights = pool.gates(), weights_of(pool)
    merged = pool.merge(weights)
    assert torch.allclose(merged.vector, pool.pretrained + (weights @ z) * pool.update.delta, rtol=0, atol=1e-12)
    assert torch.allclose(merged.sparsity, (z == 0).double().mean(1), rtol=0, atol=1e-12)
    assert 0.02 < merged.sparsity.min() < merged.sparsity.max() < 0.98
    gates = pool.layout.size if structure == "parameter" else pool.update.gate_logits.shape[1]
    assert pool.update.gate_logits.shape == (3, gates)
    assert (gates < pool.layout.size) == (structure == "input")


def test_a_new_pool_is_the_pretrained_network_exactly() -> None:
    pool = vit_pool(torch.float32)
    nn.init.zeros_(pool.update.delta)
    assert torch.equal(pool.merge(weights_of(pool)).vector, pool.pretrained)
    episode = random_episode(dtype=torch.float32)
    features = pool.network(pool.merge(weights_of(pool)).vector)(episode.query)
    assert torch.equal(features, pool.backbone(episode.query))


def test_without_experts_it_is_the_pretrained_network() -> None:
    pool, episode = vit_pool(experts=0), random_episode()
    assert not list(pool.parameters())
    weights, logits = pool.route(torch.zeros(3, 16, dtype=torch.float64))
    assert len(weights) == len(logits) == 0
    assert torch.equal(pool.merge(weights).vector, pool.pretrained)
    model = specialise(pool, episode.support, episode.support_labels)
    prototypes = class_prototypes(pool.backbone(episode.support), episode.support_labels, episode.way)
    expected = cosine_logits(pool.backbone(episode.query), prototypes)
    assert torch.allclose(model(episode.query), expected, rtol=0, atol=1e-12)


def test_a_lone_expert_has_weight_one() -> None:
    pool, episode = vit_pool(experts=1), random_episode()
    model = specialise(pool, episode.support, episode.support_labels)
    assert model.merge_weights.tolist() == [1]
    expected = pool.pretrained + pool.gates()[0] * pool.update.delta
    assert torch.allclose(torch.cat([p.flatten() for p in model.backbone.parameters()]), expected, rtol=0, atol=1e-12)


def test_a_specialised_model_is_the_functional_path() -> None:
    pool, episode = vit_pool().eval(), random_episode()
    model = specialise(pool, episode.support, episode.support_labels)
    classified = query_logits(pool, episode.support, episode.support_labels, episode.query)
    assert torch.allclose(model(episode.query), classified, rtol=0, atol=1e-12)
    weights, _ = pool.route(class_prototypes(pool.backbone(episode.support), episode.support_labels, episode.way))
    network = pool.network(pool.merge(weights).vector)
    prototypes = class_prototypes(network(episode.support), episode.support_labels, episode.way)
    assert torch.allclose(classified, cosine_logits(network(episode.query), prototypes), rtol=0, atol=1e-12)
    assert not torch.allclose(network(episode.query), pool.backbone(episode.query), atol=1e-3)


def test_a_specialised_model_is_independent_of_the_pool() -> None:
    pool, episode = vit_pool().eval(), random_episode()
    model = specialise(pool, episode.support, episode.support_labels)
    before, own = pool.pretrained.clone(), model(episode.query).detach()
    with torch.no_grad():
        pool.pretrained.add_(1)
        pool.update.delta.add_(1)
    assert torch.equal(model(episode.query), own)
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.requires_grad
            parameter.zero_()
    assert torch.equal(pool.pretrained, before + 1)
    assert not any("delta" in name or "gate" in name for name in model.state_dict())


@pytest.mark.parametrize("labels", [[0, 0, 2, 2, 3, 3], [-1, -1, 0, 0, 1, 1]])
def test_labels_with_gaps_are_refused(labels: list[int]) -> None:
    pool, episode = vit_pool(), random_episode()
    with pytest.raises(DataError, match="support labels must be 0, 1"):
        specialise(pool, episode.support, torch.tensor(labels))


def backbone_shares_memory(pool: SparseInterpolatedExperts) -> bool:
    return all(
        parameter.data_ptr() == pool.pretrained[where].data_ptr() and parameter.dtype == pool.pretrained.dtype
        for parameter, where in zip(pool.backbone.parameters(), pool.layout.slices.values(), strict=True)
    )


def test_the_pretrained_parameters_exist_once_wherever_the_pool_goes() -> None:
    pool = vit_pool(torch.float32)
    assert backbone_shares_memory(pool)
    pool.to(torch.float64)
    assert backbone_shares_memory(pool)
    pool.load_state_dict(vit_pool().state_dict())
    assert backbone_shares_memory(pool)
    with torch.no_grad():
        pool.pretrained.zero_()
    assert all((p == 0).all() for p in pool.backbone.parameters())


def test_only_what_is_tuned_is_a_parameter() -> None:
    pool = vit_pool()
    names = {n for n, _ in pool.named_parameters()}
    router = {f"router.{n}" for n, _ in pool.router.named_parameters()}
    assert names == {"update.delta", "update.gate_logits"} | router
    buffers = {f"router.{n}" for n, _ in pool.router.named_buffers()}
    assert set(pool.state_dict()) == names | buffers | {"pretrained", "tasks_seen"}
    assert "gate_index" not in vit_pool(structure="input").state_dict()


def test_gate_logits_are_kept_where_gates_can_open_again() -> None:
    pool = vit_pool(logit_range=(-1.0, 2.0))
    pool.update.after_step()
    assert pool.update.gate_logits.min() == -1
    assert pool.update.gate_logits.max() == 2


def test_temperature_falls_linearly_with_tasks_and_then_stays() -> None:
    pool = vit_pool(temperature=TemperatureSchedule(5.0, 0.5, 100))
    seen = []
    for tasks in (0, 50, 100, 5000):
        pool.tasks_seen.fill_(tasks)
        seen.append(pool.temperature)
    assert seen == pytest.approx([5.0, 2.75, 0.5, 0.5])


@pytest.mark.parametrize("arguments", [(0.5, 5.0, 10), (5.0, 0.0, 10), (5.0, 0.5, 0)])
def test_impossible_temperatures_are_refused(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(ConfigError, match=r"pool\.temperature\.|start >= end > 0"):
        TemperatureSchedule(*arguments)


def test_a_negative_number_of_experts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pool.experts is -1"):
        PoolConfig(experts=-1)


def test_gates_have_one_temperature_in_training_and_evaluation_by_default() -> None:
    default, official = vit_pool(), vit_pool(evaluation_beta=1.0)
    assert torch.equal(default.train().gates(), default.eval().gates())
    trained, evaluated = official.train().gates(), official.eval().gates()
    assert torch.equal(trained, default.gates())
    assert not torch.equal(trained, evaluated)


def test_random_gates_follow_the_given_noise() -> None:
    pool = vit_pool()
    u = torch.rand(3, pool.layout.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    merged = pool.merge(weights_of(pool), lambda start, stop: u[:, start:stop])
    z = pool.gates(lambda start, stop: u[:, start:stop])
    assert torch.allclose(
        merged.vector, pool.pretrained + (weights_of(pool) @ z) * pool.update.delta, rtol=0, atol=1e-12
    )
    assert not torch.allclose(merged.sparsity, pool.merge(weights_of(pool)).sparsity, atol=1e-3)
    assert torch.allclose(merged.sparsity, 1 - merged.expected_density, atol=0.03), "shares are as expected"


def test_batch_norm_keeps_its_statistics_through_training() -> None:
    with seeded_torch(0, "batch norm"):
        backbone = backbones.load(Convolutional(), image_size=8)
        pool = SparseInterpolatedExperts(backbone, PoolConfig(experts=2)).train()
    nn.init.normal_(pool.update.delta, std=0.01)
    before = copy.deepcopy(dict(backbone.named_buffers()))
    multipliers, episode = nn.Parameter(torch.ones(2)), random_episode(dtype=torch.float32)
    first = backbone(episode.query)
    train_task(pool, multipliers, episode, ObjectiveConfig(), target_sparsity=0.5)
    assert before
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
    assert torch.equal(backbone(episode.query), first)
    norm = pool.layout.slices["network.norm.weight"]
    assert (pool.update.delta.grad[norm] != 0).any(), "its scale is tuned like everything else"
