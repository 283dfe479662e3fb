"""Fine-tuning of merge weights block by block, and of the parameters behind open gates."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from small_pools import random_episode, vit_pool
from smat.adaptation import (
    ExpertTuner,
    FineTuneConfig,
    FineTuner,
    FineTuning,
    FullTuning,
    GateTuning,
    Kind,
    WeightTuning,
    cross_validated_lr,
    make_tuner,
)
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts, block_of
from smat.heads import TaskModel, specialise
from smat.plugins import describe, restore

KINDS: list[Kind] = ["weights", "gates"]
EPISODE = random_episode(dtype=torch.float64)
SUPPORT = (EPISODE.support, EPISODE.support_labels)


def merged(pool: SparseInterpolatedExperts) -> TaskModel:
    return specialise(pool.eval(), *SUPPORT)


def tuning(
    pool: SparseInterpolatedExperts | None, tuner: Kind | FineTuner, steps: int = 3, **config: Any
) -> FineTuning:
    return FineTuning(*SUPPORT, make_tuner(tuner), FineTuneConfig(steps, **config), pool=pool)


def vector(model: TaskModel) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.backbone.parameters()])


def updates(pool: SparseInterpolatedExperts) -> Tensor:
    """What each expert adds, from its gates."""
    return pool.gates() * pool.update.delta.detach()  # type: ignore[operator]


@pytest.mark.parametrize(
    "settings", [{}, {"gating": "open", "separate_deltas": True}, {"gating": "open", "experts": 1}]
)
def test_equal_differences_in_all_blocks_are_the_plain_merge(settings: dict[str, Any]) -> None:
    pool = vit_pool(**settings).eval()
    model = merged(pool)
    finish = WeightTuning().prepare_merged(model.backbone, pool, model.merge_weights, FineTuneConfig(), 0)
    tuned = [p for p in model.backbone.parameters() if p.requires_grad]
    blocks = dict.fromkeys(block_of(pool.layout).values())
    assert [p.shape for p in tuned] == [model.merge_weights.shape] * len(blocks)
    change = torch.linspace(-0.5, 0.7, len(model.merge_weights), dtype=torch.float64)
    with torch.no_grad():
        for parameter in tuned:
            parameter.copy_(change)
    finish()
    torch.testing.assert_close(vector(model), pool.merged_vector(model.merge_weights + change))


def test_each_block_moves_along_its_experts_updates_alone() -> None:
    pool = vit_pool().eval()
    model = merged(pool)
    adapted = tuning(pool, "weights", steps=5).adapt(model, 1e-1)
    blocks = block_of(pool.layout)
    found = {}
    for block in dict.fromkeys(blocks.values()):
        inside = torch.cat(
            [torch.full((size,), blocks[name] == block) for name, size in zip(blocks, pool.layout.sizes, strict=True)]
        )
        directions, moved = updates(pool)[:, inside].T, (vector(adapted) - vector(model))[inside]
        found[block] = torch.linalg.lstsq(directions, moved[:, None]).solution
        torch.testing.assert_close(directions @ found[block], moved[:, None], rtol=0, atol=1e-12)
    assert len(found) > 2
    assert all(bool(change.abs().min() > 1e-3) for change in found.values())
    assert not torch.allclose(*list(found.values())[:2])
    assert adapted.tuned == 3 * len(found)


def test_gates_tune_what_is_open_and_nothing_else() -> None:
    pool = vit_pool().eval()
    model = merged(pool)
    adapted = tuning(pool, "gates").adapt(model, 1e-2)
    gates = pool.gates()
    assert gates is not None
    is_open = (gates > 0).any(0)
    assert 0 < is_open.sum() < is_open.numel()
    assert torch.equal(vector(adapted) != vector(model), is_open)
    assert adapted.tuned == int(is_open.sum())


def test_an_expert_without_weight_opens_nothing() -> None:
    pool = vit_pool().eval()
    model = merged(pool)
    model.merge_weights.copy_(torch.tensor([0.0, 1.0, 0.0]))
    adapted = tuning(pool, "gates").adapt(model, 1e-2)
    gates = pool.gates()
    assert gates is not None
    assert torch.equal(vector(adapted) != vector(model), gates[1] > 0)


def test_gates_that_are_all_open_are_full_fine_tuning() -> None:
    pool = vit_pool().eval()
    pool.update.gate_logits.data.fill_(1.0)  # type: ignore[union-attr]
    model = merged(pool)
    by_gates, full = (tuning(pool, kind).adapt(model, 1e-3) for kind in ("gates", "full"))
    assert torch.equal(vector(by_gates), vector(full))
    assert by_gates.tuned == full.tuned == pool.layout.size
    part = vit_pool().eval()
    part.load_state_dict(pool.state_dict())
    part.update.gate_logits.data[:, 0] = -9.0  # type: ignore[union-attr]
    almost = tuning(part, "gates").adapt(model, 1e-3)
    torch.testing.assert_close(vector(almost)[1:], vector(full)[1:], rtol=0, atol=1e-3)
    assert almost.tuned == pool.layout.size - 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_rate_or_steps_the_network_is_the_routers(kind: Kind) -> None:
    pool = vit_pool().eval()
    model = merged(pool)
    for steps, lr in ((0, 1e-2), (3, 0.0)):
        adapted = tuning(pool, kind, steps).adapt(model, lr)
        assert torch.equal(vector(adapted), pool.merged_vector(model.merge_weights))
    prepared = copy.deepcopy(model)
    make_tuner(kind).prepare_merged(prepared.backbone, pool, model.merge_weights, FineTuneConfig(), 0)()
    assert torch.equal(vector(prepared), vector(model))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode])
def test_the_result_is_a_plain_network_that_knows_nothing_of_the_pool(kind: Kind, within: Any) -> None:
    pool = vit_pool(torch.float32)
    images, labels = EPISODE.support.float(), EPISODE.support_labels
    with within():
        model = specialise(pool.eval(), images + 0, labels)
        pool.train()
        before = {name: value.clone() for name, value in pool.state_dict().items()}
        adapted = FineTuning(images + 0, labels, make_tuner(kind), FineTuneConfig(2), pool=pool).adapt(model, 1e-2)
    assert pool.training
    assert all(torch.equal(value, before[name]) for name, value in pool.state_dict().items())
    assert [name for name, _ in adapted.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert {type(m) for m in adapted.modules()} == {type(m) for m in model.modules()}
    assert all(p.requires_grad and p.grad is None for p in adapted.backbone.parameters())
    kept = pickle.dumps(adapted)
    assert len(kept) < 1.1 * len(pickle.dumps(model))
    again = pickle.loads(kept)
    with torch.no_grad():
        assert torch.equal(again(images), adapted(images))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_bf16_come_to_the_same(kind: Kind) -> None:
    pool = vit_pool().eval()
    model = merged(pool)
    whole, parts = (tuning(pool, kind, batch_size=size).adapt(model, 1e-3) for size in (None, 5))
    torch.testing.assert_close(vector(parts), vector(whole), rtol=0, atol=1e-8)
    low = vit_pool(torch.float32).eval()
    images, labels = EPISODE.support.float(), EPISODE.support_labels
    exact, mixed = (
        FineTuning(images, labels, make_tuner(kind), FineTuneConfig(3), 0, precision, low).adapt(
            specialise(low, images, labels), 1e-3
        )
        for precision in ("32-true", "bf16-mixed")
    )
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    torch.testing.assert_close(vector(mixed), vector(exact), rtol=0, atol=1e-2)


def test_the_support_set_chooses_a_rate_for_them_too() -> None:
    pool = vit_pool().eval()
    chosen = cross_validated_lr(tuning(pool, "weights", 1, grid=(0.0, 1e-3), folds=2), merged(pool))
    assert chosen in (0.0, 1e-2)


def test_networks_without_what_they_need_are_refused() -> None:
    plain, pmf = vit_pool(experts=0), vit_pool(experts=1, gating="open")
    separate = vit_pool(gating="open", separate_deltas=True)
    for kind in KINDS:
        for pool in (plain, None):
            with pytest.raises(ConfigError, match=rf"by {kind} needs experts, and '.*' is a backbone without"):
                tuning(pool, kind).adapt(merged(vit_pool()), 1e-3)
        with pytest.raises(ConfigError, match="needs experts"):
            make_tuner(kind).prepare(plain.backbone, FineTuneConfig(), 0)
    for pool in (pmf, separate):
        with pytest.raises(ConfigError, match=r"has no gates that could be closed: .* \(--adapt full\)"):
            make_tuner("gates").check_pool(pool)
        make_tuner("weights").check_pool(pool)
    make_tuner("gates").check_pool(vit_pool(gating="attention", separate_deltas=True))


def test_names_stand_for_classes_and_settings_can_be_written_down() -> None:
    assert (make_tuner("weights"), make_tuner("gates")) == (WeightTuning(), GateTuning())
    assert all(restore(describe(make_tuner(kind)), FineTuner) == make_tuner(kind) for kind in KINDS)
    assert WeightTuning().learning_rates(FineTuneConfig(grid=(0.0, 1e-3))) == [0.0, 1e-2]
    assert issubclass(WeightTuning, ExpertTuner)
    assert not isinstance(FullTuning(), ExpertTuner)
