"""The pool of sparse interpolated experts, as one module."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.errors import DataError
from smat.experts.gates import HardConcrete, gate, nonzero_probability
from smat.experts.interpolation import Merged, Uniform, interpolate, merged_vector
from smat.experts.masks import fixed_gate_logits
from smat.experts.network import Network
from smat.experts.prototypes import LOGIT_SCALE, class_prototypes, cosine_logits
from smat.experts.router import Router
from smat.experts.settings import PoolConfig
from smat.experts.storage import read_pool, write_pool
from smat.experts.structure import gate_index
from smat.experts.task_model import TaskModel
from smat.flat import Layout, adopt
from smat.precision import NetworkPrecision


class SparseInterpolatedExperts(
    nn.Module,
    ModelHubMixin,
    library_name="smat",
    tags=["few-shot", "meta-learning"],
    pipeline_tag="image-classification",
):
    """A frozen backbone and M sparse experts that a router merges into one network for a task.

    θ_i = θ_pre + Σ_m α_im (z_m ⊙ θ_δ), paper, eq. 4. `save_pretrained`, `from_pretrained` and `push_to_hub` keep it,
    the pre-trained parameters included, as one folder (huggingface_hub's `ModelHubMixin`).

    Args:
        backbone: the pre-trained network; its parameters become frozen views into `pretrained`.
        config: experts, gates and router.

    Attributes:
        pretrained: θ_pre, `[params]`.
        delta: θ_δ, `[params]`, or `[experts, params]` with `separate_deltas`; starts at 0.
        gate_logits: φ, `[experts, gates]`; none with `separate_deltas`, not trained unless gates are learned.
        head: scale and bias of the cosine where they are learned, `[2]`.
        tasks_seen: number of training tasks so far, which the routing temperature follows.
    """

    pretrained: Tensor
    tasks_seen: Tensor
    gate_index: Tensor | None
    gate_logits: Tensor
    head: nn.Parameter | None

    def __init__(self, backbone: Backbone, config: PoolConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PoolConfig()
        self.layout = Layout.of(backbone)
        self.register_buffer("pretrained", self.layout.flatten(dict(backbone.named_parameters())))
        adopt(backbone, self.pretrained, self.layout)
        self._backbone = (backbone,)  # in a tuple: its parameters are `pretrained`, not the pool's to list
        index = gate_index(self.layout, config.structure, backbone.attention_heads)
        self.register_buffer("gate_index", index, persistent=False)
        self.register_buffer("tasks_seen", torch.zeros((), dtype=torch.long))
        gates = self.layout.size if index is None else int(index.max()) + 1
        self.register_parameter("head", nn.Parameter(torch.tensor([LOGIT_SCALE, 0.0])) if config.learned_head else None)
        if config.experts:
            self.router = Router(backbone.feature_dim, config.experts, config.router)
            stack = [config.experts] if config.separate_deltas else []
            self.delta = nn.Parameter(torch.zeros(*stack, self.layout.size))
            if not config.separate_deltas:
                self._make_gates(gates)

    def _make_gates(self, gates: int) -> None:
        config, dim = self.config, self.backbone.feature_dim
        if config.gating != "learned":
            logits = fixed_gate_logits(
                config.gating,
                self.backbone,
                self.layout,
                self.pretrained,
                config.experts,
                config.density,
                config.last_blocks,
            )
            self.register_buffer("gate_logits", logits)
            return
        self.gate_logits = nn.Parameter(torch.empty(config.experts, gates).normal_(config.init_mean, config.init_std))
        if config.count_head:
            self.head_logits = nn.Parameter(torch.empty(config.experts, dim).normal_(config.init_mean, config.init_std))
        self.clamp_gate_logits_()

    @property
    def backbone(self) -> Backbone:
        """The pre-trained network (its parameters are views into `pretrained`)."""
        return self._backbone[0]

    @property
    def temperature(self) -> float:
        """The routing temperature at this point of training."""
        return self.config.temperature.at(int(self.tasks_seen))

    @property
    def gate_distribution(self) -> HardConcrete:
        """β, γ and ζ as they are now: in training or in evaluation."""
        config = self.config
        beta = config.gates.beta if self.training or config.evaluation_beta is None else config.evaluation_beta
        return replace(config.gates, beta=beta)

    def _apply(self, fn, recurse: bool = True) -> "SparseInterpolatedExperts":
        """Moving the pool moves `pretrained`; the backbone follows it."""
        super()._apply(fn, recurse)
        self.backbone._apply(fn, recurse)
        adopt(self.backbone, self.pretrained, self.layout)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a deep copy or unpickling too, the backbone's parameters are views into `pretrained`."""
        super().__setstate__(state)
        adopt(self.backbone, self.pretrained, self.layout)

    @torch.no_grad()
    def clamp_gate_logits_(self) -> None:
        """Bring the gate logits back into their range, in place."""
        for logits in self.gate_parameters():
            logits.clamp_(*self.config.logit_range)

    def gate_parameters(self) -> list[nn.Parameter]:
        """The gate logits that are learned; with `count_head` also those of the unused head."""
        if not self.config.experts or self.config.gating != "learned":
            return []
        logits = [self.gate_logits, self.head_logits] if self.config.count_head else [self.gate_logits]
        return cast(list[nn.Parameter], logits)

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"]:
        """Every expert's gate of every parameter, in full: for analysis and tests, M·P numbers."""
        if self.config.separate_deltas:
            return torch.ones_like(self.delta)
        logits = self.gate_logits.detach()
        z = gate(logits, self.gate_distribution, uniform(0, logits.shape[1]) if uniform else None)
        return z if self.gate_index is None else z[:, self.gate_index]

    def route(
        self, prototypes: Float[Tensor, "way dim"], uniform: Float[Tensor, " experts"] | None = None
    ) -> tuple[Float[Tensor, " experts"], Float[Tensor, " experts"]]:
        """Merge weights α and routing logits of a task.

        Args:
            prototypes: class means of the *pre-trained* network's features.
            uniform: u in (0, 1), one an expert, draws a relaxed Bernoulli; deterministic without.
        """
        if not self.config.experts:
            return prototypes.new_zeros(0), prototypes.new_zeros(0)
        logits = self.router(prototypes)
        return self.router.merge_weights(logits, self.temperature, uniform), logits

    def merge(self, weights: Float[Tensor, " experts"], uniform: Uniform | None = None) -> Merged:
        """The network that the experts make together under the given weights (paper, eq. 4)."""
        if not self.config.experts:
            return Merged(self.pretrained, weights, weights)
        if self.config.separate_deltas:
            return Merged(self.pretrained + weights @ self.delta, torch.ones_like(weights), torch.zeros_like(weights))
        merged = interpolate(
            self.pretrained,
            self.delta,
            self.gate_logits,
            weights,
            self.gate_distribution,
            index=self.gate_index,
            uniform=uniform,
            density_hc=self.config.gates,
        )
        return self._with_head(merged) if self.config.count_head else merged

    def merged_vector(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"]:
        """The network of `merge`, without what only training needs to know."""
        if not self.config.experts:
            return self.pretrained
        if self.config.separate_deltas:
            return self.pretrained + weights @ self.delta
        return merged_vector(
            self.pretrained, self.delta, self.gate_logits, weights, self.gate_distribution, index=self.gate_index
        )

    def _with_head(self, merged: Merged) -> Merged:
        """Density and sparsity as the authors' code counts them: with the gates of its one-row head.

        Its head's gates are open, and each expert's count of open gates gets those of all M experts.
        """
        experts, extra = self.head_logits.shape
        total = self.layout.size + extra
        head = nonzero_probability(self.head_logits, self.config.gates).mean(1)
        density = merged.expected_density * (self.layout.size / total) + head * (extra / total)
        sparsity = merged.sparsity * (self.layout.size / total) - (experts - 1) * extra / total
        return Merged(merged.vector, density, sparsity)

    def logits(self, features: Float[Tensor, "n dim"], prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, "n way"]:
        """Cosine similarity of features to prototypes, times ten or as it is learned."""
        return cosine_logits(features, prototypes, self.head)

    def network(self, vector: Float[Tensor, " params"], precision: NetworkPrecision = "32-true") -> Network:
        """The backbone on the given parameters: images in, features out."""
        return Network(self.backbone, vector, self.layout, precision)

    @torch.no_grad()
    def specialise(
        self,
        images: Float[Tensor, "n 3 height width"],
        labels: Int[Tensor, " n"],
        precision: NetworkPrecision = "32-true",
    ) -> TaskModel:
        """A plain network for one task: merged for its support set, with the prototypes of its classes.

        Args:
            images: support images, normalised as the backbone wants them.
            labels: classes 0..way-1, each at least once.
            precision: for the passes over the support set; the weights of the result are float32.

        Raises:
            DataError: labels that are not 0..way-1, or a class without an image.
        """
        way = _count_classes(labels)
        probe = class_prototypes(self.network(self.pretrained, precision)(images), labels, way)
        weights, _ = self.route(probe)
        vector = self.merged_vector(weights)
        prototypes = class_prototypes(self.network(vector, precision)(images), labels, way)
        return TaskModel(self.backbone, vector, self.layout, prototypes, weights, self.head)

    @torch.no_grad()
    def classify(
        self,
        support: Float[Tensor, "n_support 3 height width"],
        labels: Int[Tensor, " n_support"],
        query: Float[Tensor, "n_query 3 height width"],
        precision: NetworkPrecision = "32-true",
        frozen_support: Float[Tensor, "n_support dim"] | None = None,
    ) -> Float[Tensor, "n_query way"]:
        """The logits of a task's query images: what `specialise(support, labels)(query)` gives, without a copy.

        Args:
            support: support images.
            labels: their classes 0..way-1.
            query: images to classify.
            precision: of the passes over networks.
            frozen_support: the pre-trained network's features of the support, where they are known.
        """
        way = _count_classes(labels)
        if frozen_support is None:
            frozen_support = self.network(self.pretrained, precision)(support)
        weights, _ = self.route(class_prototypes(frozen_support, labels, way))
        features = self.network(self.merged_vector(weights), precision)(torch.cat([support, query]))
        return self.logits(features[len(support) :], class_prototypes(features[: len(support)], labels, way))

    def _save_pretrained(self, save_directory: Path) -> None:
        write_pool(self, save_directory)

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, pretrained_model_name_or_path: str | Path, *, backbone: Backbone | None = None, **download: Any
    ) -> "SparseInterpolatedExperts":
        """Load a pool, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the hub.
            backbone: needed where the pool was made around a module of yours; its parameters are overwritten.
            download: options of the hub (`revision`, `token`, `cache_dir`, `force_download`, `local_files_only`).

        Raises:
            CheckpointError: there is none, it is damaged, or it does not fit.
        """
        stored = read_pool(str(pretrained_model_name_or_path), **download)
        pool = cls(stored.build_backbone(backbone), PoolConfig.from_dict(stored.config["pool"]))
        stored.fill(pool)
        return pool.eval()


def _count_classes(labels: Int[Tensor, " n"]) -> int:
    """Number of classes of labels that must be 0..way-1, each present."""
    if not len(labels) or int(labels.min()) < 0 or 0 in (counts := torch.bincount(labels).tolist()):
        found = "none" if not len(labels) else f"{sorted(set(labels.tolist()))}"
        raise DataError(f"support labels must be 0, 1, ... with an image for each; got {found}")
    return len(counts)
