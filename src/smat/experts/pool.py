"""The pool of sparse interpolated experts, as one module."""

import copy
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.errors import CheckpointError, ConfigError
from smat.experts.card import Card
from smat.experts.card_storage import card_in_the_way, write_card
from smat.experts.card_text import card_text
from smat.experts.interpolation import Merged, Uniform
from smat.experts.network import Network
from smat.experts.router import Router, class_prototypes, count_classes
from smat.experts.settings import PoolConfig
from smat.experts.storage import read_pool, write_pool
from smat.experts.updates import Update
from smat.flat import Layout, adopt
from smat.plugins import describe
from smat.precision import NetworkPrecision

HEAD = (10.0, 0.0)
"""Scale and bias of the cosine where learning begins."""

NULL_OFFSET = -2.0
"""What is added to the null expert's logit over the temperature: at any temperature its score starts near σ(-2) = 0.12,
and those of the experts near 1/2, so that training starts close to the paper's."""

# Settings that pools did not always have, of which their fingerprints depend where they are given.
_GATE_OPTIONS = ("mask_seed", "init_order", "estimator", "hardening", "packed")

# Tensors of updates that checkpoints have known without the update's own name before them.
_PLAIN = {f"update.{name}": name for name in ("delta", "gate_logits", "head_logits")}


class SparseInterpolatedExperts(nn.Module, ModelHubMixin):
    """A frozen backbone and M sparse experts that a router merges into one network for a task.

    θ_i = θ_pre + Σ_m α_im (z_m ⊙ θ_δ), paper, eq. 4. `save_pretrained`, `from_pretrained` and `push_to_hub` keep it,
    the pre-trained parameters and the card included, as one folder (huggingface_hub's `ModelHubMixin`).

    Args:
        backbone: the pre-trained network; its parameters become frozen views into `pretrained`.
        config: experts, gates and router.

    Attributes:
        pretrained: θ_pre, `[params]`.
        update: what the experts add, with its parameters (`smat.experts.updates`).
        router: the hypernetwork; only where there are experts.
        head: scale and bias of the cosine where they are learned, `[2]`.
        tasks_seen: number of training tasks so far, which the routing temperature follows.
        card: what is known of the pool besides its numbers; it is saved with them.
    """

    pretrained: Tensor
    tasks_seen: Tensor
    head: nn.Parameter | None

    def __init__(self, backbone: Backbone, config: PoolConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PoolConfig()
        self.layout = Layout.of(backbone)
        self.register_buffer("pretrained", self.layout.flatten(dict(backbone.named_parameters())))
        adopt(backbone, self.pretrained, self.layout)
        self._backbone = (backbone,)  # in a tuple: its parameters are `pretrained`, not the pool's to list
        self.register_buffer("tasks_seen", torch.zeros((), dtype=torch.long))
        self.register_parameter("head", nn.Parameter(torch.tensor(HEAD)) if config.learned_head else None)
        if config.experts:
            self.router = config.make_router()
            self.router.build(backbone.feature_dim, config.routes)
        self.update = config.make_update()
        self.update.build(backbone, self.pretrained, self.layout, config.experts)
        self.card = Card(base_model=backbone.spec.hub_name)

    @property
    def backbone(self) -> Backbone:
        """The pre-trained network (its parameters are views into `pretrained`)."""
        return self._backbone[0]

    @property
    def temperature(self) -> float:
        """The routing temperature at this point of training."""
        return self.config.temperature.at(int(self.tasks_seen))

    def _apply(self, fn, recurse: bool = True) -> "SparseInterpolatedExperts":
        """Moving the pool moves `pretrained`; the backbone follows it. The count of tasks, read at each, stays."""
        seen = self.tasks_seen
        super()._apply(fn, recurse)
        self.tasks_seen = seen
        self.backbone._apply(fn, recurse)
        adopt(self.backbone, self.pretrained, self.layout)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a deep copy or unpickling too, the backbone's parameters are views into `pretrained`."""
        super().__setstate__(state)
        adopt(self.backbone, self.pretrained, self.layout)

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"] | None:
        """Every expert's gate of every parameter, in full, for analysis; None where the update has no gates."""
        return self.update.gates(uniform)

    def route(
        self, prototypes: Float[Tensor, "way dim"], uniform: Float[Tensor, " routes"] | None = None
    ) -> tuple[Float[Tensor, " experts"], Float[Tensor, " routes"]]:
        """Merge weights α and routing logits of a task.

        With a null expert, α is a point of a simplex with one more corner, of which the experts' coordinates are kept:
        they sum to less than 1, and the rest is the null expert's weight. Its logit is the last one.

        Args:
            prototypes: class means of the *pre-trained* network's features.
            uniform: u in (0, 1), one per logit, draws a relaxed Bernoulli; deterministic without.
        """
        if not self.config.experts:
            return prototypes.new_zeros(0), prototypes.new_zeros(0)
        logits = self.router(prototypes)
        if not self.config.null_expert:
            return self.router.merge_weights(logits, self.temperature, uniform), logits
        offset = torch.zeros_like(logits)
        offset[-1] = NULL_OFFSET * self.temperature
        return self.router.merge_weights(logits + offset, self.temperature, uniform)[:-1], logits

    def without_experts(self) -> "SparseInterpolatedExperts":
        """What routes tasks, sharing its memory: the frozen network and the router, without the experts to merge."""
        small = copy.copy(self)
        small._modules = {name: module for name, module in self._modules.items() if name != "update"}
        return small

    def with_router(self, router: Router) -> "SparseInterpolatedExperts":
        """A copy with another router, built anew, as its settings then say."""
        other = SparseInterpolatedExperts(copy.deepcopy(self.backbone), replace(self.config, routing=router))
        mine = {name: value for name, value in self.tensors().items() if not name.startswith("router.")}
        theirs = {name: value for name, value in other.tensors().items() if name.startswith("router.")}
        other.load_tensors(mine | theirs, "the pool")
        other.card = self.card
        return other.eval()

    def with_update(self, update: Update) -> "SparseInterpolatedExperts":
        """The same with another update, which the settings allow; everything else shares its memory."""
        other = copy.copy(self)
        other._modules = self._modules | {"update": update}
        return other

    def merge(self, weights: Float[Tensor, " experts"], uniform: Uniform | None = None) -> Merged:
        """The network that the experts make together under the given weights (paper, eq. 4)."""
        return self.update.merge(self.pretrained, weights, uniform)

    def merged_vector(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"]:
        """The network of `merge`, without what only training needs to know."""
        return self.update.merged_vector(self.pretrained, weights)

    def network(self, vector: Float[Tensor, " params"], precision: NetworkPrecision = "32-true") -> Network:
        """The backbone on the given parameters: images in, features out."""
        return Network(self.backbone, vector, self.layout, precision)

    @torch.no_grad()
    def merged_for(
        self,
        images: Float[Tensor, "n 3 height width"],
        labels: Int[Tensor, " n"],
        precision: NetworkPrecision = "32-true",
        frozen: Float[Tensor, "n dim"] | None = None,
    ) -> tuple[Float[Tensor, " params"], Float[Tensor, " experts"]]:
        """The parameters that the experts make for a support set, and the merge weights.

        Args:
            images: support images, normalised as the backbone wants them.
            labels: classes 0..way-1, each at least once.
            precision: of the pass over the support set; the parameters are float32.
            frozen: the pre-trained network's features of the images, where they are known.

        Raises:
            DataError: labels that are not 0..way-1, or a class without an image.
        """
        way = count_classes(labels)
        if frozen is None:
            frozen = self.network(self.pretrained, precision)(images)
        weights, _ = self.route(class_prototypes(frozen, labels, way))
        return self.merged_vector(weights), weights

    def plain_network(self, vector: Float[Tensor, " params"]) -> Backbone:
        """A copy of the backbone with the given parameters, which knows nothing of experts."""
        backbone = copy.deepcopy(self.backbone)
        for name, value in self.layout.views(vector).items():
            parameter = backbone.get_parameter(name)
            parameter.data = value.clone()
            parameter.requires_grad_(True)
        return backbone

    def specialise(
        self,
        images: Float[Tensor, "n 3 height width"],
        labels: Int[Tensor, " n"],
        precision: NetworkPrecision = "32-true",
    ) -> Backbone:
        """A plain network for one task, merged for its support set: images in, features out.

        What classifies the features is a head: `smat.heads.specialise` gives both together. Arguments and errors are
        those of `merged_for`.
        """
        vector, _ = self.merged_for(images, labels, precision)
        return self.plain_network(vector)

    # -- tensors by name, and files --------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and buffers under the names by which files know them."""
        return {_PLAIN.get(name, name): value for name, value in self.state_dict().items()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor], origin: str) -> None:
        """Copy numbers into the pool.

        Args:
            tensors: as `tensors` gives them.
            origin: what they are called in an error.

        Raises:
            CheckpointError: names or shapes differ; the message says which.
        """
        tensors = self.update.current(dict(tensors))
        ours = self.tensors()
        wrong = [
            f"{key}: {tuple(tensors[key].shape) if key in tensors else 'missing'} instead of {tuple(value.shape)}"
            for key, value in ours.items()
            if key not in tensors or tensors[key].shape != value.shape
        ]
        wrong += [f"{key}: unexpected" for key in tensors if key not in ours]
        wrong += [
            f"{key}: {tensors[key].dtype} instead of {value.dtype}"
            for key, value in ours.items()
            if key in tensors and tensors[key].is_floating_point() != value.is_floating_point()
        ]
        if wrong:
            raise CheckpointError(
                f"{origin} does not fit its own settings: {'; '.join(wrong[:5])}. It was changed, or made by another "
                "version of smat"
            )
        for key, value in ours.items():
            value.copy_(tensors[key])
        self.update.unsettle()

    def fingerprint(self) -> str:
        """A hash that changes when the pool's settings or numbers do."""
        digest = hashlib.sha256(repr(self.config).encode())
        for plugin in (self.config.update, self.config.routing):
            if plugin is not None:
                digest.update(json.dumps(describe(plugin), sort_keys=True).encode())
        if self.config.head_prior:
            digest.update(json.dumps(self.config.head_prior, sort_keys=True).encode())
        more = {name: value for name, value in self.config.to_dict().items() if name in _GATE_OPTIONS}
        if (choice := self.config.router.choice) != "all":
            more |= {"choice": choice, "top": self.config.router.top}
        if more:
            digest.update(json.dumps(more, sort_keys=True).encode())
        for name, value in sorted(self.update.fingerprinted(self.tensors()).items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def _vectors(self) -> set[str]:
        """Names of the tensors with an entry for each parameter of the network."""
        return {"pretrained"} | {_PLAIN.get(f"update.{name}", f"update.{name}") for name in self.update.vectors}

    def _to_dict(self) -> dict[str, Any]:
        """The settings, as `config.json` has them."""
        return {
            "method": self.config.method,
            "image_size": self.backbone.spec.image_size,
            "backbone": asdict(self.backbone.spec),
            "pool": self.config.to_dict(),
        }

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path, *, model_card_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> str | None:
        """Save the pool and its card as a folder.

        Args:
            save_directory: the folder; a README in it with a text of your own is left as it is.
            model_card_kwargs: fields of the head of the README, such as `{"license": "apache-2.0"}`, which the card
                keeps. `push_to_hub` takes them too.
            options: `push_to_hub`, `repo_id` and others of huggingface_hub's `ModelHubMixin`.

        Raises:
            ConfigError: the folder cannot be written, or a field is no text or list of texts.
        """
        self.card = self.card.with_metadata(model_card_kwargs or {})
        return super().save_pretrained(save_directory, **options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README of the pool, as huggingface_hub's object."""
        return ModelCard(card_text(self._to_dict(), self.card.of_pool(int(self.tasks_seen), self.fingerprint)))

    def _save_pretrained(self, save_directory: Path) -> None:
        config, buffers = self._to_dict(), dict(self.backbone.named_buffers())
        before = card_in_the_way(save_directory)
        codings = self.config.packed and self.config.packed.codings(self.layout)
        write_pool(save_directory, config, self.tensors(), self._vectors, self.layout, buffers, codings)
        self.card = self.card.of_pool(int(self.tasks_seen), self.fingerprint, before)
        write_card(save_directory, config, self.card)

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        backbone: Backbone | None = None,
        allow_imports: Collection[str] = (),
        **download: Any,
    ) -> "SparseInterpolatedExperts":
        """Load a pool, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the hub.
            backbone: needed where the pool was made around a module of yours; its parameters are overwritten.
            allow_imports: packages whose code may be imported where the pool was made with classes of one's own.
            download: options of the hub (`revision`, `token`, `cache_dir`, `force_download`, `local_files_only`).

        Raises:
            CheckpointError: there is none, it or its card is damaged, it does not fit, or it names code that may not be
                imported.
        """
        name = str(pretrained_model_name_or_path)
        stored = read_pool(name, allow_imports, **download)
        try:
            pool = cls(stored.build_backbone(backbone, allow_imports), stored.config)
        except ConfigError as error:
            raise CheckpointError(f"{name} cannot be loaded: {error}") from error
        pool.load_tensors(stored.tensors_of(pool._vectors, pool.layout), name)
        pool.card = stored.card
        return pool.eval()
