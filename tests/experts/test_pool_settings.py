"""What a pool's settings do: configuration, structured gates, and what the authors' code does otherwise."""

import copy
import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor, nn
from transformers import ViTConfig

from formulas import query_logits
from small_pools import random_episode
from smat import backbones
from smat.backbones import BackboneSpec
from smat.errors import DataError
from smat.experts import (
    HardConcrete,
    Hardening,
    PoolConfig,
    RouterConfig,
    SparseInterpolatedExperts,
    Structure,
    TemperatureSchedule,
    gate,
)
from smat.heads import specialise
from smat.metatuning import ObjectiveConfig, train_task
from smat.rng import seeded_torch
from tiny import IMAGE_SIZE, TinyNetwork, tiny_pool

WAY, HALVES = 3, torch.tensor([0.5, 0.5])
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2])


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(seed))


def tuned(pool: SparseInterpolatedExperts) -> SparseInterpolatedExperts:
    """A pool that has moved away from its start, so that experts and routing show."""
    with torch.no_grad():
        for number, parameter in enumerate(pool.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return pool


def storages(tensors: dict[str, Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}


def transformers_pool(structure: Structure) -> SparseInterpolatedExperts:
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=IMAGE_SIZE,
        patch_size=8,
    )
    third = (1 / 3, 1 / 3, 1 / 3)
    spec = BackboneSpec("transformers", "tiny", config.to_dict(), IMAGE_SIZE, third, third, "cls")
    with seeded_torch(0, "vit"):
        return SparseInterpolatedExperts(backbones.build(spec), PoolConfig(experts=2, structure=structure))


@pytest.mark.parametrize("structure", ["input", "output", "head", "layer"])
def test_parameters_of_a_structured_gate_open_and_close_together(structure: Structure) -> None:
    pool = tuned(transformers_pool(structure))
    assert pool.update.gate_index is not None
    assert pool.update.gate_logits.shape[1] == int(pool.update.gate_index.max()) + 1 < pool.layout.size
    logits = torch.where(torch.arange(pool.update.gate_logits.shape[1]) % 2 == 0, 4.0, -4.0)
    with torch.no_grad():
        pool.update.gate_logits.copy_(logits.expand(2, -1))
    merged, opened = pool.merge(HALVES), pool.update.gate_index % 2 == 0
    torch.testing.assert_close(merged.vector[opened], (pool.pretrained + pool.update.delta)[opened])
    assert torch.equal(merged.vector[~opened], pool.pretrained[~opened])
    torch.testing.assert_close(merged.sparsity, (~opened).float().mean().expand(2))
    assert torch.equal(pool.gates()[0], opened.float())


@pytest.mark.parametrize("structure", ["input", "output", "head", "layer"])
def test_structured_pools_are_tuned_and_used_like_others(structure: Structure) -> None:
    pool = tuned(transformers_pool(structure)).train()
    episode = random_episode(WAY, size=IMAGE_SIZE, dtype=torch.float32)
    train_task(pool, nn.Parameter(torch.ones(2)), episode, ObjectiveConfig(), target_sparsity=0.5)
    for name in ("delta", "gate_logits"):
        gradient = pool.update.get_parameter(name).grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()
    pool.eval()
    expected = query_logits(pool, images(7), LABELS, images(5, 1))
    torch.testing.assert_close(
        specialise(pool, images(7), LABELS)(images(5, 1)).detach(), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("structure", ["parameter", "input"])
def test_a_pool_computes_the_same_in_another_precision(structure: Structure) -> None:
    pool = tuned(tiny_pool(structure=structure)).eval()
    pool.tasks_seen.fill_(5)
    expected = query_logits(pool, images(7), LABELS, images(5, 1))
    assert pool.to(torch.float64) is pool
    assert int(pool.tasks_seen) == 5
    assert pool.update.gate_index is None or pool.update.gate_index.dtype == torch.long
    got = query_logits(pool, images(7).double(), LABELS, images(5, 1).double())
    assert got.dtype == torch.float64
    torch.testing.assert_close(got.float(), expected, rtol=1e-4, atol=1e-4)


def test_known_features_of_the_support_change_nothing() -> None:
    pool = tuned(tiny_pool()).eval()
    support, query = images(7), images(5, 1)
    expected = query_logits(pool, support, LABELS, query)
    frozen = pool.backbone(support)
    torch.testing.assert_close(query_logits(pool, support, LABELS, query, frozen=frozen), expected)
    assert not torch.allclose(query_logits(pool, support, LABELS, query, frozen=frozen.flip(0)), expected)


@pytest.mark.parametrize("labels", [[1, 1], []])
def test_labels_without_a_first_class_are_refused(labels: list[int]) -> None:
    given = torch.tensor(labels, dtype=torch.long)
    found = r"got \[1\]" if labels else "got none"
    with pytest.raises(DataError, match=found):
        specialise(tiny_pool(), images(len(labels)), given)
    with pytest.raises(DataError, match=found):
        query_logits(tiny_pool(), images(len(labels)), given, images(1))


@pytest.mark.parametrize("experts", [0, 2])
def test_a_specialised_model_shares_no_memory_and_leaves_no_gradients_in_the_pool(experts: int) -> None:
    class Normed(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.norm.running_mean = torch.tensor([0.5, -0.5, 0.1])

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(self.norm(images))

    with seeded_torch(0, "normed"):
        backbone = backbones.load(Normed(), image_size=IMAGE_SIZE)
        pool = tuned(SparseInterpolatedExperts(backbone, PoolConfig(experts=experts))).eval()
    model = specialise(pool, images(7), LABELS)
    assert not storages(model.state_dict()) & (storages(pool.state_dict()) | storages(pool.backbone.state_dict()))
    assert model.get_buffer("backbone.network.norm.running_mean").tolist() == pytest.approx([0.5, -0.5, 0.1])
    assert {name for name, _ in model.named_parameters()} == {f"backbone.{name}" for name in pool.layout.names}
    model(images(4)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in [*pool.parameters(), *pool.backbone.parameters()])


def test_the_evaluation_temperature_is_for_evaluation_and_not_for_the_expected_density() -> None:
    pool, plain = tuned(tiny_pool(evaluation_beta=1.0)), tuned(tiny_pool())
    training, reference = pool.train().merge(HALVES), plain.train().merge(HALVES)
    assert pool.update.gate_distribution == plain.update.gate_distribution == HardConcrete()
    assert torch.equal(training.vector, reference.vector)
    evaluated = pool.eval().merge(HALVES)
    assert pool.update.gate_distribution == HardConcrete(beta=1.0)
    z = gate(pool.update.gate_logits.detach(), HardConcrete(beta=1.0))
    torch.testing.assert_close(evaluated.vector.detach(), (pool.pretrained + HALVES @ z * pool.update.delta).detach())
    assert not torch.equal(evaluated.vector, training.vector)
    assert torch.equal(evaluated.expected_density, training.expected_density)
    assert torch.equal(plain.eval().merge(HALVES).vector, reference.vector)


def test_routing_follows_the_temperature_of_the_tasks_seen() -> None:
    pool = tuned(tiny_pool(temperature=TemperatureSchedule(4.0, 1.0, 10)))
    prototypes = torch.randn(WAY, 16, generator=torch.Generator().manual_seed(0))
    for seen, temperature in ((0, 4.0), (5, 2.5), (10, 1.0), (99, 1.0)):
        pool.tasks_seen.fill_(seen)
        weights, logits = pool.route(prototypes)
        scores = torch.sigmoid(logits / temperature)
        torch.testing.assert_close(weights, scores / scores.sum())


def test_gate_logits_start_as_configured_and_the_update_at_nothing() -> None:
    pool = tiny_pool(init_mean=1.0, init_std=0.25)
    logits = pool.update.gate_logits.detach()
    assert float(logits.mean()) == pytest.approx(1.0, abs=4 * 0.25 / logits.numel() ** 0.5)
    assert float(logits.std()) == pytest.approx(0.25, rel=0.1)
    assert pool.update.delta.abs().max() == 0


def test_gate_logits_of_the_counted_head_are_bounded_too_and_nothing_else_is() -> None:
    pool = tiny_pool(logit_range=(-1.0, 2.0), count_head=True, init_std=5.0)
    for logits in pool.update.trainable().get("gates", []):
        assert (float(logits.detach().min()), float(logits.detach().max())) == (-1.0, 2.0)
    with torch.no_grad():
        pool.update.gate_logits[0], pool.update.gate_logits[1] = 9, 0.5
        pool.update.head_logits.fill_(-9)
        pool.update.delta.fill_(9)
    pool.update.after_step()
    assert pool.update.gate_logits.detach().unique().tolist() == [0.5, 2.0]
    assert pool.update.head_logits.detach().unique().tolist() == [-1.0]
    assert pool.update.delta.detach().unique().tolist() == [9.0]


@pytest.mark.parametrize(
    "config",
    [
        PoolConfig(),
        PoolConfig().official(),
        PoolConfig(
            experts=3,
            structure="head",
            gates=HardConcrete(0.5, -0.2, 1.3),
            logit_range=(-1.0, 1.5),
            router=RouterConfig(tokens=2, heads=2, mlp_ratio=3),
            temperature=TemperatureSchedule(2.0, 1.0, 5),
            random_gates=True,
        ),
    ],
    ids=["default", "official", "own"],
)
def test_a_configuration_survives_json(config: PoolConfig) -> None:
    assert PoolConfig.from_dict(asdict(config)) == config
    assert PoolConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


def test_official_settings_change_what_the_authors_code_does_otherwise_and_nothing_else() -> None:
    config = PoolConfig(experts=3, structure="input", router=RouterConfig(tokens=7))
    official = config.official()
    assert official.evaluation_beta == 1.0
    assert official.count_head
    assert official.router == RouterConfig(tokens=7, readout="first-class", normalise_single=False)
    assert replace(official, evaluation_beta=None, count_head=False, router=config.router) == config
    assert official.official() == official
    assert replace(config, hardening=Hardening(), estimator="straight-through").official() == official


def test_an_unused_head_is_counted_and_changes_no_network() -> None:
    with_head, plain = tuned(tiny_pool(count_head=True, init_mean=-1.5)), tuned(tiny_pool(init_mean=-1.5))
    assert {name for name, _ in with_head.named_parameters()} - {name for name, _ in plain.named_parameters()} == {
        "update.head_logits"
    }
    with torch.no_grad():
        with_head.update.gate_logits.copy_(plain.update.gate_logits)
        with_head.update.delta.copy_(plain.update.delta)
        with_head.update.head_logits.fill_(0.3)
    size, extra = plain.layout.size, 16
    ours, without = with_head.merge(HALVES), plain.merge(HALVES)
    assert torch.equal(ours.vector, without.vector)
    probability = torch.sigmoid(torch.tensor(0.3 - HardConcrete().density_shift))
    density = (without.expected_density * size + probability * extra) / (size + extra)
    torch.testing.assert_close(ours.expected_density, density)
    # each expert's count of open gates has the heads of both experts, and only one head in the total
    torch.testing.assert_close(ours.sparsity, (without.sparsity * size - extra) / (size + extra))


def test_a_deep_copy_has_one_set_of_weights_too() -> None:
    twin = copy.deepcopy(tiny_pool())
    owner = twin.pretrained.untyped_storage().data_ptr()
    assert {p.untyped_storage().data_ptr() for p in twin.backbone.parameters()} == {owner}
