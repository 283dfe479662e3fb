"""The meta-objective of one training task, with every pass over a network made once.

For task i with support S, query Q and merge weights α (paper, eq. 6), the experts make
θ_i = θ_pre + Σ_m α_m (z_m ⊙ θ_δ) (eq. 4). The head fitted to the support features of θ_i has the state c: with nearest
prototypes the class means. One first-order step on the support loss adapts both, a constant to the outer gradient:

    θ_i', c' = (θ_i, c) - lr_inner · ∇ CE(S; θ_i, c)

The student (θ_i', c') is trained on the query (paper, section 3.4) by

    L = (1 - w) · CE(Q; θ_i', c')
      + w/2 · T² KL(p_teacher ‖ p_student) + w/2 · T² KL(p_pretrained ‖ p_student)    predictions at temperature T
      + Σ_k w_k · term_k                                                              terms of one's own
      + Σ_m λ_m (E[density_m] - (1 - τ)) + Σ_m λ_m (sparsity_m - τ)                   see `constraint`
      + 1e-4 · mean_m a_m²                                                            a: routing logits

The dense teacher is (θ_i', c') after one or more gradient steps on CE(Q) that no gate restrains.

The frozen network sees support and query once (routing and distillation share it), the adapted network the support once
(inner step and head share it), the student the query; the teacher's first gradient comes from the student's own graph,
so the teacher costs one more pass over the query. Gradients with respect to whole networks stop at these; only their
sum goes back through the interpolation, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from smat.episodes import Episode
from smat.errors import ConfigError
from smat.experts import Merged, Network, SparseInterpolatedExperts, class_prototypes
from smat.experts.interpolation import Uniform
from smat.heads import Classifier, Head, Prototype
from smat.metatuning.constraint import lagrangian
from smat.metatuning.terms import CrossEntropy, Direction, Distillation, QueryOutputs, Target, Term
from smat.precision import NetworkPrecision

State = dict[str, Tensor]
"""Tensors of a classifier by name."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a training task minimises (the formula is in the module's docstring; paper, section 3.4).

    Attributes:
        inner_lr: step size of the gradient step on the support loss, from θ_i; 0 leaves it out.
        teacher_lr: step size of the dense teacher's steps on the query loss.
        teacher_steps: number of the dense teacher's steps; 0 leaves the teacher out.
        distillation_weight: w, shared by the targets of the distillation and taken from the cross-entropy;
            0 leaves distillation out.
        teacher_weight: weight of the dense teacher as a target, where the targets shall not share w equally; the
            cross-entropy then has what the two weights leave of 1.
        pretrained_weight: weight of the pre-trained network as a target, likewise.
        distillation_temperature: temperature T of the distillation.
        distillation: direction of the divergence: `target-student`, KL(target ‖ student), is the usual one;
            `student-target` is the one of the authors' code.
        terms: further terms, by import path, each with a weight of its own.
        routing_penalty: weight of the mean squared routing logit.
        weigh_constraint: whether each expert's constraint is weighted by its α in the task, as in the authors' code.
    """

    inner_lr: float = 1e-3
    teacher_lr: float = 5e-3
    teacher_steps: int = 1
    distillation_weight: float = 0.25
    distillation_temperature: float = 2.0
    distillation: Direction = "target-student"
    routing_penalty: float = 1e-4
    weigh_constraint: bool = False
    teacher_weight: float | None = None
    pretrained_weight: float | None = None
    terms: list[Term] | None = None

    def __post_init__(self) -> None:
        for name in ("distillation_weight", "teacher_weight", "pretrained_weight"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise ConfigError(f"objective.{name} is {value}; it must be in 0..1")
        if self.distillation_temperature <= 0:
            raise ConfigError(f"objective.distillation_temperature is {self.distillation_temperature}; it must be > 0")
        if (self.teacher_weight is None) != (self.pretrained_weight is None):
            raise ConfigError("objective.teacher_weight and objective.pretrained_weight go together: give both")
        if self.teacher_weight and not self.teacher_steps:
            raise ConfigError("objective.teacher_weight needs a teacher: set objective.teacher_steps to 1 or more")
        if sum(self._target_weights().values()) > 1:
            raise ConfigError("objective.teacher_weight and objective.pretrained_weight add up to more than 1")

    def _target_weights(self) -> dict[Target, float]:
        """The weight of each target of the distillation."""
        if self.teacher_weight is not None and self.pretrained_weight is not None:
            return {"pretrained": self.pretrained_weight, "teacher": self.teacher_weight}
        if self.teacher_steps == 0:
            return {"pretrained": self.distillation_weight, "teacher": 0.0}
        return {"pretrained": self.distillation_weight / 2, "teacher": self.distillation_weight / 2}

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


@dataclass(frozen=True)
class TaskNoise:
    """What a training task draws: u of the gates (None: u = 1/2) and u of the relaxed Bernoulli (None: none)."""

    gates: Uniform | None = None
    routing: Tensor | None = None


@dataclass(frozen=True)
class TaskNetworks:
    """The networks that a task went through, flat: merged, after the inner step, after the teacher's steps."""

    merged: Float[Tensor, " params"]
    adapted: Float[Tensor, " params"]
    teacher: Float[Tensor, " params"] | None


@dataclass(kw_only=True)
class PassesResult:
    """What the passes over a task's networks gave.

    Attributes:
        terms: the parts of the loss, already weighted, by name.
        accuracy: of the student on the query set, 0..1.
        support_logits: `[n_support, way]`.
        student_logits, teacher_logits, pretrained_logits: `[n_query, way]`; None where a part is left out.
        state, adapted_state, teacher_state: tensors of the classifier of the merged network, after the inner step and
            after the teacher's steps; with nearest prototypes `prototypes`, `[way, dim]`.
        networks: where they are kept.
    """

    terms: dict[str, Tensor]
    accuracy: Tensor
    support_logits: Tensor
    student_logits: Tensor
    state: State
    adapted_state: State
    pretrained_logits: Tensor
    teacher_logits: Tensor | None = None
    teacher_state: State = field(default_factory=dict)
    networks: TaskNetworks | None = None

    @property
    def loss(self) -> Tensor:
        """The total."""
        return torch.stack(list(self.terms.values())).sum()


@dataclass(kw_only=True)
class TaskResult(PassesResult):
    """What came of one training task; gradients are in the pool's and the multipliers' `.grad`.

    Attributes:
        merge_weights: α, `[experts]`.
        routing_logits: a, `[experts]`.
        expected_density: of each expert.
        sparsity: measured, of each expert.
    """

    merge_weights: Tensor
    routing_logits: Tensor
    expected_density: Tensor
    sparsity: Tensor


@dataclass
class _Adapted:
    """A network and its classifier after the inner step.

    Attributes:
        network: before it; its graph of the pass over the support is kept by `state`.
        classifier: before it.
        state: the classifier's tensors that come from the support features.
        learned: its tensors that are parameters of the pool.
        vector, moved: parameters and state after it, constants to the outer loss.
        support_logits: before it.
    """

    network: Network
    classifier: Classifier
    state: State
    learned: State
    vector: Tensor
    moved: State
    support_logits: Tensor

    def logits(self, features: Tensor, state: State) -> Tensor:
        """Those of the classifier with other tensors in the place of its own."""
        return functional_call(self.classifier, state, (features,))


def _inner_step(network: Network, vector: Tensor, head: Head, episode: Episode, lr: float) -> _Adapted:
    """One first-order gradient step on the support loss, from one pass over the support.

    The step is a constant for the outer gradient, so the new vector is a leaf that stands in for the old one.
    """
    features = network(episode.support)
    classifier = head.fit(features, episode.support_labels, episode.way)
    tensors = dict(classifier.named_buffers())
    state = {name: value for name, value in tensors.items() if value.grad_fn is not None}
    learned = {name: value for name, value in tensors.items() if value.requires_grad and value.is_leaf}
    if not state:
        raise ConfigError(
            f"head {type(head).__name__} cannot be meta-tuned: its classifier keeps no buffer that depends on the "
            "support features and is differentiable"
        )
    anchor = {name: value.detach().requires_grad_() for name, value in state.items()}
    logits = functional_call(classifier, anchor, (features,))
    after, moved = vector.detach(), {name: value.detach() for name, value in anchor.items()}
    if lr:
        loss = cross_entropy(logits, episode.support_labels)
        step, *steps = network.gradient(loss, list(anchor.values()), retain_graph=True)
        after = after.sub(step, alpha=lr)
        moved = _moved(moved, steps, lr)
    return _Adapted(network, classifier, state, learned, after, moved, logits.detach())


def _moved(state: State, steps: Sequence[Tensor], lr: float) -> State:
    return {name: value.sub(step, alpha=lr) for (name, value), step in zip(state.items(), steps, strict=True)}


def _leaves(state: Mapping[str, Tensor]) -> State:
    return {name: value.detach().clone().requires_grad_() for name, value in state.items()}


@dataclass
class _Teacher:
    """The dense teacher: its parameters, its classifier's state and its query logits."""

    vector: Tensor
    state: State
    logits: Tensor


def _teach(
    make: partial[Network], episode: Episode, config: ObjectiveConfig, adapted: _Adapted, gradient: Sequence[Tensor]
) -> _Teacher:
    """Gradient steps on the query loss, free of gates.

    Args:
        make: gives the network of a vector.
        episode: the task.
        config: step size and number of steps.
        adapted: where they start.
        gradient: that of the query loss there, of the parameters and of the classifier's state.
    """
    lr = config.teacher_lr
    vector = adapted.vector.sub(gradient[0], alpha=lr)
    state = _moved(adapted.moved, gradient[1 : 1 + len(adapted.moved)], lr)
    for _ in range(config.teacher_steps - 1):
        network, leaves = make(vector), _leaves(state)
        logits = adapted.logits(network(episode.query), leaves)
        step, *steps = network.gradient(cross_entropy(logits, episode.query_labels), list(leaves.values()))
        vector, state = vector.sub(step, alpha=lr), _moved(state, steps, lr)
    with torch.no_grad():
        return _Teacher(vector, state, adapted.logits(make(vector)(episode.query), state))


def _pass_through_networks(
    pool: SparseInterpolatedExperts,
    vector: Tensor,
    head: Head,
    episode: Episode,
    config: ObjectiveConfig,
    precision: NetworkPrecision,
    pretrained_logits: Tensor,
    keep_networks: bool,
) -> tuple[PassesResult, Tensor, list[tuple[Tensor, Tensor]]]:
    """The losses on the query, the gradient of the merged network, and parameters of the head with their gradients."""
    make = partial(pool.network, precision=precision)
    adapted = _inner_step(make(vector), vector, head, episode, config.inner_lr)
    student, leaves = make(adapted.vector), _leaves(adapted.moved | adapted.learned)
    features = student(episode.query)
    logits = adapted.logits(features, leaves)
    outputs = QueryOutputs(episode.query_labels, features, logits, pretrained_logits)
    first, others = config.query_terms()
    loss = first(outputs)
    gradient = student.gradient(loss, list(leaves.values()), retain_graph=bool(others))
    result = PassesResult(
        terms={first.name: first.weight * loss.detach()},
        accuracy=(logits.argmax(1) == episode.query_labels).float().mean(),
        support_logits=adapted.support_logits,
        student_logits=logits.detach(),
        pretrained_logits=pretrained_logits,
        state={name: value.detach() for name, value in adapted.state.items()},
        adapted_state=adapted.moved,
    )
    teacher = None
    if any(term.needs_teacher for term in others):
        teacher = _teach(make, episode, config, adapted, gradient)
        result.teacher_logits, result.teacher_state = teacher.logits, teacher.state
        outputs = replace(outputs, teacher_logits=teacher.logits)
    for g in gradient:
        g.mul_(first.weight)
    if others:
        weighted = [(term.name, term.weight * term(outputs)) for term in others]
        for name, value in weighted:
            result.terms[name] = result.terms.get(name, 0) + value.detach()
        total = torch.stack([value for _, value in weighted]).sum()
        for g, more in zip(gradient, student.gradient(total, list(leaves.values())), strict=True):
            g.add_(more)
    if keep_networks:
        result.networks = TaskNetworks(vector, adapted.vector, teacher and teacher.vector)
    whole, *of_leaves = gradient
    of_state, of_learned = of_leaves[: len(adapted.state)], of_leaves[len(adapted.state) :]
    # The classifier comes from the merged network too: its gradient goes back through the support pass.
    (through_head,) = adapted.network.gradient(list(adapted.state.values()), cotangents=of_state)
    return result, whole.add_(through_head), list(zip(adapted.learned.values(), of_learned, strict=True))


def train_task(
    pool: SparseInterpolatedExperts,
    multipliers: Float[Tensor, " experts"],
    episode: Episode,
    config: ObjectiveConfig,
    *,
    target_sparsity: float | None,
    head: Head | None = None,
    noise: TaskNoise | None = None,
    precision: NetworkPrecision = "32-true",
    weight: float = 1.0,
    keep_networks: bool = False,
) -> TaskResult:
    """One training task: its loss, and its gradients added to the `.grad` of the pool's parameters and `multipliers`.

    At most two passes over the support and, with one teacher step, three over the query.

    Args:
        pool: in training mode, with at least one expert.
        multipliers: λ, a leaf.
        episode: images normalised and on the pool's device.
        config: the objective.
        target_sparsity: τ in [0, 1); None leaves the constraint out.
        head: nearest prototypes by default, with the pool's learned scale where it has one.
        noise: the task's draws; deterministic without.
        precision: of the passes over networks; everything else is float32.
        weight: factor of the gradients, 1 over the number of tasks in a meta-batch.
        keep_networks: have them in the result, P numbers each.

    Raises:
        ConfigError: a head that is not differentiable.
    """
    if head is not None and not head.differentiable:
        raise ConfigError(f"head {type(head).__name__} cannot be meta-tuned: it is not differentiable")
    noise, n_support = noise or TaskNoise(), len(episode.support)
    labels, way = episode.support_labels, episode.way
    with torch.no_grad():
        frozen = pool.network(pool.pretrained, precision)(torch.cat([episode.support, episode.query]))
        pretrained_logits = (head or Prototype()).fit(frozen[:n_support], labels, way)(frozen[n_support:])
    merge_weights, routing_logits = pool.route(class_prototypes(frozen[:n_support], labels, way), noise.routing)
    merged = pool.merge(merge_weights, noise.gates)
    passes, gradient, learned = _pass_through_networks(
        pool,
        merged.vector.detach(),
        head or Prototype(pool.head),
        episode,
        config,
        precision,
        pretrained_logits,
        keep_networks,
    )
    outer = _outer_terms(merged, merge_weights.detach(), routing_logits, multipliers, target_sparsity, config)
    passes.terms |= {name: term.detach() for name, term in outer.items()}
    total = torch.stack([*outer.values(), merged.vector.new_zeros(())]).sum()
    roots = [merged.vector, *(parameter for parameter, _ in learned)]
    cotangents = [gradient.mul_(weight), *(g.mul_(weight) for _, g in learned)]
    if total.requires_grad:
        roots.append(total)
        cotangents.append(torch.full_like(total, weight))
    torch.autograd.backward(roots, cotangents)
    return TaskResult(
        **vars(passes),
        merge_weights=merge_weights.detach(),
        routing_logits=routing_logits.detach(),
        expected_density=merged.expected_density.detach(),
        sparsity=merged.sparsity,
    )


def _outer_terms(
    merged: Merged,
    merge_weights: Tensor,
    routing_logits: Tensor,
    multipliers: Tensor,
    target_sparsity: float | None,
    config: ObjectiveConfig,
) -> dict[str, Tensor]:
    """The terms of the loss that need no network."""
    terms = {}
    if target_sparsity is not None:
        constraint = lagrangian(
            merged, multipliers, target_sparsity, merge_weights if config.weigh_constraint else None
        )
        terms = {"density": constraint.descent, "constraint": constraint.ascent}
    if config.routing_penalty:
        terms["routing"] = config.routing_penalty * routing_logits.square().mean()
    return terms
