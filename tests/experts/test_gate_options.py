"""Options of learned gates beyond the paper: hardening, straight-through gates, other starts, choices of experts."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from small_pools import random_episode, vit_pool
from smat.experts import (
    GateStart,
    HardConcrete,
    Hardening,
    PoolConfig,
    RouterConfig,
    SparseInterpolatedExperts,
    gate,
    interpolate,
    nonzero_probability,
)
from smat.experts.router import sparsemax
from smat.metatuning import ObjectiveConfig, train_task

HARD = Hardening(share=0.25, beta=0.1)


def test_hard_gates_are_open_where_the_logit_is_positive() -> None:
    logits = torch.tensor([-2.0, -0.01, 0.0, 0.01, 2.0])
    for mode in ("hard", "straight-through"):
        assert gate(logits, HardConcrete(), mode=mode).tolist() == [0, 0, 0, 1, 1]
        assert torch.equal(nonzero_probability(logits, HardConcrete(), mode), logits.sigmoid())


def test_noise_opens_hard_gates_with_the_probability_of_their_logit() -> None:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(20_000, generator=generator)
    opened = gate(torch.full_like(uniform, 0.7), HardConcrete(), uniform, "straight-through").mean()
    assert abs(opened - torch.tensor(0.7).sigmoid()) < 4 * (0.25 / 20_000) ** 0.5


def test_straight_through_gates_have_the_slope_of_soft_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    size, hc = 50, HardConcrete()
    pretrained, slopes = torch.randn(2, size, generator=generator, dtype=torch.float64)
    delta, weights = torch.randn(size, generator=generator, dtype=torch.float64), torch.tensor([0.7, 0.3]).double()
    logits = torch.randn(2, size, generator=generator, dtype=torch.float64)
    leaves = [t.clone().requires_grad_() for t in (delta, logits, weights)]
    merged = interpolate(pretrained, *leaves, hc, mode="straight-through")
    got = torch.autograd.grad((merged.vector * slopes).sum(), leaves)
    soft = [t.clone().requires_grad_() for t in (delta, logits, weights)]
    expected = torch.autograd.grad((interpolate(pretrained, *soft, hc).vector * slopes).sum(), soft)
    z = (logits > 0).double()
    torch.testing.assert_close(merged.vector, pretrained + (weights @ z) * delta)
    torch.testing.assert_close(got[0], slopes * (weights @ z))
    torch.testing.assert_close(got[1], expected[1])  # linear in the merged vector: the same slope wherever it is taken
    torch.testing.assert_close(got[2], z @ (slopes * delta))
    torch.testing.assert_close(merged.sparsity, 1 - z.mean(1))


def test_the_gate_temperature_falls_geometrically_to_where_gates_rest() -> None:
    assert HARD.beta_at(0.0, 0.4) == pytest.approx(0.4)
    assert HARD.beta_at(0.375, 0.4) == pytest.approx(0.2)
    assert HARD.beta_at(0.75, 0.4) == HARD.beta_at(1.0, 0.4) == pytest.approx(0.1)


def test_gates_are_numbers_in_training_until_they_rest_and_0_or_1_outside_of_it() -> None:
    pool = vit_pool(hardening=HARD).train()

    def fractional(progress: float) -> float:
        pool.update.before_step(progress)
        z = pool.gates()
        return float(((z > 0) & (z < 1)).double().mean())

    assert fractional(0.0) > fractional(0.5) > fractional(0.74) > 0
    assert fractional(0.75) == fractional(1.0) == 0
    pool.update.before_step(0.0)
    pool.eval()
    assert set(pool.gates().unique().tolist()) == {0.0, 1.0}


def test_logits_rest_while_gates_are_hard_and_the_update_goes_on() -> None:
    pool = vit_pool(hardening=HARD).train()
    multipliers = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    gradients: list[Tensor | None] = []
    for progress in (0.5, 0.8):
        pool.zero_grad()
        pool.update.before_step(progress)
        train_task(pool, multipliers, random_episode(), ObjectiveConfig(), target_sparsity=0.9)
        gradients.append(pool.update.gate_logits.grad)
        assert pool.update.delta.grad.abs().max() > 0
    assert gradients[0] is not None
    assert gradients[1] is None


def test_a_hardened_pool_comes_back_hard(tmp_path: Path) -> None:
    pool = vit_pool(torch.float32, hardening=HARD).eval()
    pool.save_pretrained(tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=vit_pool(torch.float32).backbone)
    assert again.config.hardening == HARD
    assert torch.equal(again.gates(), pool.gates())
    weights = torch.tensor([0.5, 0.2, 0.3])
    assert torch.equal(again.merged_vector(weights), pool.merged_vector(weights))
    soft = vit_pool(torch.float32).eval()
    soft.load_tensors(pool.tensors(), "itself")
    assert soft.fingerprint() != pool.fingerprint(), "they are other networks"


@pytest.mark.parametrize(("order", "sign"), [("magnitude", 1), ("small-magnitude", -1)])
def test_gates_can_start_in_the_order_of_the_weights(order: str, sign: int) -> None:
    weights = torch.randn(500, generator=torch.Generator().manual_seed(2))
    logits = GateStart(1.0, 0.5, order).draw(2, 500, weights)
    by_size = logits[:, weights.abs().argsort()]
    assert (sign * by_size.diff(dim=1) >= 0).all()
    assert abs(logits.mean() - 1) < 0.1
    assert abs(logits.std() - 0.5) < 0.1
    assert not torch.equal(logits[0], logits[1]), "each expert has draws of its own"


def test_pools_say_of_options_only_what_is_not_usual() -> None:
    options = {"hardening", "estimator", "init_order", "mask_seed"}
    assert options.isdisjoint(PoolConfig().to_dict())
    config = PoolConfig(hardening=HARD, init_order="magnitude")
    assert PoolConfig.from_dict(config.to_dict()) == config


# -- choices of experts ------------------------------------------------------------------------------------------------


def test_sparsemax_is_the_closest_point_of_the_simplex() -> None:
    assert sparsemax(torch.tensor([0.1, 0.2, 0.3])).sum() == pytest.approx(1)
    torch.testing.assert_close(sparsemax(torch.tensor([1.0, 0.5, -3.0])), torch.tensor([0.75, 0.25, 0.0]))
    assert sparsemax(torch.tensor([5.0, 1.0])).tolist() == [1, 0]
    scores = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    found = sparsemax(scores)
    # the conditions of the projection: equal distance where it is above 0, a larger one elsewhere
    above = found > 0
    moved = (scores - found).detach()
    assert moved[above].std() < 1e-12
    assert (moved[~above] <= moved[above].mean()).all()
    assert torch.autograd.gradcheck(sparsemax, (scores,))


def test_with_softmax_only_differences_of_logits_matter() -> None:
    pool = vit_pool(torch.float32, router=RouterConfig(choice="softmax"))
    logits = torch.tensor([30.0, 31.0, 29.0])
    expected = (logits / 0.5).softmax(0)
    torch.testing.assert_close(pool.router.merge_weights(logits, 0.5), expected)
    torch.testing.assert_close(pool.router.merge_weights(logits - 60, 0.5), expected)
    uniform = torch.tensor([0.5, 0.9, 0.1])
    noisy = ((logits + uniform.logit()) / 0.5).softmax(0)
    torch.testing.assert_close(pool.router.merge_weights(logits, 0.5, uniform), noisy)


@pytest.mark.parametrize("choice", ["sparsemax", "top"])
def test_choices_give_the_other_experts_a_weight_of_exactly_0(choice: str) -> None:
    pool = vit_pool(experts=4, router=RouterConfig(choice=choice, top=2))
    logits = torch.tensor([3.0, -2.0, 2.5, -4.0], dtype=torch.float64, requires_grad=True)
    weights = pool.router.merge_weights(logits, 0.5)
    assert (weights > 0).tolist() == [True, False, True, False] or choice == "sparsemax"
    assert weights[1] == weights[3] == 0
    assert float(weights.sum()) == pytest.approx(1)
    (gradient,) = torch.autograd.grad(weights[0], logits)
    assert gradient[[1, 3]].abs().max() < 1e-15
    assert vit_pool(experts=4).fingerprint() != pool.fingerprint()


def test_more_experts_than_there_are_can_be_chosen() -> None:
    every, top = (vit_pool(router=RouterConfig(choice=choice, top=5)).router for choice in ("all", "top"))
    logits = torch.randn(3, dtype=torch.float64)
    assert torch.equal(top.merge_weights(logits, 1.0), every.merge_weights(logits, 1.0))
