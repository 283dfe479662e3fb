"""The numbers of a training task, and those of a step: what is logged."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
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
    norms: Mapping[str, Tensor],
    asked: bool,
    pool: SparseInterpolatedExperts,
    multipliers: Tensor,
    processes: Processes,
) -> tuple[dict[str, float], list[float], bool, bool]:
    """What is to know of a step before it is made, over the tasks of all processes; a GPU is waited for once.

    Args:
        results: the numbers of this process's tasks.
        norms: of the gradients, by group.
        asked: whether this process was asked to stop.
        pool: whose tasks these are.
        multipliers: λ.
        processes: the others.

    Returns:
        The average numbers by name; the sparsity of each expert; whether any process was asked to stop; and whether
        any task's loss is not finite.
    """
    found = {key: torch.stack([r[key] for r in results]).mean(0) for key in results[0]}
    found |= {f"gradient_norm/{group}": norm for group, norm in norms.items()}
    found["multipliers"] = multipliers.detach().clamp(min=0)
    found["asked"] = torch.full((), float(asked), device=multipliers.device)
    found["broken"] = 1 - torch.stack([r["loss"].isfinite().all() for r in results]).float().min()
    flat = torch.cat([value.detach().float().flatten() for value in found.values()])
    read = iter(processes.mean(flat).cpu().tolist())
    numbers = {key: list(islice(read, value.numel())) for key, value in found.items()}
    sparsity = [round(s, 4) for s in numbers.pop("sparsity")]
    routing, of_budgets = numbers.pop("merge_weights"), numbers.pop("multipliers")
    (any_asked,), (any_broken,) = numbers.pop("asked"), numbers.pop("broken")
    values = {key: value for key, (value,) in numbers.items()}
    values |= {f"sparsity/{m}": s for m, s in enumerate(sparsity)}
    by_expert = torch.tensor(of_budgets).view(min(len(sparsity), len(of_budgets)), -1).mean(1)
    values |= {f"multiplier/{m}": v for m, v in enumerate(by_expert.tolist())}
    values |= {f"merge_weight/{m}": w for m, w in enumerate(routing)}
    if pool.config.null_expert:
        values["merge_weight/null"] = 1 - sum(routing)
    values["temperature"] = pool.temperature
    return values, sparsity, any_asked > 0, any_broken > 0
