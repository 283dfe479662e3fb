"""Budgets of open gates: one per expert, per block, or for the pool; and masks that gradients choose."""

from pathlib import Path

import pytest
import torch

from small_pools import vit_pool
from smat.errors import ConfigError
from smat.experts import Merged, block_of
from smat.metatuning import GroupConfig, ObjectiveConfig, OptimizerConfig
from smat.metatuning.constraint import lagrangian, targets
from smat.metatuning.masks import TASKS
from tiny import tiny_pool, tiny_tuner

DENSITY = torch.tensor([[0.5, 0.1], [0.3, 0.7]])


def merged() -> Merged:
    density = DENSITY.clone().requires_grad_()
    return Merged(torch.zeros(4), density.mean(1), 1 - DENSITY.mean(1), (density, 1 - DENSITY))


def test_a_budget_of_the_pool_is_that_of_the_mean() -> None:
    multipliers = torch.nn.Parameter(torch.tensor([2.0]))
    terms = lagrangian(merged(), multipliers, [0.5, 0.9], budget="pool")
    assert float(terms.descent) == pytest.approx(2 * (0.4 - 0.3))
    assert float(terms.ascent.detach()) == pytest.approx(2 * (0.6 - 0.7))


def test_every_block_can_have_its_budget() -> None:
    multipliers = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    terms = lagrangian(merged(), multipliers, [0.6, 0.8], budget="block")
    assert multipliers.tolist() == pytest.approx([1, 0, 3, 4]), "the second block of the first expert is sparse enough"
    expected = 1 * (0.5 - 0.4) + 3 * (0.3 - 0.2) + 4 * (0.7 - 0.2)
    assert float(terms.descent) == pytest.approx(expected)


def test_targets_of_budgets() -> None:
    assert targets(0.9, "expert", 2, 2) == [0.9, 0.9]
    assert targets([0.5, 0.9], "block", 2, 6) == [0.5] * 3 + [0.9] * 3
    assert targets([0.5, 0.9], "pool", 2, 1) == [0.7]


def test_blocks_are_measured_as_their_gates_are() -> None:
    pool = vit_pool()
    pool.update.measure_blocks()
    found = pool.merge(torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)).by_segment
    assert found is not None
    blocks, start = block_of(pool.layout), 0
    assert sum(pool.update.segments) == pool.layout.size
    assert len(pool.update.segments) == len(set(blocks.values())), "blocks lie together"
    for number, length in enumerate(pool.update.segments):
        closed = (pool.gates()[:, start : start + length] == 0).double().mean(1)
        torch.testing.assert_close(found[1][:, number], closed)
        start += length


@pytest.mark.parametrize("budget", ["pool", "block"])
def test_a_run_reaches_its_budget_and_resumes(tmp_path: Path, budget: str) -> None:
    rates = OptimizerConfig(
        delta=GroupConfig("adamw", 1e-3),
        gates=GroupConfig("sgd", 5e2, scheduled=False),
        multipliers=GroupConfig("sgd", 0.5, scheduled=False),
    )
    settings = {"tasks": 60, "validate_every": 0, "target_sparsity": 0.6, "sparsity_budget": budget}
    tuner = tiny_tuner(tmp_path, optimizers=rates, **settings)
    tuner.run()
    assert float((tuner.pool.gates() == 0).float().mean()) > 0.55
    again = tiny_tuner(tmp_path, optimizers=rates, **settings)
    again.resume()
    assert torch.equal(again.multipliers, tuner.multipliers)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_sparsity": [0.5]}, "has 1 numbers, and pool.experts is 2"),
        ({"sparsity_budget": "pool", "objective": ObjectiveConfig(weigh_constraint=True)}, "weighs experts"),
        ({"sparsity_budget": "block", "pool": {"structure": "layer"}}, "set it to parameter"),
    ],
)
def test_budgets_that_do_not_fit_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    pool = tiny_pool(**settings.pop("pool", {}))
    with pytest.raises(ConfigError, match=message):
        tiny_tuner(tmp_path, pool, **settings)


@pytest.mark.parametrize("gating", ["gradient", "fisher"])
def test_gradients_of_the_first_tasks_choose_a_mask(tmp_path: Path, gating: str) -> None:
    settings = {"gating": gating, "separate_deltas": True, "density": 0.2}
    pool = tiny_pool(**settings)
    before = pool.update.index.clone()
    tuner = tiny_tuner(tmp_path, pool, tasks=4, target_sparsity=None, validate_every=0)
    asked: list[int] = []
    episode = tuner.train_source.episode
    tuner.train_source.episode = lambda n: asked.append(n) or episode(n)
    tuner.run()
    assert asked[:4] == [0, 1, 2, 3], f"no more than {TASKS}, and no more than there are"
    chosen = pool.update.index
    assert not torch.equal(chosen, before)
    assert pool.update.delta.abs().max() > 0
    again = tiny_tuner(tmp_path, tiny_pool(**settings), tasks=8, target_sparsity=None, validate_every=0)
    again.resume()
    assert torch.equal(again.pool.update.index, chosen)
    again.run()
    assert torch.equal(again.pool.update.index, chosen), "they are not chosen again"
