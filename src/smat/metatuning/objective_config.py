"""The settings of the objective, and the terms on the query set that they stand for."""

from dataclasses import dataclass, replace

from smat.errors import ConfigError
from smat.metatuning.terms import CrossEntropy, Direction, Distillation, Target, Term
from smat.schema import NotNegative, Number, Positive, Share, checked


@dataclass(frozen=True)
@checked("objective")
class ObjectiveConfig:
    """What a training task minimises (the formula stands in `smat.metatuning.objective`; paper, section 3.4).

    Attributes:
        inner_lr: step size of the gradient step on the support loss, from θ_i; 0 leaves it out.
        teacher_lr: step size of the dense teacher's steps on the query loss.
        teacher_steps: number of the dense teacher's steps; 0 leaves the teacher out, and its share of w goes to the
            pre-trained network.
        distillation_weight: w, shared equally by the targets of the distillation and taken from the cross-entropy;
            0 leaves distillation out.
        teacher_weight: weight of the dense teacher as a target, in place of its share of w; 0 leaves this target alone
            out. The cross-entropy has what the weights of both targets leave of 1.
        pretrained_weight: weight of the pre-trained network as a target, likewise.
        distillation_temperature: temperature T of the distillation.
        distillation: direction of the divergence: `target-student`, KL(target ‖ student), is the usual one;
            `student-target` is the one of the authors' code.
        terms: further terms, by import path, each with a weight of its own.
        routing_penalty: weight of the mean squared routing logit.
        weigh_constraint: whether each expert's constraint is weighted by its α in the task, as in the authors' code.
    """

    inner_lr: NotNegative = 1e-3
    teacher_lr: NotNegative = 5e-3
    teacher_steps: Number = 1
    distillation_weight: Share = 0.25
    distillation_temperature: Positive = 2.0
    distillation: Direction = "target-student"
    routing_penalty: NotNegative = 1e-4
    weigh_constraint: bool = False
    teacher_weight: Share | None = None
    pretrained_weight: Share | None = None
    terms: list[Term] | None = None

    def __post_init__(self) -> None:
        if self.teacher_weight and not self.teacher_steps:
            raise ConfigError("objective.teacher_weight needs a teacher: set objective.teacher_steps to 1 or more")
        if sum(self._target_weights().values()) > 1:
            raise ConfigError(
                "the weights of the teacher and of the pre-trained network add up to more than 1: lower "
                "objective.teacher_weight or objective.pretrained_weight (without one of its own, each has half of "
                "objective.distillation_weight)"
            )

    def _target_weights(self) -> dict[Target, float]:
        """The weight of each target of the distillation: one of its own, or its share of w."""
        taught = 0.5 if self.teacher_steps else 0.0
        own: dict[Target, float | None] = {"pretrained": self.pretrained_weight, "teacher": self.teacher_weight}
        share: dict[Target, float] = {"pretrained": 1 - taught, "teacher": taught}
        return {
            target: self.distillation_weight * share[target] if weight is None else weight
            for target, weight in own.items()
        }

    def query_terms(self) -> tuple[CrossEntropy, list[Term]]:
        """The cross-entropy, whose gradient the dense teacher needs by itself, and the other terms on the query."""
        weights = self._target_weights()
        targets = [
            Distillation(weight, target, self.distillation_temperature, self.distillation)
            for target, weight in weights.items()
            if weight
        ]
        return CrossEntropy(1 - sum(weights.values())), [*targets, *(self.terms or ())]

    def official(self) -> "ObjectiveConfig":
        """The same objective with everything that the authors' code does otherwise (`compat="official"`)."""
        return replace(self, distillation="student-target", weigh_constraint=True)
