"""The meta-objective of one training task, with every pass over a network made once.

For task i with support S, query Q and merge weights α (paper, eq. 6), the experts make
θ_i = θ_pre + Σ_m α_m (z_m ⊙ θ_δ) (eq. 4). The head fitted to the support features of θ_i has the state c: with nearest
prototypes the class means. One first-order step on the support loss adapts both, a constant to the outer gradient:

    θ_i', c' = (θ_i, c) - lr_inner · ∇ CE(S; θ_i, c)

The student (θ_i', c') is trained on the query (paper, section 3.4) by

    L = (1 - w_teacher - w_pretrained) · CE(Q; θ_i', c')
      + w_teacher · T² KL(p_teacher ‖ p_student)                                      predictions at temperature T
      + w_pretrained · T² KL(p_pretrained ‖ p_student)                                each weight w/2 by default
      + Σ_k w_k · term_k                                                              terms of one's own
      + Σ_m λ_m (E[density_m] - (1 - τ)) + Σ_m λ_m (sparsity_m - τ)                   see `constraint`
      + 1e-4 · mean_m a_m²                                  a: routing logits, the null expert's among them

The dense teacher is (θ_i', c') after one or more gradient steps on CE(Q) that no gate restrains. A weight of 0 leaves a
target out, and gives what it had to the cross-entropy; the other target keeps its weight.

The frozen network sees support and query once (routing and distillation share it), the adapted network the support once
(inner step and head share it), the student the query; the teacher's first gradient comes from the student's own graph,
so the teacher costs one more pass over the query. Gradients with respect to whole networks stop at these; only their
sum goes back through the interpolation, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.episodes import Episode
from smat.errors import ConfigError
from smat.experts import Merged, SparseInterpolatedExperts, class_prototypes
from smat.experts.interpolation import Uniform
from smat.heads import Head, Prototype
from smat.metatuning.constraint import Budget, lagrangian
from smat.metatuning.objective_config import ObjectiveConfig
from smat.metatuning.passes import PassesResult, pass_through_networks
from smat.precision import NetworkPrecision
from smat.rng import torch_generator
from smat.transfer import onto


@dataclass(frozen=True)
class TaskNoise:
    """What a training task draws: u of the gates (None: u = 1/2) and u of the relaxed Bernoulli (None: none)."""

    gates: Uniform | None = None
    routing: Tensor | None = None

    @classmethod
    def of_task(cls, pool: SparseInterpolatedExperts, seed: int, task: int) -> "TaskNoise":
        """The draws of a training task: functions of the seed and its number alone."""
        device = pool.pretrained.device

        def gates(start: int, stop: int) -> Tensor:
            u = torch.rand(pool.config.experts, stop - start, generator=torch_generator(seed, "gates", task, start))
            return onto(u.clamp_(1e-6, 1 - 1e-6), device)

        generator = torch_generator(seed, "routing", task)
        routing = torch.rand(pool.config.routes, generator=generator).clamp_(1e-6, 1 - 1e-6)
        return cls(gates if pool.config.random_gates else None, onto(routing, device))


@dataclass(kw_only=True)
class TaskResult(PassesResult):
    """What came of one training task; gradients are in the pool's and the multipliers' `.grad`.

    Attributes:
        merge_weights: α, `[experts]`.
        routing_logits: a, `[experts]`, and a last one with a null expert.
        expected_density: of each expert.
        sparsity: measured, of each expert.
        frozen_accuracy: of the frozen network on the query set, 0..1, through the same head.
        feature_spread: relative spread of the student's query features over that of the frozen network's; 0 where the
            student gives all images the same features.
    """

    merge_weights: Tensor
    routing_logits: Tensor
    expected_density: Tensor
    sparsity: Tensor
    frozen_accuracy: Tensor
    feature_spread: Tensor


def relative_spread(features: Float[Tensor, "n dim"]) -> Float[Tensor, ""]:
    """Root mean square distance of features from their mean, over their root mean square norm, 0..1; of overflow 0."""
    spread = (features - features.mean(0)).norm() / features.norm().clamp_min(torch.finfo(features.dtype).tiny)
    return spread.nan_to_num(0.0)


def _spread_over(features: Tensor, frozen: Tensor) -> Tensor:
    """The relative spread of features over that of the frozen network's; 1 where the latter have none to lose."""
    reference = relative_spread(frozen)
    return torch.where(reference > 0, relative_spread(features) / reference, 1.0)


def train_task(
    pool: SparseInterpolatedExperts,
    multipliers: Float[Tensor, " budgets"],
    episode: Episode,
    config: ObjectiveConfig,
    *,
    target_sparsity: float | Sequence[float] | None,
    budget: Budget = "expert",
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
        target_sparsity: τ in [0, 1), one for all or one per expert; None leaves the constraint out.
        budget: what the constraint holds for.
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
    passes, gradient, learned = pass_through_networks(
        pool,
        merged.vector.detach(),
        head or Prototype(pool.head),
        episode,
        config,
        precision,
        pretrained_logits,
        keep_networks,
    )
    outer = _outer_terms(merged, merge_weights.detach(), routing_logits, multipliers, target_sparsity, budget, config)
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
        frozen_accuracy=(pretrained_logits.argmax(1) == episode.query_labels).float().mean(),
        feature_spread=_spread_over(passes.student_features, frozen[n_support:]),
    )


def _outer_terms(
    merged: Merged,
    merge_weights: Tensor,
    routing_logits: Tensor,
    multipliers: Tensor,
    target_sparsity: float | Sequence[float] | None,
    budget: Budget,
    config: ObjectiveConfig,
) -> dict[str, Tensor]:
    """The terms of the loss that need no network."""
    terms = {}
    if target_sparsity is not None:
        constraint = lagrangian(
            merged, multipliers, target_sparsity, merge_weights if config.weigh_constraint else None, budget
        )
        terms = {"density": constraint.descent, "constraint": constraint.ascent}
    if config.routing_penalty:
        terms["routing"] = config.routing_penalty * routing_logits.square().mean()
    return terms
