"""Terms of the objective: weights of the distillation's targets, and terms of one's own."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_pools import random_episode, vit_pool
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning import ObjectiveConfig, QueryOutputs, TaskResult, Term, train_task


class Entropy(Term):
    """Mean entropy of the student's predictions."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, outputs: QueryOutputs) -> Tensor:
        return -(outputs.logits.softmax(1) * outputs.logits.log_softmax(1)).sum(1).mean()


class AgainstTeacher(Term):
    """Squared distance to the teacher's logits, which it asks for."""

    needs_teacher = True

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, outputs: QueryOutputs) -> Tensor:
        assert outputs.teacher_logits is not None
        return (outputs.logits - outputs.teacher_logits).square().mean()


def task(**settings: Any) -> tuple[TaskResult, SparseInterpolatedExperts]:
    pool = vit_pool().train()
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    return train_task(pool, multipliers, random_episode(), ObjectiveConfig(**settings), target_sparsity=None), pool


def test_shared_weights_are_equal_ones_written_out() -> None:
    shared, pool = task(distillation_weight=0.5)
    apart, other = task(teacher_weight=0.25, pretrained_weight=0.25)
    assert torch.equal(shared.loss, apart.loss)
    assert torch.equal(pool.update.delta.grad, other.update.delta.grad)


@pytest.mark.parametrize(("teacher", "pretrained"), [(0.3, 0.0), (0.0, 0.3), (0.1, 0.4)])
def test_each_target_has_its_weight(teacher: float, pretrained: float) -> None:
    """Loss and gradient are linear in the weights: 1 - w of the cross-entropy alone, and each target's own share."""
    result, pool = task(teacher_weight=teacher, pretrained_weight=pretrained)
    parts = {
        "cross": task(distillation_weight=0.0),
        "teacher": task(teacher_weight=1.0, pretrained_weight=0.0),
        "pretrained": task(teacher_weight=0.0, pretrained_weight=1.0),
    }
    share = {"cross": 1 - teacher - pretrained, "teacher": teacher, "pretrained": pretrained}
    penalty = result.terms["routing"]
    expected = sum(share[name] * (part.loss - penalty) for name, (part, _) in parts.items())
    torch.testing.assert_close(result.loss - penalty, expected)
    gradient = sum(share[name] * p.update.delta.grad for name, (_, p) in parts.items())
    torch.testing.assert_close(pool.update.delta.grad, gradient)
    assert (result.teacher_logits is None) == (teacher == 0)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"teacher_weight": 0.0}, {"teacher_weight": 0.0, "pretrained_weight": 0.2}),
        ({"pretrained_weight": 0.0}, {"teacher_weight": 0.2, "pretrained_weight": 0.0}),
        ({"pretrained_weight": 0.1, "teacher_steps": 0}, {"teacher_weight": 0.0, "pretrained_weight": 0.1}),
    ],
)
def test_a_target_left_out_leaves_the_other_its_share(settings: dict[str, Any], same: dict[str, Any]) -> None:
    alone, written = task(distillation_weight=0.4, **settings)[0], task(**same)[0]
    assert torch.equal(alone.loss, written.loss)


def test_a_term_of_ones_own_adds_its_weight_times_its_gradient() -> None:
    plain, pool = task()
    found, own = task(terms=[Entropy(0.5)])
    double, twice = task(terms=[Entropy(0.5), Entropy(0.5)])
    expected = 0.5 * -(plain.student_logits.softmax(1) * plain.student_logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(found.terms["Entropy"], expected)
    torch.testing.assert_close(found.loss, plain.loss + expected)
    torch.testing.assert_close(double.terms["Entropy"], 2 * expected)
    first, second = (p.update.delta.grad - pool.update.delta.grad for p in (own, twice))
    assert first.abs().max() > 0
    torch.testing.assert_close(second, 2 * first)


def test_a_term_can_ask_for_the_teacher() -> None:
    result, _ = task(distillation_weight=0.0, terms=[AgainstTeacher(1.0)])
    assert result.teacher_logits is not None
    expected = (result.student_logits - result.teacher_logits).square().mean()
    torch.testing.assert_close(result.terms["AgainstTeacher"], expected)
    assert "distillation" not in result.terms


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_weight": 0.9}, "add up to more than 1"),
        ({"teacher_weight": 0.7, "pretrained_weight": 0.7}, "more than 1"),
        ({"teacher_weight": 0.2, "pretrained_weight": 0.2, "teacher_steps": 0}, "needs a teacher"),
        ({"teacher_weight": -0.1, "pretrained_weight": 0.2}, "expected 0 to 1"),
    ],
)
def test_weights_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ObjectiveConfig(**settings)
