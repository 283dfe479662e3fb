"""Meta-tuning as one would write it first: the same formulas, without what makes them fast.

Every parameter has its own tensors. The experts' gates exist in full and stay in autograd's graph. Every quantity makes
its own pass over a network, all in one floating type. `smat bench` measures the package against this code, and tests
compare the package's losses and gradients with it.
"""

import copy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize

from smat.episodes import Episode
from smat.experts import LearnedGates, SparseInterpolatedExperts
from smat.metatuning.objective_config import ObjectiveConfig

Parameters = dict[str, Tensor]


class EagerExperts:
    """The numbers of a pool, copied into one tensor per parameter.

    Args:
        pool: pool with one gate per parameter (structure `parameter`).
        multipliers: multipliers λ, `[experts]`.

    Attributes:
        pretrained: θ_pre by name.
        delta: θ_δ by name.
        gate_logits: φ by name, `[experts, *shape]`.
        router: a copy of the hypernetwork.
        multipliers: a copy of λ.
    """

    def __init__(self, pool: SparseInterpolatedExperts, multipliers: Tensor) -> None:
        self.backbone = pool.backbone
        update = pool.update
        if not isinstance(update, LearnedGates):
            raise TypeError(f"the eager code is of learned gates, not of {type(update).__name__}")
        self.gates, self.temperature = update.gate_distribution, pool.temperature
        self.pretrained: Parameters = {}
        self.delta: Parameters = {}
        self.gate_logits: Parameters = {}
        for (name, where), shape in zip(pool.layout.slices.items(), pool.layout.shapes, strict=True):
            self.pretrained[name] = pool.pretrained[where].view(shape).clone()
            self.delta[name] = _leaf(update.delta[where].view(shape).clone())
            self.gate_logits[name] = _leaf(update.gate_logits[:, where].reshape(-1, *shape).clone())
        self.router = copy.deepcopy(pool.router)
        self.multipliers = _leaf(multipliers.clone())

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        self.router.zero_grad()
        for leaf in (*self.delta.values(), *self.gate_logits.values(), self.multipliers):
            leaf.grad = None

    def masks(self) -> Parameters:
        """The experts' deterministic gates by name, `[experts, *shape]`."""
        hc = self.gates
        return {
            name: (torch.sigmoid(phi / hc.beta) * (hc.zeta - hc.gamma) + hc.gamma).clamp(0, 1)
            for name, phi in self.gate_logits.items()
        }

    def merge(self, weights: Tensor, masks: Parameters) -> Parameters:
        """θ_pre + Σ_m α_m (z_m ⊙ θ_δ) by name."""
        return {
            name: self.pretrained[name] + torch.tensordot(weights, mask, 1) * self.delta[name]
            for name, mask in masks.items()
        }

    def densities(self) -> Tensor:
        """Expected density of each expert."""
        open_gates = [
            torch.sigmoid(phi - self.gates.density_shift).flatten(1).sum(1) for phi in self.gate_logits.values()
        ]
        return torch.stack(open_gates).sum(0) / self.size

    def sparsities(self, masks: Parameters) -> Tensor:
        """Measured share of closed gates of each expert."""
        closed = [(mask == 0).flatten(1).sum(1) for mask in masks.values()]
        return torch.stack(closed).sum(0).to(self.multipliers.dtype) / self.size

    @property
    def size(self) -> int:
        """The number of parameters P."""
        return sum(value.numel() for value in self.pretrained.values())

    def features(self, parameters: Parameters, images: Tensor) -> Tensor:
        """One pass over the network."""
        return functional_call(self.backbone, parameters, (images,))

    def route(self, support: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Merge weights and routing logits."""
        with torch.no_grad():
            prototypes = _prototypes(self.features(self.pretrained, support), labels)
        logits = self.router(prototypes)
        scores = torch.sigmoid(logits / self.temperature)
        return scores / scores.sum(), logits


def evaluate_episode(experts: EagerExperts, episode: Episode) -> Tensor:
    """Query logits of the merged network, `[n_query, way]`."""
    with torch.no_grad():
        weights, _ = experts.route(episode.support, episode.support_labels)
        network = experts.merge(weights, experts.masks())
        prototypes = _prototypes(experts.features(network, episode.support), episode.support_labels)
        return _classify(experts.features(network, episode.query), prototypes)


def train_task(
    experts: EagerExperts, episode: Episode, config: ObjectiveConfig, target_sparsity: float | None
) -> dict[str, Tensor]:
    """The loss of one training task, by terms; leaves the gradients in `.grad`."""
    weights, routing_logits = experts.route(episode.support, episode.support_labels)
    masks = experts.masks()
    network = experts.merge(weights, masks)
    prototypes = _prototypes(experts.features(network, episode.support), episode.support_labels)

    if config.inner_lr:
        step, step_prototypes = _gradient(experts, network, prototypes, episode.support, episode.support_labels)
        network = {name: value - config.inner_lr * step[name] for name, value in network.items()}
        prototypes = prototypes - config.inner_lr * step_prototypes
    logits = _classify(experts.features(network, episode.query), prototypes)

    w = config.distillation_weight
    terms = {"cross_entropy": (1 - w) * cross_entropy(logits, episode.query_labels)}
    if w:
        targets = [_pretrained_logits(experts, episode)]
        if config.teacher_steps:
            targets.append(_teacher_logits(experts, network, prototypes, episode, config))
        terms["distillation"] = w * torch.stack([_divergence(logits, t, config) for t in targets]).mean()
    if target_sparsity is not None:
        terms |= _constraint(experts, masks, weights, target_sparsity, config)
    if config.routing_penalty:
        terms["routing"] = config.routing_penalty * routing_logits.square().mean()
    torch.stack(list(terms.values())).sum().backward()
    return {name: term.detach() for name, term in terms.items()}


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def _prototypes(features: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([features[labels == c].mean(0) for c in range(int(labels.max()) + 1)])


def _classify(features: Tensor, prototypes: Tensor) -> Tensor:
    return 10 * normalize(features, dim=1) @ normalize(prototypes, dim=1).T


def _gradient(
    experts: EagerExperts, network: Parameters, prototypes: Tensor, images: Tensor, labels: Tensor
) -> tuple[Parameters, Tensor]:
    """Gradients of the cross-entropy with respect to the network and the prototypes, detached."""
    leaves, anchor = {name: _leaf(value) for name, value in network.items()}, _leaf(prototypes)
    loss = cross_entropy(_classify(experts.features(leaves, images), anchor), labels)
    *gradients, last = torch.autograd.grad(loss, [*leaves.values(), anchor])
    return dict(zip(leaves, gradients, strict=True)), last


def _teacher_logits(
    experts: EagerExperts, network: Parameters, prototypes: Tensor, episode: Episode, config: ObjectiveConfig
) -> Tensor:
    """Query logits after gradient steps on the query loss itself."""
    prototypes = prototypes.detach()
    network = {name: value.detach() for name, value in network.items()}
    for _ in range(config.teacher_steps):
        step, step_prototypes = _gradient(experts, network, prototypes, episode.query, episode.query_labels)
        network = {name: value - config.teacher_lr * step[name] for name, value in network.items()}
        prototypes = prototypes - config.teacher_lr * step_prototypes
    with torch.no_grad():
        return _classify(experts.features(network, episode.query), prototypes)


def _pretrained_logits(experts: EagerExperts, episode: Episode) -> Tensor:
    with torch.no_grad():
        prototypes = _prototypes(experts.features(experts.pretrained, episode.support), episode.support_labels)
        return _classify(experts.features(experts.pretrained, episode.query), prototypes)


def _divergence(student: Tensor, target: Tensor, config: ObjectiveConfig) -> Tensor:
    temperature = config.distillation_temperature
    p, q = log_softmax(target / temperature, 1), log_softmax(student / temperature, 1)
    if config.distillation == "student-target":
        p, q = q, p
    return kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def _constraint(
    experts: EagerExperts, masks: Parameters, weights: Tensor, target: float, config: ObjectiveConfig
) -> Parameters:
    """The Lagrangian's terms; multipliers of experts that are sparse enough are set to 0 first."""
    sparsity = experts.sparsities(masks)
    with torch.no_grad():
        experts.multipliers.clamp_(min=0)[sparsity > target] = 0
    factors = weights.detach() if config.weigh_constraint else torch.ones_like(weights)
    excess = experts.densities() - (1 - target)
    return {
        "density": (excess * experts.multipliers.detach() * factors).sum(),
        "constraint": ((sparsity - target) * experts.multipliers * factors).sum(),
    }


def gradients(experts: EagerExperts) -> dict[str, Tensor]:
    """All gradients by the pool's names and in its shapes: `delta`, `gate_logits`, `router.*`, and `multipliers`."""
    return {
        "delta": torch.cat([_grad(leaf).flatten() for leaf in experts.delta.values()]),
        "gate_logits": torch.cat([_grad(leaf).flatten(1) for leaf in experts.gate_logits.values()], 1),
        **{f"router.{name}": _grad(leaf) for name, leaf in experts.router.named_parameters()},
        "multipliers": _grad(experts.multipliers),
    }


def _grad(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
