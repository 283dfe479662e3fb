"""The passes of a training task over its networks: support, student, teacher, and back to the merged network."""

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
from smat.experts import Network, SparseInterpolatedExperts
from smat.heads import Classifier, Head
from smat.metatuning.objective_config import ObjectiveConfig
from smat.metatuning.terms import QueryOutputs
from smat.precision import NetworkPrecision

State = dict[str, Tensor]
"""Tensors of a classifier by name."""


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
        student_features: of the query images, `[n_query, dim]`.
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
    student_features: Tensor
    teacher_logits: Tensor | None = None
    teacher_state: State = field(default_factory=dict)
    networks: TaskNetworks | None = None

    @property
    def loss(self) -> Tensor:
        """The total."""
        return torch.stack(list(self.terms.values())).sum()


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


def pass_through_networks(
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
        student_features=features.detach(),
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
