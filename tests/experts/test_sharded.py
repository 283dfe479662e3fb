"""Gates of which each process holds a slice: together they are what one process has."""

import copy
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import distributed

from small_pools import vit_pool
from smat.errors import ConfigError
from smat.experts import LearnedGates, PoolConfig, ShardedGates, Slices, SparseInterpolatedExperts
from smat.metatuning import GroupConfig, MetaOptimizer, OptimizerConfig

FORK = multiprocessing.get_context("fork")


def in_group(world: int, folder: Path, work: Callable[[int], None]) -> None:
    """Do the work in so many processes that can talk to one another."""

    def begin(rank: int) -> None:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
        work(rank)
        distributed.destroy_process_group()

    processes = [FORK.Process(target=begin, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * world


def learned() -> tuple[LearnedGates, torch.Tensor]:
    pool = vit_pool(structure="parameter")
    assert isinstance(pool.update, LearnedGates)
    return pool.update, pool.pretrained


def weights_of(rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.rand(3, generator=generator, dtype=torch.float64).requires_grad_()


def loss_of(merged: object, rank: int) -> torch.Tensor:
    """Something that depends on all that comes out, in another way in each process."""
    cotangent = torch.randn(len(merged.vector), generator=torch.Generator().manual_seed(9 + rank), dtype=torch.float64)
    return merged.vector @ cotangent + (rank + 1) * (merged.expected_density * torch.arange(1.0, 4)).sum()


@pytest.mark.parametrize("world", [2, 3])
def test_slices_compute_what_the_whole_does(world: int, tmp_path: Path) -> None:
    whole, pretrained = learned()
    weights = [weights_of(rank) for rank in range(world)]
    merged = [whole.merge(pretrained, weights[rank]) for rank in range(world)]
    sum(loss_of(each, rank) for rank, each in enumerate(merged)).backward()  # type: ignore[union-attr]

    def work(rank: int) -> None:
        part = ShardedGates.of(whole, Slices(len(pretrained), rank, world))
        own = weights_of(rank)
        found = part.merge(pretrained, own)
        torch.testing.assert_close(found.vector, merged[rank].vector.detach())
        torch.testing.assert_close(found.expected_density, merged[rank].expected_density.detach())
        torch.testing.assert_close(found.sparsity, merged[rank].sparsity)
        loss_of(found, rank).backward()
        assert whole.delta.grad is not None
        assert whole.gate_logits.grad is not None
        torch.testing.assert_close(part.delta.grad, whole.delta.grad[part.slices.own])
        torch.testing.assert_close(part.gate_logits.grad, whole.gate_logits.grad[:, part.slices.own])
        torch.testing.assert_close(own.grad, weights[rank].grad)
        torch.testing.assert_close(part.merged_vector(pretrained, own.detach()), merged[rank].vector.detach())
        again = part.whole()
        assert (again is None) == (rank > 0)
        if again is not None:
            assert torch.equal(again.delta, whole.delta)
            assert torch.equal(again.gate_logits, whole.gate_logits)

    in_group(world, tmp_path, work)


def test_slices_are_of_nearly_equal_length_and_cover_everything() -> None:
    for params, world in ((10, 3), (9, 3), (2, 4)):
        slices = [Slices(params, rank, world) for rank in range(world)]
        assert torch.equal(torch.cat([each.of(torch.arange(params)) for each in slices]), torch.arange(params))
        assert max(slices[0].lengths) - min(slices[0].lengths) <= 1


def test_gates_that_follow_several_parameters_are_not_divided() -> None:
    pool = vit_pool(structure="layer")
    assert isinstance(pool.update, LearnedGates)
    with pytest.raises(ConfigError, match="a gate for each parameter"):
        ShardedGates.of(pool.update, Slices(len(pool.pretrained), 0, 2))
    official = vit_pool(**vars(PoolConfig(experts=3).official()))
    assert isinstance(official.update, LearnedGates)
    with pytest.raises(ConfigError, match="compat to none"):
        ShardedGates.of(official.update, Slices(len(official.pretrained), 0, 2))


@pytest.mark.parametrize("world", [2, 4])
def test_what_is_trained_takes_its_share_of_memory_in_each_process(world: int, tmp_path: Path) -> None:
    pool = vit_pool(structure="parameter")
    total = sum(p.nbytes for p in pool.update.parameters())

    def work(rank: int) -> None:
        pool.update = ShardedGates.of(pool.update, Slices(len(pool.pretrained), rank, world))  # type: ignore[arg-type]
        optimizer = MetaOptimizer(
            pool,
            torch.nn.Parameter(torch.zeros(3)),
            OptimizerConfig(GroupConfig("adamw", 1e-3), GroupConfig("adamw", 1.0)),
        )
        merged = pool.merge(weights_of(rank))
        (merged.vector.sum() + merged.expected_density.sum()).backward()
        gradients = sum(p.grad.nbytes for p in pool.update.parameters() if p.grad is not None)
        optimizer.step(0.0)
        states = [optimizer.state_dict()[name]["state"] for name in ("delta", "gates")]
        kept = sum(value.nbytes for state in states for of in state.values() for value in of.values() if value.ndim)
        found = sum(p.nbytes for p in pool.update.parameters())
        assert (found, gradients, kept) == pytest.approx((total / world, total / world, 2 * total / world), rel=0.05)

    in_group(world, tmp_path, work)


def test_norms_are_of_the_whole(tmp_path: Path) -> None:
    pool = vit_pool(structure="parameter", dtype=torch.float32)
    config = OptimizerConfig(GroupConfig("sgd", 1e-3, clip=0.5), GroupConfig("sgd", 1.0, clip=0.1))

    def stepped(pool: SparseInterpolatedExperts) -> dict[str, float]:
        optimizer = MetaOptimizer(pool, torch.nn.Parameter(torch.zeros(3)), config)
        merged = pool.merge(torch.tensor([0.2, 0.3, 0.5]))
        (merged.vector.square().sum() + merged.expected_density.sum()).backward()
        norms = {name: float(norm) for name, norm in optimizer.clip().items()}
        optimizer.step(0.5)
        return norms

    alone = copy.deepcopy(pool)
    norms = stepped(alone)
    update = alone.update
    assert isinstance(update, LearnedGates)

    def work(rank: int) -> None:
        whole = pool.update
        assert isinstance(whole, LearnedGates)
        pool.update = part = ShardedGates.of(whole, Slices(len(pool.pretrained), rank, 2))
        found = stepped(pool)
        # each of the two processes has the loss that the one alone has
        assert found["gates"] == pytest.approx(2 * norms["gates"], rel=1e-4)
        torch.testing.assert_close(part.gate_logits, update.gate_logits[:, part.slices.own], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(part.delta, update.delta[part.slices.own], rtol=1e-4, atol=1e-6)

    in_group(2, tmp_path, work)
