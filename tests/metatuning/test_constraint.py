import pytest
import torch

from smat.experts import Merged
from smat.metatuning.constraint import lagrangian
from tiny import tiny_pool

TARGET = 0.7
DENSITY, SPARSITY = [0.9, 0.4, 0.3, 0.25], [0.1, 0.6, 0.7, 0.8]


def merged() -> Merged:
    return Merged(torch.zeros(5), torch.tensor(DENSITY, requires_grad=True), torch.tensor(SPARSITY))


def test_values_are_the_sums_over_experts() -> None:
    multipliers = torch.nn.Parameter(torch.tensor([2.0, 0.5, 1.0, 3.0]))
    terms = lagrangian(merged(), multipliers, TARGET)
    # the last expert is sparse enough: its multiplier is 0
    assert float(terms.descent.detach()) == pytest.approx(2 * (0.9 - 0.3) + 0.5 * (0.4 - 0.3) + 0)
    assert float(terms.ascent.detach()) == pytest.approx(2 * (0.1 - 0.7) + 0.5 * (0.6 - 0.7) + 0)


def test_gradients() -> None:
    found, multipliers = merged(), torch.nn.Parameter(torch.tensor([2.0, 0.5, 1.0, 3.0]))
    terms = lagrangian(found, multipliers, TARGET)
    (terms.descent + terms.ascent).backward()
    density_gradient = found.expected_density.grad
    assert density_gradient is not None
    assert density_gradient.tolist() == [2.0, 0.5, 1.0, 0.0]  # λ: it closes the gates of experts that are too dense
    assert multipliers.grad is not None
    # from the measured sparsity alone; descending along it raises λ where the expert is denser than it may be
    torch.testing.assert_close(multipliers.grad, torch.tensor([0.1, 0.6, 0.7, 0.8]) - TARGET)


def test_the_descent_does_not_move_multipliers_and_the_ascent_no_gates() -> None:
    found, multipliers = merged(), torch.nn.Parameter(torch.ones(4))
    terms = lagrangian(found, multipliers, TARGET)
    through = torch.autograd.grad(terms.descent, [found.expected_density, multipliers], allow_unused=True)
    assert through[0] is not None
    assert through[1] is None
    through = torch.autograd.grad(terms.ascent, [found.expected_density, multipliers], allow_unused=True)
    assert through[0] is None
    assert through[1] is not None


def test_multipliers_are_reset_where_the_constraint_is_met_and_where_they_are_negative() -> None:
    multipliers = torch.nn.Parameter(torch.tensor([-0.5, 2.0, 1.0, 3.0]))
    lagrangian(merged(), multipliers, TARGET)
    # exactly at the target is not beyond it: the third one stays
    assert multipliers.tolist() == [0.0, 2.0, 1.0, 0.0]
    assert multipliers.is_leaf
    assert multipliers.requires_grad


def test_weights_scale_each_experts_term() -> None:
    found, multipliers = merged(), torch.nn.Parameter(torch.tensor([2.0, 0.5, 1.0, 0.0]))
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3])
    terms = lagrangian(found, multipliers, TARGET, weights)
    assert float(terms.descent.detach()) == pytest.approx(2 * 0.6 * 0.1 + 0, abs=1e-7)
    (terms.descent + terms.ascent).backward()
    assert found.expected_density.grad is not None
    torch.testing.assert_close(found.expected_density.grad, torch.tensor([0.2, 0.0, 0.6, 0.0]))
    torch.testing.assert_close(multipliers.grad, (torch.tensor(SPARSITY) - TARGET) * weights)


def test_descent_closes_gates_and_ascent_raises_multipliers_until_the_target_is_met() -> None:
    pool, multipliers = tiny_pool(), torch.nn.Parameter(torch.zeros(2))
    gates = torch.optim.SGD([pool.update.gate_logits], lr=500.0)
    ascent = torch.optim.SGD([multipliers], lr=0.2)
    highest, reached = torch.zeros(2), torch.zeros(2)
    for _ in range(150):
        found = pool.merge(torch.full((2,), 0.5))
        terms = lagrangian(found, multipliers, TARGET)
        (terms.descent + terms.ascent).backward()
        for optimizer in (gates, ascent):
            optimizer.step()
            optimizer.zero_grad()
        pool.update.after_step()
        highest = torch.maximum(highest, multipliers.detach())
        reached = found.sparsity
    assert (highest > 0.1).all()
    assert (reached >= TARGET - 0.02).all()
    assert (multipliers.detach() < highest).all()
