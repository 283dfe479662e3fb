"""The numbers of a training task, and those of a step: what is logged."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from smat.experts import SparseInterpolatedExperts
from smat.metatuning.objective import TaskResult
from smat.metatuning.processes import Processes


def routing_entropy(weights: Float[Tensor, " routes"]) -> Float[Tensor, ""]:
    """The entropy of merge weights over its maximum log M, 0..1: 0 where one expert has all, 1 where all have alike.

    Args:
        weights: two or more, of sum 1; with a null expert its weight is one of them.
    """
    return torch.special.entr(weights).sum() / math.log(len(weights))


def numbers(result: TaskResult) -> dict[str, Tensor]:
    """What is kept of a task once its gradients are taken."""
    routing = result.merge_weights
    if len(result.routing_logits) > len(routing):  # the null expert has the rest
        routing = torch.cat([routing, (1 - routing.sum()).clamp(min=0)[None]])
    terms: dict[str, Any] = {f"loss/{name}": value for name, value in result.terms.items()}
    if len(routing) > 1:
        terms["routing_entropy"] = routing_entropy(routing)
    return terms | {
        "loss": result.loss,
        "accuracy": result.accuracy,
        "accuracy/frozen": result.frozen_accuracy,
        "feature_spread": result.feature_spread,
        "sparsity": result.sparsity,
        "merge_weights": result.merge_weights,
    }


def averaged(
    results: Sequence[Mapping[str, Tensor]],
    norms: Mapping[str, float],
    pool: SparseInterpolatedExperts,
    multipliers: Tensor,
    processes: Processes,
) -> tuple[dict[str, float], list[float]]:
    """The numbers of a step by name, averaged over the tasks of all processes, and the sparsity of each expert."""
    mean = {key: processes.mean(torch.stack([r[key] for r in results]).mean(0)) for key in results[0]}
    sparsity = [round(s, 4) for s in mean.pop("sparsity").tolist()]
    routing = mean.pop("merge_weights").tolist()
    values = {key: float(value) for key, value in mean.items()}
    values |= {f"gradient_norm/{group}": norm for group, norm in norms.items()}
    values |= {f"sparsity/{m}": s for m, s in enumerate(sparsity)}
    values |= {f"multiplier/{m}": v for m, v in enumerate(multipliers.clamp(min=0).tolist())}
    values |= {f"merge_weight/{m}": w for m, w in enumerate(routing)}
    if pool.config.null_expert:
        values["merge_weight/null"] = 1 - sum(routing)
    values["temperature"] = pool.temperature
    return values, sparsity
