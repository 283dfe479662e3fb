"""What `smat bench` measures: a pool of random weights, its eager counterpart, and an episode of random images."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from smat import backbones
from smat.adaptation import FineTuneConfig, FineTuning, Kind, make_tuner
from smat.backbones import Backbone, BackboneSpec
from smat.episodes import Episode, EpisodePlan
from smat.experts import LearnedGates, NoUpdate, PackedGates, Packing, PoolConfig, SparseInterpolatedExperts, pack
from smat.heads import TaskModel, fit_task, specialise
from smat.metatuning.objective import ObjectiveConfig, train_task
from smat.precision import NetworkPrecision
from smat.recipes.bench import eager_reference
from smat.recipes.bench.eager_reference import EagerExperts
from smat.recipes.bench.official import OfficialExperts
from smat.rng import seeded_torch

EAGER = "eager"
OFFICIAL = "the authors' code"
SEEDED = ", seeded masks"
"""What is added to a precision where random masks from a seed stand in place of learned gates."""
PLAIN = ", plain code"
"""What is added where experts are merged without compiled kernels, though there are some."""
CLOSED = ", nine of ten gates closed, no multipliers"
"""What is added to the interpolation as it is late in training, when nothing pulls at the densities any more."""
CHECKPOINTED = ", activation checkpointing"
"""What is added where passes keep only the inputs of the network's blocks for backward."""
PACKED, PACKED_PLAIN = ", packed", ", packed, plain code"
"""What is added where the pool is packed for use, and where that is without a compiled kernel."""
LORA = ", LoRA"
"""What is added where fine-tuning trains adapters in place of all parameters."""
PASSES = ", the passes alone"
"""What is added where a plain module does the passes through the network that the work needs, and nothing else."""
COPY = "a copy"
"""What moves as many bytes as the interpolation, or a merge of a packed pool, must, and does nothing else."""

WORK: tuple[str, ...] = ("train", "evaluate", "interpolation", "merge", "fine-tune")
TUNING_STEPS = 10
TARGET_SPARSITY = 0.9

# Hidden size and attention heads; all have 12 blocks, MLPs of four times the width and patches of 16 pixels.
BACKBONES = {"vit-tiny": (192, 3), "vit-small": (384, 6), "vit-base": (768, 12)}


@dataclass(frozen=True)
class Problem:
    """The size of what is measured, the device and processor threads it runs on, and the authors' code beside it.

    Attributes:
        official: folder of a clone of their repository.
    """

    backbone: str
    image_size: int
    experts: int
    way: int
    support: int
    query: int
    threads: int
    device: str = "cpu"
    official: str | None = None


class Workload:
    """A pool, its eager counterpart (made when it is first needed) and an episode, from fixed seeds.

    Args:
        problem: sizes.
        seeded: whether the pool has random masks in place of learned gates; the eager code has none of these.
        compiled: whether experts are merged by compiled kernels.
    """

    def __init__(self, problem: Problem, *, seeded: bool = False, compiled: bool = False) -> None:
        self.problem = problem
        width, heads = BACKBONES[problem.backbone]
        self.device = torch.device(problem.device)
        config = {
            "model_type": "vit",
            "hidden_size": width,
            "num_attention_heads": heads,
            "num_hidden_layers": 12,
            "intermediate_size": 4 * width,
            "patch_size": 16,
            "image_size": problem.image_size,
        }
        spec = BackboneSpec(
            "transformers", problem.backbone, config, problem.image_size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "cls"
        )
        with seeded_torch(0, "bench"):
            pool = PoolConfig(experts=problem.experts, gating="random" if seeded else "learned")
            self.pool = SparseInterpolatedExperts(backbones.build(spec), pool)
            (delta,) = self.pool.update.parameter_vectors()
            nn.init.normal_(delta, std=1e-3)
            self.episode = _random_episode(problem).to(self.device)
        self.pool.to(self.device).train()
        self.compiled = compiled and not seeded
        self.multipliers = nn.Parameter(torch.ones(problem.experts, device=self.device))
        self.objective = ObjectiveConfig()
        self.target_sparsity = None if seeded else TARGET_SPARSITY
        self._eager: EagerExperts | None = None
        self._official: OfficialExperts | None = None

    @property
    def official(self) -> OfficialExperts:
        """The authors' code, made when it is first needed."""
        if self._official is None:
            assert self.problem.official
            self._official = OfficialExperts(Path(self.problem.official), self.pool, self.episode)
        return self._official

    @property
    def eager(self) -> EagerExperts:
        """The same experts as separate tensors."""
        if self._eager is None:
            self._eager = EagerExperts(self.pool, self.multipliers.detach())
        return self._eager

    def keep_alone(self, contender: str) -> None:
        """Free the pool's numbers, so that the process's memory is that of the eager code, or of the authors'."""
        if contender == OFFICIAL:
            self._official = self.official
        else:
            self._eager = self.eager
        self.pool.update = NoUpdate()

    @cached_property
    def cotangent(self) -> Tensor:
        """A gradient for the merged network, `[params]`."""
        with seeded_torch(0, "bench/cotangent"):
            return torch.randn(self.pool.layout.size).to(self.device)

    def run(self, what: str, contender: str) -> Callable[[], None]:
        """A function that does the work once.

        Args:
            what: one of `WORK`.
            contender: `EAGER`, `OFFICIAL`, `COPY`, or the precision in which the package does it, also with one of the
                additions.
        """
        if contender == COPY:
            return partial(self.copy, self.bytes_of_merge if what == "merge" else self.bytes_of_interpolation)
        name, comma, addition = contender.partition(",")
        precision = cast(NetworkPrecision, name)
        if contender == OFFICIAL:
            steps = self.official.task, self.official.evaluate
        elif contender == EAGER:
            steps = self.eager_task, self.eager_evaluate, self.eager_interpolation, self.eager_merge
        elif contender.endswith(PASSES):
            steps = tuple(partial(self.passes, each, precision) for each in WORK)
        else:
            task, evaluate = partial(self.task, precision), partial(self.evaluate, precision)
            fine_tune = partial(self.fine_tune, precision, "lora" if addition else "full")
            interpolation = partial(self.interpolation, comma + addition)
            steps = task, evaluate, interpolation, partial(self.merge, comma + addition), fine_tune
        step = dict(zip(WORK, steps, strict=False))[what]  # the authors' code has the first two, eager code four
        compiled = self.compiled and not contender.endswith(PLAIN)

        def once() -> None:
            if isinstance(self.pool.update, LearnedGates):
                self.pool.update.compiled = compiled
            self.pool.backbone.activation_checkpointing = contender.endswith(CHECKPOINTED)
            step()
            self.clear()

        return once

    def clear(self) -> None:
        """Forget all gradients."""
        self.pool.zero_grad()
        if "late" in vars(self):
            self.late.zero_grad()
        self.multipliers.grad = None
        if self._eager is not None:
            self._eager.clear_gradients()
        if self._official is not None:
            self._official.clear()

    def task(self, precision: NetworkPrecision) -> Tensor:
        """The package's training task; its loss."""
        return train_task(
            self.pool,
            self.multipliers,
            self.episode,
            self.objective,
            target_sparsity=self.target_sparsity,
            precision=precision,
        ).loss

    def eager_task(self) -> Tensor:
        """The eager training task; its loss."""
        terms = eager_reference.train_task(self.eager, self.episode, self.objective, TARGET_SPARSITY)
        return torch.stack(list(terms.values())).sum()

    def evaluate(self, precision: NetworkPrecision) -> Tensor:
        """The package's evaluation episode; its query logits."""
        episode = self.episode
        support, labels = episode.support, episode.support_labels
        classifier, queries = fit_task(self.pool, support, labels, episode.query, precision=precision)
        return classifier(queries)

    def eager_evaluate(self) -> Tensor:
        """The eager evaluation episode; its query logits."""
        return eager_reference.evaluate_episode(self.eager, self.episode)

    @cached_property
    def specialised(self) -> TaskModel:
        """The network and the classifier of the episode."""
        return specialise(self.pool, self.episode.support, self.episode.support_labels)

    def fine_tune(self, precision: NetworkPrecision, kind: Kind) -> None:
        """The package's fine-tuning on the support set, of `TUNING_STEPS` steps."""
        settings = FineTuneConfig(steps=TUNING_STEPS)
        support, labels = self.episode.support, self.episode.support_labels
        FineTuning(support, labels, make_tuner(kind), settings, precision=precision).adapt(self.specialised, 1e-5)

    @cached_property
    def plain(self) -> Backbone:
        """The network as a module that knows nothing of experts."""
        return self.pool.plain_network(self.pool.pretrained)

    def passes(self, what: str, precision: NetworkPrecision) -> None:
        """The passes of a training task, of an evaluation episode or of fine-tuning, forward and backward.

        A training task: the frozen network on all images; support and query each once forward and twice backward, for
        the inner step and the teacher, and for the outer gradient; the teacher on the query. An episode: the frozen
        network on the support, the merged one on all images. A step of fine-tuning: the support and its augmented
        images, forward and backward.
        """
        support, query = self.episode.support, self.episode.query
        both, twice = torch.cat([support, query]), torch.cat([support, support])
        forward = {"train": [both, query], "evaluate": [support, both]}
        backward = {"train": [(support, 2), (query, 2)], "fine-tune": [(twice, 1)] * TUNING_STEPS}
        parameters = list(self.plain.parameters())
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            for images in forward.get(what, ()):
                with torch.no_grad():
                    self.plain(images)
            for images, times in backward.get(what, ()):
                total = self.plain(images).sum()
                for left in reversed(range(times)):
                    torch.autograd.grad(total, parameters, retain_graph=bool(left), allow_unused=True)

    def interpolation(self, addition: str) -> None:
        """The package's interpolation, forward and backward, with the expected density."""
        pool = self.late if addition == CLOSED else self.pool
        merged = pool.merge(self._uniform_weights())
        roots, cotangents = [merged.vector], [self.cotangent]
        if merged.expected_density.requires_grad:
            roots.append(merged.expected_density.sum())
            cotangents.append(torch.tensor(float(addition != CLOSED), device=self.device))
        torch.autograd.backward(roots, cotangents)

    @cached_property
    def late(self) -> SparseInterpolatedExperts:
        """A copy of the pool as it is late in training: nine of ten gates closed, the others as they are."""
        return self._with_gates(copy.deepcopy(self.pool), None)

    @cached_property
    def trained(self) -> SparseInterpolatedExperts:
        """The pool with gates as training with hardening leaves them: nine of ten closed, the others open."""
        pool = copy.deepcopy(self.pool).eval()
        return self._with_gates(pool, cast(LearnedGates, pool.update).logit_range[1])

    @staticmethod
    def _with_gates(pool: SparseInterpolatedExperts, others: float | None) -> SparseInterpolatedExperts:
        """The pool with nine of ten gates closed, at random, and the other logits at `others` if it is given."""
        assert isinstance(pool.update, LearnedGates)
        logits = pool.update.gate_logits.data
        with seeded_torch(0, "bench/trained"):
            share = torch.rand_like(logits)
        closed = pool.update.logit_range[0]
        logits.copy_(torch.where(share < TARGET_SPARSITY, closed, logits if others is None else others))
        return pool

    @cached_property
    def packed(self) -> SparseInterpolatedExperts:
        """The same packed."""
        return pack(self.trained)

    @torch.no_grad()
    def merge(self, addition: str) -> Tensor:
        """One merge for use."""
        pool = self.packed if addition.startswith(PACKED) else self.trained
        assert isinstance(pool.update, LearnedGates | PackedGates)
        pool.update.compiled = self.compiled and not addition.endswith(PLAIN)
        return pool.merged_vector(self._uniform_weights())

    @torch.no_grad()
    def eager_merge(self) -> None:
        """The same, parameter by parameter."""
        self.eager.merge(self._uniform_weights(), self.eager.masks())

    @property
    def bytes_of_merge(self) -> int:
        """How many bytes a merge of a packed pool reads and writes at least: codes, θ_pre, θ_δ and θ."""
        return self.pool.layout.size * (Packing().bytes_for(self.pool.config.experts) + 3 * 4)

    @property
    def bytes_of_interpolation(self) -> int:
        """How many bytes it reads and writes at least, with gates for each parameter.

        Forward: logits, θ_pre and θ_δ are read, θ is written. Backward: logits, θ_δ and the gradient of θ are read, the
        gradients of logits and θ_δ are written.
        """
        return 4 * self.pool.layout.size * (3 * self.pool.config.experts + 6)

    @cached_property
    def _buffers(self) -> Tensor:
        # not of zeros, which the system need not have in memory
        return torch.ones(2, max(self.bytes_of_merge, self.bytes_of_interpolation) // 8, device=self.device)

    def copy(self, moved: int) -> None:
        """Read and write so many bytes together, between two places that are there already."""
        to, source = self._buffers[:, : moved // 8]
        to.copy_(source)

    def eager_interpolation(self) -> None:
        """The same, parameter by parameter."""
        experts, masks = self.eager, self.eager.masks()
        network = experts.merge(self._uniform_weights(), masks)
        experts.sparsities(masks)
        cotangents = [self.cotangent[where] for where in self.pool.layout.slices.values()]
        shaped = [c.view(v.shape) for c, v in zip(cotangents, network.values(), strict=True)]
        one = torch.tensor(1.0, device=self.device)
        torch.autograd.backward([*network.values(), experts.densities().sum()], [*shaped, one])

    def _uniform_weights(self) -> Tensor:
        experts = self.pool.config.experts
        return torch.full((experts,), 1 / experts, device=self.device, requires_grad=True)

    def agreement(self) -> dict[str, float]:
        """Largest relative differences (norm of the difference over the norm) from the eager code."""
        loss, theirs = self.task("32-true"), self.eager_task()
        ours = {
            "multipliers": self.multipliers.grad,
            **{name.removeprefix("update."): p.grad for name, p in self.pool.named_parameters()},
        }
        reference = eager_reference.gradients(self.eager)
        gradients = max(_difference(g, reference[name]) for name, g in ours.items() if g is not None)
        self.clear()
        return {
            "loss": _difference(loss, theirs),
            "gradients": gradients,
            "logits": _difference(self.evaluate("32-true"), self.eager_evaluate()),
        }


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))


def _random_episode(problem: Problem) -> Episode:
    way, support, query, side = problem.way, problem.support, problem.query, problem.image_size
    labels = [i % way for i in range(support)], [i % way for i in range(query)]
    plan = EpisodePlan(
        id="bench/train/0/0",
        domain="bench",
        split="train",
        classes=tuple(str(c) for c in range(way)),
        support_rows=tuple(range(support)),
        support_labels=tuple(labels[0]),
        query_rows=tuple(range(support, support + query)),
        query_labels=tuple(labels[1]),
    )
    images = torch.randn(support + query, 3, side, side)
    return Episode(plan, images[:support], torch.tensor(labels[0]), images[support:], torch.tensor(labels[1]))
