import math
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from smat.experts import HardConcrete, Merged, Structure, gate_index, interpolate
from smat.experts import interpolation as interpolation_module
from smat.flat import Layout

# a class token, one attention layer with a fused qkv and a norm: something for every structure to tie
LAYOUT = Layout(
    ("token", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias", "norm.weight", "norm.bias"),
    ((1, 4), (12, 4), (12,), (4, 4), (4,), (4,), (4,)),
)
STRUCTURES = get_args(Structure)
PAPER, OTHER = HardConcrete(), HardConcrete(beta=1.0)


@dataclass
class Problem:
    """Float64 inputs of a merge, with the noise of random gates where there is any."""

    pretrained: Tensor
    delta: Tensor
    logits: Tensor
    weights: Tensor
    index: Tensor | None
    noise: Tensor | None

    @classmethod
    def of(cls, structure: Structure, *, random_gates: bool = False, experts: int = 3) -> "Problem":
        generator = torch.Generator().manual_seed(len(structure) + 10 * experts)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        index = gate_index(LAYOUT, structure, heads=2)
        gates = LAYOUT.size if index is None else int(index.max()) + 1
        logits = 1.5 * draw(experts, gates)  # so that some gates are closed, some open, most between
        noise = torch.rand(experts, gates, generator=generator, dtype=torch.float64) if random_gates else None
        return cls(draw(LAYOUT.size), draw(LAYOUT.size), logits, draw(experts), index, noise)

    @property
    def leaves(self) -> list[Tensor]:
        return [self.delta, self.logits, self.weights]

    def merge(self, *leaves: Tensor, density_hc: HardConcrete | None = None) -> Merged:
        (delta, logits, weights), noise = leaves, self.noise
        return interpolate(
            self.pretrained,
            delta,
            logits,
            weights,
            PAPER,
            index=self.index,
            uniform=None if noise is None else lambda start, stop: noise[:, start:stop],
            density_hc=density_hc,
        )

    def reference(self, *leaves: Tensor, density_hc: HardConcrete | None = None) -> Merged:
        """The formulas as they stand, with every gate of every parameter in memory."""
        (delta, logits, weights), hc, shift = leaves, PAPER, density_hc or PAPER
        probability = torch.sigmoid(logits - shift.beta * math.log(-shift.gamma / shift.zeta))
        noisy = logits if self.noise is None else logits + torch.log(self.noise / (1 - self.noise))
        z = (torch.sigmoid(noisy / hc.beta) * (hc.zeta - hc.gamma) + hc.gamma).clamp(0, 1)
        if self.index is not None:
            probability, z = probability[:, self.index], z[:, self.index]
        vector = self.pretrained + (weights[:, None] * z * delta).sum(0)
        return Merged(vector, probability.mean(1), (z == 0).double().mean(1))


def gradients(merge: Any, problem: Problem, density_hc: HardConcrete | None = None) -> tuple[Merged, list[Tensor]]:
    """A merge, and the gradients of a loss that weighs every parameter and every density differently."""
    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves]
    merged = merge(*leaves, density_hc=density_hc)
    slopes = torch.linspace(-1, 2, LAYOUT.size, dtype=torch.float64)
    density_slopes = torch.arange(1, 1 + len(merged.expected_density), dtype=torch.float64)
    loss = (merged.vector.sin() * slopes).sum() + (merged.expected_density.square() * density_slopes).sum()
    return merged, list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("random_gates", [False, True], ids=["deterministic", "random"])
@pytest.mark.parametrize("chunk", [1, 7, 30, 1 << 18])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_values_and_gradients_are_those_of_the_formulas(
    structure: Structure, chunk: int, random_gates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(interpolation_module._CHUNK_ELEMENTS, "cpu", chunk)
    problem = Problem.of(structure, random_gates=random_gates)
    got, got_gradients = gradients(problem.merge, problem)
    expected, expected_gradients = gradients(problem.reference, problem)
    torch.testing.assert_close(got.vector, expected.vector, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.expected_density, expected.expected_density, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.sparsity, expected.sparsity, rtol=1e-12, atol=1e-12)
    for name, ours, theirs in zip(("delta", "logits", "weights"), got_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_problems_have_closed_open_and_half_open_gates() -> None:
    z = Problem.of("parameter").reference(*Problem.of("parameter").leaves)
    assert (z.sparsity > 0).all()
    assert (z.sparsity < 1).all()


def test_chunks_cover_every_gate_once_even_where_they_do_not_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interpolation_module._CHUNK_ELEMENTS, "cpu", 30)  # 10 gates of 3 experts, 92 gates
    problem, asked = Problem.of("parameter"), []

    def uniform(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return torch.full((3, stop - start), 0.5, dtype=torch.float64)

    merged = interpolate(problem.pretrained, problem.delta, problem.logits, problem.weights, PAPER, uniform=uniform)
    assert asked == [(start, min(start + 10, 92)) for start in range(0, 92, 10)]
    torch.testing.assert_close(merged.vector, problem.reference(*problem.leaves).vector)


@pytest.mark.parametrize("structure", ["parameter", "head"])
def test_the_expected_density_can_have_a_distribution_of_its_own(structure: Structure) -> None:
    problem = Problem.of(structure)
    got, got_gradients = gradients(problem.merge, problem, OTHER)
    expected, expected_gradients = gradients(problem.reference, problem, OTHER)
    plain, _ = gradients(problem.reference, problem)
    torch.testing.assert_close(got.expected_density, expected.expected_density)
    torch.testing.assert_close(got_gradients, expected_gradients)
    assert (got.expected_density - plain.expected_density).abs().min() > 1e-3
    assert torch.equal(got.sparsity, problem.merge(*problem.leaves).sparsity)


@pytest.mark.parametrize("random_gates", [False, True], ids=["deterministic", "random"])
@pytest.mark.parametrize("structure", ["parameter", "input", "head"])
def test_gradients_agree_with_finite_differences(
    structure: Structure, random_gates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(interpolation_module._CHUNK_ELEMENTS, "cpu", 50)
    problem = Problem.of(structure, random_gates=random_gates, experts=2)

    def merge(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        merged = problem.merge(*leaves)
        return merged.vector, merged.expected_density

    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves]
    assert torch.autograd.gradcheck(merge, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)


def test_one_output_alone_can_be_differentiated() -> None:
    problem = Problem.of("parameter")
    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves]
    merged = problem.merge(*leaves)
    assert not merged.sparsity.requires_grad
    by_density = torch.autograd.grad(merged.expected_density[0], leaves, retain_graph=True)
    assert by_density[0].abs().max() == by_density[2].abs().max() == by_density[1][1:].abs().max() == 0
    assert (by_density[1][0] > 0).all()
    weights = leaves[2].detach()
    by_vector = torch.autograd.grad(merged.vector.sum(), leaves)
    closed = problem.merge(torch.zeros_like(leaves[0]), leaves[1], weights).sparsity
    assert ((by_vector[1] == 0).double().mean(1) >= closed).all()  # a closed gate has no slope


@pytest.mark.parametrize("structure", STRUCTURES)
def test_nothing_but_the_inputs_is_saved_for_backward(structure: Structure) -> None:
    problem = Problem.of(structure, random_gates=True)
    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves]
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        problem.merge(*leaves)
    inputs = [problem.pretrained, *leaves] + ([] if problem.index is None else [problem.index])
    known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    others = [tensor for tensor in saved if tensor.untyped_storage().data_ptr() not in known]
    assert len(saved) - len(others) >= 3
    # where gates are shared: how many parameters follow each, one number a gate whatever the number of experts
    assert [tensor.shape for tensor in others] == ([] if problem.index is None else [problem.logits[0].shape])


def test_inputs_are_left_as_they_were() -> None:
    problem = Problem.of("output", random_gates=True)
    before = [tensor.clone() for tensor in (problem.pretrained, *problem.leaves)]
    gradients(problem.merge, problem)
    problem.merge(*problem.leaves)
    assert all(torch.equal(a, b) for a, b in zip(before, (problem.pretrained, *problem.leaves), strict=True))


def test_no_update_gives_the_pretrained_network_and_open_gates_of_one_expert_give_the_whole_update() -> None:
    problem = Problem.of("parameter", experts=1)
    one, opened = torch.ones(1, dtype=torch.float64), torch.full_like(problem.logits, 9.0)
    assert torch.equal(problem.merge(torch.zeros_like(problem.delta), opened, one).vector, problem.pretrained)
    whole = problem.merge(problem.delta, opened, one)
    assert torch.equal(whole.vector, problem.pretrained + problem.delta)
    assert whole.sparsity.tolist() == [0.0]
    nothing = problem.merge(problem.delta, -opened, one)
    assert torch.equal(nothing.vector, problem.pretrained)
    assert nothing.sparsity.tolist() == [1.0]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_vector_alone_is_that_of_the_whole(structure: Structure) -> None:
    problem = Problem.of(structure)
    alone = interpolate(problem.pretrained, *problem.leaves, PAPER, index=problem.index, measure=False)
    assert torch.allclose(alone, problem.merge(*problem.leaves).vector, rtol=0, atol=1e-14)
