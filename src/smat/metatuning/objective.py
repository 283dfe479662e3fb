"""The meta-objective of one training task, with every pass over a network made once.

The frozen network sees support and query (routing and distillation share it), the adapted network the support (inner
step and prototypes share it), the student the query; the teacher's first gradient comes from the student's own graph,
so the teacher costs one more pass over the query. Gradients with respect to whole networks stop at these; only their
sum goes back through the interpolation, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from smat.episodes import Episode
from smat.errors import ConfigError
from smat.experts.interpolation import Merged, Uniform
from smat.experts.network import Network
from smat.experts.pool import SparseInterpolatedExperts
from smat.experts.prototypes import class_prototypes, cosine_logits
from smat.metatuning.constraint import lagrangian
from smat.precision import NetworkPrecision


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a training task minimises (DESIGN.md, meta-objective; paper, section 3.4).

    Attributes:
        inner_lr: step size of the support step from θ_i; 0 leaves it out.
        teacher_lr: step size of the dense teacher's steps on the query loss.
        teacher_steps: number of those; 0 leaves the teacher out.
        distillation_weight: w in (1-w)·CE + w·KD; 0 leaves distillation out.
        distillation_temperature: T of the distillation.
        distillation: `target-student` is KL(target ‖ student), the usual direction; `student-target` the authors'.
        routing_penalty: weight of the mean squared routing logit.
        weigh_constraint: weigh each expert's constraint by its α in the task, as the authors' code does.
    """

    inner_lr: float = 1e-3
    teacher_lr: float = 5e-3
    teacher_steps: int = 1
    distillation_weight: float = 0.25
    distillation_temperature: float = 2.0
    distillation: Literal["target-student", "student-target"] = "target-student"
    routing_penalty: float = 1e-4
    weigh_constraint: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.distillation_weight <= 1:
            raise ConfigError(f"objective.distillation_weight is {self.distillation_weight}; it must be in 0..1")
        if self.distillation_temperature <= 0:
            raise ConfigError(f"objective.distillation_temperature is {self.distillation_temperature}; it must be > 0")

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
        prototypes, adapted_prototypes, teacher_prototypes: `[way, dim]`.
        networks: where they are kept.
    """

    terms: dict[str, Tensor]
    accuracy: Tensor
    support_logits: Tensor
    student_logits: Tensor
    prototypes: Tensor
    adapted_prototypes: Tensor
    teacher_logits: Tensor | None = None
    teacher_prototypes: Tensor | None = None
    pretrained_logits: Tensor | None = None
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


def distillation_loss(
    student: Float[Tensor, "n way"],
    target: Float[Tensor, "n way"],
    temperature: float,
    direction: Literal["target-student", "student-target"] = "target-student",
) -> Float[Tensor, ""]:
    """T²·KL between softened predictions, averaged over images (Hinton et al. 2015)."""
    log_student, log_target = log_softmax(student / temperature, 1), log_softmax(target / temperature, 1)
    if direction == "student-target":
        log_student, log_target = log_target, log_student
    return kl_div(log_student, log_target, reduction="batchmean", log_target=True) * temperature**2


@dataclass
class _Adapted:
    """A network after the inner step; `prototypes` keep the graph of the support's pass over `network`."""

    network: Network
    prototypes: Tensor
    vector: Tensor
    moved_prototypes: Tensor
    support_logits: Tensor


def _inner_step(
    pool: SparseInterpolatedExperts, vector: Tensor, episode: Episode, lr: float, precision: NetworkPrecision
) -> _Adapted:
    """One first-order gradient step on the support loss, from one pass over the support.

    The step is a constant for the outer gradient, so the new vector is a leaf that stands in for the old one.
    """
    network = pool.network(vector, precision)
    features = network(episode.support)
    prototypes = class_prototypes(features, episode.support_labels, episode.way)
    anchor = prototypes.detach().requires_grad_()
    logits = pool.logits(features, anchor)
    after, moved = vector.detach(), anchor.detach()
    if lr:
        loss = cross_entropy(logits, episode.support_labels)
        step, step_prototypes = network.gradient(loss, [anchor], retain_graph=True)
        after, moved = after.sub(step, alpha=lr), moved.sub(step_prototypes, alpha=lr)
    return _Adapted(network, prototypes, after, moved, logits.detach())


def _teach(
    pool: SparseInterpolatedExperts,
    episode: Episode,
    config: ObjectiveConfig,
    precision: NetworkPrecision,
    adapted: _Adapted,
    gradient: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """The dense teacher: gradient steps on the query loss, free of gates; its vector, prototypes and query logits.

    Args:
        gradient: that of the query loss at the adapted network and its prototypes.
    """
    lr = config.teacher_lr
    vector, prototypes = (
        start.sub(g, alpha=lr)
        for start, g in zip((adapted.vector, adapted.moved_prototypes), gradient[:2], strict=True)
    )
    for _ in range(config.teacher_steps - 1):
        network, leaf = pool.network(vector, precision), prototypes.clone().requires_grad_()
        logits = pool.logits(network(episode.query), leaf)
        step, step_prototypes = network.gradient(cross_entropy(logits, episode.query_labels), [leaf])
        vector, prototypes = vector.sub(step, alpha=lr), prototypes.sub(step_prototypes, alpha=lr)
    with torch.no_grad():
        return vector, prototypes, pool.logits(pool.network(vector, precision)(episode.query), prototypes)


def _pass_through_networks(
    pool: SparseInterpolatedExperts,
    vector: Tensor,
    episode: Episode,
    config: ObjectiveConfig,
    precision: NetworkPrecision,
    pretrained_logits: Tensor,
    keep_networks: bool,
) -> tuple[PassesResult, list[Tensor]]:
    """The losses on the query, and their gradients: of the merged network `vector` and of a learned head."""
    w = config.distillation_weight
    adapted = _inner_step(pool, vector, episode, config.inner_lr, precision)
    student, leaf = pool.network(adapted.vector, precision), adapted.moved_prototypes.clone().requires_grad_()
    head = None if pool.head is None else pool.head.detach().clone().requires_grad_()
    leaves = [leaf] if head is None else [leaf, head]
    logits = cosine_logits(student(episode.query), leaf, head)
    loss = cross_entropy(logits, episode.query_labels)
    gradient = student.gradient(loss, leaves, retain_graph=w > 0)
    result = PassesResult(
        terms={"cross_entropy": (1 - w) * loss.detach()},
        accuracy=(logits.argmax(1) == episode.query_labels).float().mean(),
        support_logits=adapted.support_logits,
        student_logits=logits.detach(),
        prototypes=adapted.prototypes.detach(),
        adapted_prototypes=adapted.moved_prototypes,
    )
    teacher = None
    if w:
        result.pretrained_logits = pretrained_logits
        targets = [pretrained_logits]
        if config.teacher_steps:
            teacher, result.teacher_prototypes, result.teacher_logits = _teach(
                pool, episode, config, precision, adapted, gradient
            )
            targets.append(result.teacher_logits)
            teacher = teacher if keep_networks else None
        distances = [
            distillation_loss(logits, t, config.distillation_temperature, config.distillation) for t in targets
        ]
        distance = torch.stack(distances).mean()
        result.terms["distillation"] = w * distance.detach()
        for g, g_distance in zip(gradient, student.gradient(distance, leaves), strict=True):
            g.mul_(1 - w).add_(g_distance, alpha=w)
    if keep_networks:
        result.networks = TaskNetworks(vector, adapted.vector, teacher)
    # The prototypes come from the merged network too: their gradient goes back through the support pass.
    (through_prototypes,) = adapted.network.gradient(adapted.prototypes, cotangent=gradient[1])
    return result, [gradient[0].add_(through_prototypes), *gradient[2:]]


def train_task(
    pool: SparseInterpolatedExperts,
    multipliers: Float[Tensor, " experts"],
    episode: Episode,
    config: ObjectiveConfig,
    *,
    target_sparsity: float | None,
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
        noise: the task's draws; deterministic without.
        precision: of the passes over networks; everything else is float32.
        weight: factor of the gradients, 1 over the number of tasks in a meta-batch.
        keep_networks: have them in the result, P numbers each.
    """
    noise, n_support = noise or TaskNoise(), len(episode.support)
    with torch.no_grad():
        frozen = pool.network(pool.pretrained, precision)(torch.cat([episode.support, episode.query]))
    probe = class_prototypes(frozen[:n_support], episode.support_labels, episode.way)
    pretrained_logits = cosine_logits(frozen[n_support:], probe)
    merge_weights, routing_logits = pool.route(probe, noise.routing)
    merged = pool.merge(merge_weights, noise.gates)
    passes, gradients = _pass_through_networks(
        pool, merged.vector.detach(), episode, config, precision, pretrained_logits, keep_networks
    )
    outer = _outer_terms(merged, merge_weights.detach(), routing_logits, multipliers, target_sparsity, config)
    passes.terms |= {name: term.detach() for name, term in outer.items()}
    total = torch.stack([*outer.values(), merged.vector.new_zeros(())]).sum()
    roots = [merged.vector] if pool.head is None else [merged.vector, pool.head]
    cotangents = [gradient.mul_(weight) for gradient in gradients]
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
