"""A router by where experts were tuned: centres and scale, found and not trained."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from smat.errors import DataError
from smat.experts import PrototypeRouter, SparseInterpolatedExperts, task_direction
from tiny_pool import make_pool


def around(direction: torch.Tensor, tasks: int, noise: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(direction + noise * torch.randn(tasks, len(direction), generator=generator), dim=1)


def made(experts: int = 2, dim: int = 16) -> PrototypeRouter:
    router = PrototypeRouter()
    router.build(dim, experts)
    return router


def test_where_a_task_lies_does_not_depend_on_lengths_or_the_order_of_classes() -> None:
    prototypes = torch.randn(4, 6)
    lengths = torch.tensor([[0.5], [2.0], [1.0], [3.0]])
    torch.testing.assert_close(task_direction(lengths * prototypes), task_direction(prototypes))
    torch.testing.assert_close(task_direction(prototypes.flip(0)), task_direction(prototypes))
    assert float(task_direction(prototypes).norm()) == pytest.approx(1)


def test_a_router_that_knows_nothing_gives_equal_weights() -> None:
    router = made(3)
    assert router.merge_weights(router(torch.randn(5, 16)), 0.5).tolist() == pytest.approx([1 / 3] * 3)


def test_tasks_that_are_told_apart_get_their_expert_and_others_both() -> None:
    first, second = torch.eye(16)[:2]
    router = made()
    told = router.fit([around(first, 20, 0.05, 0), around(second, 20, 0.05, 1)])
    assert told == 1
    torch.testing.assert_close(router.centres, torch.stack([first, second]), rtol=0, atol=0.1)
    weights = router.merge_weights(router(first[None] * 3), temperature=7.0)
    assert float(weights[0]) == pytest.approx(11 / 12, abs=0.03)  # by Platt's targets for 10 tasks
    between = router.merge_weights(router(normalize(first + second, dim=0)[None]), temperature=7.0)
    assert between.tolist() == pytest.approx([0.5, 0.5], abs=0.3)


def test_domains_that_cannot_be_told_apart_leave_weights_equal() -> None:
    direction = torch.eye(16)[0]
    router = made()
    router.fit([around(direction, 40, 0.3, 0), around(direction, 40, 0.3, 1)])
    weights = router.merge_weights(router(direction[None]), 1.0)
    assert weights.tolist() == pytest.approx([0.5, 0.5], abs=0.1)


def test_the_scale_is_the_most_likely_one() -> None:
    first, second = torch.eye(16)[:2]
    places = [around(first, 30, 0.4, 0), around(second, 30, 0.4, 1)]
    router = made()
    router.fit(places)
    centres = torch.stack([normalize(each[:15].mean(0), dim=0) for each in places])
    cosines, experts = torch.cat([each[15:] for each in places]) @ centres.T, torch.arange(2).repeat_interleave(15)

    def loss(scale: float) -> float:
        return float(torch.nn.functional.cross_entropy(scale * cosines, experts, label_smoothing=2 / 17))

    scale = float(router.scale)
    assert loss(scale) <= min(loss(scale * 1.05), loss(scale / 1.05))


def test_one_task_is_not_enough() -> None:
    with pytest.raises(DataError, match="two or more experts, and as many tasks"):
        made().fit([torch.eye(16)[:1], torch.eye(16)[:1]])


def test_it_is_saved_with_its_pool(tmp_path: Path) -> None:
    pool = make_pool(2, gating="open", separate_deltas=True)
    routed = pool.with_router(PrototypeRouter())
    assert isinstance(routed.router, PrototypeRouter)
    routed.router.fit([around(torch.eye(16)[0], 4, 0.1, 0), around(torch.eye(16)[1], 4, 0.1, 1)])
    routed.save_pretrained(tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=pool.backbone)
    prototypes = torch.randn(3, 16)
    assert torch.equal(again.route(prototypes)[0], routed.route(prototypes)[0])
    assert not torch.equal(again.route(prototypes)[0], pool.route(prototypes)[0])
    assert torch.equal(again.merged_vector(torch.tensor([0.3, 0.7])), pool.merged_vector(torch.tensor([0.3, 0.7])))
