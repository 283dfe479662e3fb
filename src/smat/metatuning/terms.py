"""The terms of a training task's loss that are computed from its query set; an extension point."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from smat.plugins import Plugin

Direction = Literal["target-student", "student-target"]
Target = Literal["pretrained", "teacher"]


@dataclass(frozen=True)
class QueryOutputs:
    """What the networks of a task say of its query set; gradients go to the student's features and logits.

    Attributes:
        labels: right classes, 0..way-1.
        features: by the student.
        logits: by the student and its head.
        pretrained_logits: by the frozen network.
        teacher_logits: by the dense teacher; None where no term needs it.
    """

    labels: Int[Tensor, " n"]
    features: Float[Tensor, "n dim"]
    logits: Float[Tensor, "n way"]
    pretrained_logits: Float[Tensor, "n way"]
    teacher_logits: Float[Tensor, "n way"] | None = None


class Term(Plugin, ABC):
    """A term of a task's loss: `weight` times what it gives for the query set.

    The settings are the constructor's arguments, kept as attributes of the same name; `weight` is one of them.

    Attributes:
        weight: factor of the term.
        needs_teacher: whether it reads `teacher_logits`.
    """

    weight: float
    needs_teacher: bool = False

    @property
    def name(self) -> str:
        """What it is called in the log; terms of one name are added up there."""
        return type(self).__name__

    @abstractmethod
    def __call__(self, outputs: QueryOutputs) -> Float[Tensor, ""]:
        """The term before its weight, averaged over the query images."""


def distillation_loss(
    student: Float[Tensor, "n way"], target: Float[Tensor, "n way"], temperature: float, direction: Direction
) -> Float[Tensor, ""]:
    """T²·KL between softened predictions, averaged over images (Hinton et al. 2015)."""
    log_student, log_target = log_softmax(student / temperature, 1), log_softmax(target / temperature, 1)
    if direction == "student-target":
        log_student, log_target = log_target, log_student
    return kl_div(log_student, log_target, reduction="batchmean", log_target=True) * temperature**2


@dataclass(frozen=True)
class CrossEntropy(Term):
    """Cross-entropy of the student on the query labels.

    Attributes:
        weight: factor of the term.
    """

    weight: float

    @property
    def name(self) -> str:
        """`cross_entropy`."""
        return "cross_entropy"

    def __call__(self, outputs: QueryOutputs) -> Float[Tensor, ""]:
        """Averaged over the query images."""
        return cross_entropy(outputs.logits, outputs.labels)


@dataclass(frozen=True)
class Distillation(Term):
    """Distance of the student's predictions to those of another network.

    Attributes:
        weight: factor of the term.
        target: `pretrained`, the frozen network; `teacher`, the dense teacher.
        temperature: T of both predictions.
        direction: `target-student` is KL(target ‖ student), the usual one; `student-target` the other.
    """

    weight: float
    target: Target
    temperature: float
    direction: Direction

    @property
    def name(self) -> str:
        """`distillation`."""
        return "distillation"

    @property
    def needs_teacher(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the target is the teacher."""
        return self.target == "teacher"

    def __call__(self, outputs: QueryOutputs) -> Float[Tensor, ""]:
        """T²·KL, averaged over the query images."""
        target = outputs.teacher_logits if self.target == "teacher" else outputs.pretrained_logits
        assert target is not None  # `needs_teacher` says so
        return distillation_loss(outputs.logits, target, self.temperature, self.direction)
