"""How far the gradients of different tasks point the same way: their cosines, by group of parameters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from smat.episodes import Episode, EpisodeSource
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.objective import train_task
from smat.metatuning.optimizers import parameter_groups
from smat.metatuning.settings import TuningConfig
from smat.precision import NetworkPrecision
from smat.rng import derive_seed, torch_generator

Pairs = Literal["all", "within", "between"]
"""Pairs of tasks: all of them, those of one domain, or those of two domains."""

PAIRS: tuple[Pairs, ...] = get_args(Pairs)

PROBE_TASKS = 2
"""Tasks per training domain whose gradients a run records."""

EXACT_BYTES = 2 * 2**30
"""Bytes of gradients up to which cosines are exact; beyond, those of the largest groups are of sketches."""

SKETCH = 4096
"""Numbers of a sketch: a cosine ρ then has the standard error (1 - ρ²)/√4096, at most 0.016."""

_CHUNK = 2**20  # numbers that are worked on at a time


@dataclass(frozen=True)
class GradientCosines:
    """Cosines between the gradients of tasks, by group of parameters.

    Attributes:
        tasks: id of each task.
        domains: domain of each task.
        groups: cosines `[tasks, tasks]` in -1..1 of each group (`delta`, `gates`, `router`, as far as there are such
            parameters); NaN where one of the two gradients is zero or not finite.
        sketched: groups whose cosines are of sketches, with a standard error of at most 0.016 each.
    """

    tasks: tuple[str, ...]
    domains: tuple[str, ...]
    groups: dict[str, np.ndarray]
    sketched: tuple[str, ...] = ()

    def chosen(self, pairs: Pairs) -> np.ndarray:
        """Which pairs of different tasks are meant, `[tasks, tasks]`, symmetric."""
        same = np.equal.outer(np.array(self.domains), np.array(self.domains))
        kind = {"all": np.ones_like(same), "within": same, "between": ~same}[pairs]
        return kind & ~np.eye(len(same), dtype=bool)

    def mean(self, group: str, pairs: Pairs) -> float:
        """The mean cosine over pairs of different tasks; NaN where there are none."""
        cosines = self.groups[group][self.chosen(pairs)]
        cosines = cosines[~np.isnan(cosines)]
        return float(cosines.mean()) if len(cosines) else float("nan")

    def values(self) -> dict[str, float]:
        """The means that there are by the names of the log, as `alignment/delta/within`."""
        means = {f"alignment/{group}/{pairs}": self.mean(group, pairs) for group in self.groups for pairs in PAIRS}
        return {name: mean for name, mean in means.items() if not np.isnan(mean)}


class Probe:
    """Some tasks of each domain of a source, always the same, and others than a training on the source sees.

    They are drawn from a random stream of their own, and their images are only cut. Each is made when it is asked for.

    Args:
        source: whose domains, split, sampler and images the tasks have; of given episodes, each domain's first ones.
        seed: random seed of the run.
        per_domain: number of tasks per domain.
    """

    def __init__(self, source: EpisodeSource, seed: int, per_domain: int = PROBE_TASKS) -> None:
        if source.plans is not None:
            of_domain = [[n for n, p in enumerate(source.plans) if p.domain == d.name] for d in source.domains]
            self._tasks = [(source, n) for numbers in of_domain for n in numbers[:per_domain]]
            return
        sources = [
            EpisodeSource(
                [domain],
                source.split,
                source.sampler,
                image_format=source.image_format,
                transforms=source.transforms,
                seed=derive_seed(seed, "alignment"),
                joined=source.joined,
                tracks=source.tracks,
            )
            for domain in source.domains
        ]
        self._tasks = [(source, n) for source in sources for n in range(per_domain)]

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self._tasks)

    def __iter__(self) -> Iterator[Episode]:
        """The tasks, domain by domain; raises a DataError where an image cannot be read."""
        return (source.episode(n) for source, n in self._tasks)


def gradient_cosines(
    pool: SparseInterpolatedExperts,
    episodes: Sequence[Episode] | Probe,
    config: TuningConfig,
    precision: NetworkPrecision,
    *,
    exact_bytes: int = EXACT_BYTES,
    on_task: Callable[[int], None] = lambda _: None,
) -> GradientCosines:
    """The cosines between tasks' gradients at the present parameters; pool, `.grad` and randomness stay as they are.

    A task's gradient is that of its training loss without what pulls the gradients of all tasks the same way whatever
    they are: the constraint on sparsity and the penalty on routing logits. Gates are deterministic, and routing is
    without noise.

    Args:
        pool: with experts, on the device to compute on.
        episodes: tasks, images normalised.
        config: objective, head and seed.
        precision: of the passes over networks.
        exact_bytes: bytes of gradients up to which cosines are exact; beyond, the largest groups are sketched.
        on_task: called with the number of tasks done after each.
    """
    groups = parameter_groups(pool)
    sizes = {name: sum(p.numel() for p in members) for name, members in groups.items()}
    sketched = _too_large(sizes, exact_bytes // (4 * max(1, len(episodes))))
    gradients: dict[str, list[Tensor]] = {name: [] for name in groups}
    plans, objective = [], replace(config.objective, routing_penalty=0.0)
    for episode in episodes:
        plans.append(episode.plan)
        with _one_task(pool, config.seed):
            train_task(
                pool,
                pool.pretrained.new_zeros(pool.config.experts),
                episode.to(pool.pretrained.device),
                objective,
                target_sparsity=None,
                head=config.head,
                precision=precision,
            )
            for name, members in groups.items():
                flat = _flat_gradient(members)
                gradients[name].append(sketch(flat, config.seed) if name in sketched else flat)
        on_task(len(plans))
    return GradientCosines(
        tuple(plan.id for plan in plans),
        tuple(plan.domain for plan in plans),
        {name: cosines(rows) for name, rows in gradients.items()},
        tuple(sketched),
    )


def cosines(gradients: Sequence[Tensor]) -> np.ndarray:
    """Cosines of vectors `[size]` with each other, `[n, n]`, in float64; NaN with one that is zero or not finite."""
    products = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    step = max(1, _CHUNK // max(1, len(gradients)))
    for start in range(0, len(gradients[0]) if gradients else 0, step):
        part = torch.stack([gradient[start : start + step] for gradient in gradients]).double()
        products += part @ part.T
    norms = products.diagonal().sqrt()
    norms = norms.masked_fill(~(norms.isfinite() & (norms > 0)), float("nan"))
    return (products / norms[:, None] / norms).clamp(-1, 1).numpy()


def sketch(gradient: Tensor, seed: int) -> Tensor:
    """A count sketch of a vector `[size]` on the CPU, `[4096]`: of two vectors, it keeps the inner product on average.

    Each number is added, with a random sign, to one of the sketch's numbers at random (Charikar, Chen &
    Farach-Colton 2002), by the seed and its place.
    """
    total = torch.zeros(SKETCH, dtype=torch.float64)
    for start in range(0, len(gradient), _CHUNK):
        part = gradient[start : start + _CHUNK].double()
        drawn = torch.randint(0, 2 * SKETCH, part.shape, generator=torch_generator(seed, "sketch", start))
        signed = part.mul_(drawn.bitwise_and(1).mul_(2).sub_(1))
        total += torch.bincount(drawn.bitwise_right_shift_(1), weights=signed, minlength=SKETCH)
    return total


def _too_large(sizes: dict[str, int], budget: int) -> list[str]:
    """The groups that are sketched: the smaller ones are kept as a whole as long as there is room for their numbers."""
    taken, large = 0, []
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        taken += size
        if taken > budget:
            large.append(name)
    return large


def _flat_gradient(members: Sequence[nn.Parameter]) -> Tensor:
    """The gradients of a group's parameters as one vector on the CPU."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
    return torch.cat([part.detach().flatten().cpu() for part in parts])


@contextmanager
def _one_task(pool: SparseInterpolatedExperts, seed: int) -> Iterator[None]:
    """Within the block, the pool is in training mode and has no gradients; afterwards all is as it was before."""
    training, parameters = pool.training, list(pool.parameters())
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    pool.train()
    try:
        device = pool.pretrained.device
        with torch.enable_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "alignment"))  # for a head or a term that draws
            yield
    finally:
        pool.train(training)
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
