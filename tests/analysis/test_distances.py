"""Distances between tasks, against numbers that can be worked out by hand and sums over all parameters."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from small_pools import vit_pool
from smat.analysis import distances
from smat.analysis.distances import jensen_shannon, mask_distances, weight_distances
from smat.experts import SparseInterpolatedExperts

HALF = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])


def pool_with(gates: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> SparseInterpolatedExperts:
    pool = vit_pool()
    monkeypatch.setattr(pool, "gates", lambda: gates)
    return pool


def by_definition(gates: Tensor, weights: np.ndarray) -> np.ndarray:
    masks = weights @ gates.double().numpy()
    low = np.minimum(masks[:, None], masks[None]).sum(-1)
    high = np.maximum(masks[:, None], masks[None]).sum(-1)
    return 1 - np.where(high > 0, low / np.where(high > 0, high, 1), 1)


def draw_weights(tasks: int, experts: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(experts), tasks)


def test_jensen_shannon_by_hand() -> None:
    found = weight_distances(HALF)
    half = math.sqrt(-0.75 * math.log2(0.75) - 0.25 * math.log2(0.25) - 0.5)  # entropy of the middle, less the mean
    np.testing.assert_allclose(found, [[0, half, 1, 0], [half, 0, half, half], [1, half, 0, 1], [0, half, 1, 0]])


def test_jensen_shannon_is_a_metric() -> None:
    found = weight_distances(draw_weights(12, 5))
    assert (found == found.T).all()
    assert (found[:, :, None] <= found[:, None] + found.T[None] + 1e-12).all()


def test_jensen_shannon_of_nearly_equal_weights_is_a_number() -> None:
    weights = draw_weights(1, 7)
    assert 0 <= jensen_shannon(weights, weights * (1 + 1e-16))[0] < 1e-7


def test_masks_of_experts_alone_are_apart_by_their_jaccard_index(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1]])
    found = mask_distances(pool_with(gates, monkeypatch), np.eye(3))
    assert found is not None
    np.testing.assert_allclose(found, [[0, 1 / 2, 1], [1 / 2, 0, 1], [1, 1, 0]])


def test_masks_are_weighted_by_the_merge_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = torch.tensor([[1.0, 1, 0], [0, 1, 1]])  # masks of the two tasks: 0.75, 1, 0.25 and 0.25, 1, 0.75
    found = mask_distances(pool_with(gates, monkeypatch), np.array([[0.75, 0.25], [0.25, 0.75]]))
    assert found is not None
    assert found[0, 1] == pytest.approx(1 - 1.5 / 2.5)


@pytest.mark.parametrize("experts", [1, 3, 5])
def test_any_gates_in_chunks_give_what_the_whole_masks_do(experts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "_CHUNK", 64)
    monkeypatch.setattr(distances, "_BLOCK", 7)
    gates = (torch.randn(experts, 501, generator=torch.Generator().manual_seed(0)) * 2).clamp(0, 1)
    weights = draw_weights(6, experts) * 0.9  # with a null expert, which takes the rest
    found = mask_distances(pool_with(gates, monkeypatch), weights)
    assert found is not None
    np.testing.assert_allclose(found, by_definition(gates, weights), atol=1e-7)


def test_more_experts_than_there_are_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = (torch.randn(70, 40, generator=torch.Generator().manual_seed(0)) > 0).float()
    weights = draw_weights(4, 70)
    found = mask_distances(pool_with(gates, monkeypatch), weights)
    assert found is not None
    np.testing.assert_allclose(found, by_definition(gates, weights), atol=1e-7)


@pytest.mark.parametrize("settings", [{}, {"structure": "input"}, {"gating": "random"}, {"null_expert": True}])
def test_a_pool_s_own_gates(settings: dict[str, object]) -> None:
    pool = vit_pool(torch.float32, **settings).eval()
    weights, gates = draw_weights(5, 3), pool.gates()
    found = mask_distances(pool, weights)
    assert found is not None
    assert gates is not None
    np.testing.assert_allclose(found, by_definition(gates.detach(), weights), atol=1e-7)


def test_closed_gates_make_masks_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found = mask_distances(pool_with(torch.zeros(2, 5), monkeypatch), draw_weights(3, 2))
    assert found is not None
    assert not found.any()


@pytest.mark.parametrize("settings", [{"gating": "open"}, {"gating": "open", "separate_deltas": True}, {"experts": 0}])
def test_where_no_gate_is_closed_there_are_no_masks_to_compare(settings: dict[str, object]) -> None:
    pool = vit_pool(**settings)
    assert mask_distances(pool, draw_weights(2, pool.config.experts or 1)) is None


def test_one_mask_for_all_experts_tells_no_tasks_apart() -> None:
    weights = draw_weights(4, 3).astype(np.float32).astype(np.float64)  # whose sums are 1 but for rounding
    found = mask_distances(vit_pool(gating="bias", separate_deltas=True), weights)
    assert found is not None
    assert not found.any()


def test_the_pool_is_left_as_it_was() -> None:
    pool = vit_pool().train()
    mask_distances(pool, draw_weights(2, 3))
    assert pool.training
