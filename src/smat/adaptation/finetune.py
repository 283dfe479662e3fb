"""Fine-tuning a task's network on its support set."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smat.adaptation.augmentation import augment
from smat.adaptation.models import evaluating
from smat.adaptation.settings import FineTuneConfig, check_learning_rate
from smat.adaptation.tuners import FineTuner, FullTuning
from smat.backbones import recomputed_activations
from smat.errors import DataError, NonFiniteError
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head, Prototype, TaskModel, support_features
from smat.heads.features import FeatureNetwork
from smat.precision import NetworkPrecision
from smat.rng import seeded_torch, torch_generator

OnStep = Callable[[int, int], None]
"""Called after each step with their number so far and in the end."""


def fine_tune(
    network: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    *,
    lr: float,
    steps: int,
    head: Head | None = None,
    views: Callable[[int], Tensor] | None = None,
    batch_size: int | None = None,
    precision: NetworkPrecision = "32-true",
    seed: int = 0,
) -> Iterator[Float[Tensor, ""]]:
    """Fine-tuning by AdamW, the head fitted anew, with gradient, at every step (Hu et al. 2022).

    Args:
        network: images in, features out; those of its parameters that want a gradient change in place.
        images: the support set, normalised, which the head is fitted to.
        labels: 0..way-1.
        lr: learning rate.
        steps: number of steps.
        head: a differentiable one; nearest prototypes by default.
        views: gives the images that step 0, 1, ... classifies, one per label: augmented ones; by default the images
            themselves.
        batch_size: images that pass through the network at a time, by default all. The gradient is the same: where
            there are several batches, each passes once for its features and once for its gradient.
        precision: of the passes.
        seed: of the dropout, where the network has any.

    Yields:
        The loss before each step's update; when it comes, the update has happened.
    """
    way, head = int(labels.max()) + 1, head or Prototype()

    def loss_of(features: Tensor) -> Tensor:
        classifier = head.fit(features[: len(labels)], labels, way)
        return cross_entropy(classifier(features[-len(labels) :]), labels)

    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=lr, fused=True)
    for step in range(steps):
        inputs = images if views is None else torch.cat([images, views(step)])
        passes = [
            partial(_features, network, batch, precision, draw=(seed, step, place))
            for place, batch in enumerate(inputs.split(batch_size or len(inputs)))
        ]
        optimizer.zero_grad()
        loss = _backward(passes, loss_of)
        optimizer.step()
        yield loss


def _backward(passes: Sequence[Callable[[], Tensor]], loss_of: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    """The loss of all batches' features; its gradient is added to the parameters'.

    The loss needs the features of all images together, their graph only batch by batch: first all features without
    one, then, with the loss's gradient by them known, each batch once more with it (Gao et al. 2021).
    """
    if len(passes) == 1:
        loss = loss_of(passes[0]())
        loss.backward()
        return loss.detach()
    with torch.no_grad():
        parts = [features() for features in passes]
    leaves = [part.requires_grad_() for part in parts]
    loss = loss_of(torch.cat(leaves))
    loss.backward()
    for features, leaf in zip(passes, leaves, strict=True):
        features().backward(leaf.grad)
    return loss.detach()


def _features(
    network: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    precision: NetworkPrecision,
    draw: tuple[int, int, int] = (0, 0, 0),
) -> Float[Tensor, "n dim"]:
    """Features in the images' type; `draw` (seed, step, batch) says which dropout, the same at every call."""
    saving = recomputed_activations(network) if torch.is_grad_enabled() else nullcontext()
    mixed = torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
    with saving, mixed, seeded_torch(draw[0], "dropout", *draw[1:]):
        return network(images).to(images.dtype)


@torch.no_grad()
def plain_features(
    network: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    precision: NetworkPrecision = "32-true",
    batch_size: int | None = None,
) -> Float[Tensor, "n dim"]:
    """Features without a graph, so many images at a time, by default all."""
    return torch.cat([_features(network, batch, precision) for batch in images.split(batch_size or len(images))])


@dataclass(frozen=True)
class FineTuning:
    """The fine-tuning of a task's network on its support set, but for the learning rate.

    A seed and a support set give the same network every time.

    Attributes:
        images: the support set, normalised, `[n, 3, height, width]`.
        labels: 0..way-1, each at least once, `[n]`.
        tuner: what of the network is tuned.
        config: steps, augmentation, batches, adapters, learning rates.
        seed: of the augmentation, the adapters and their dropout.
        precision: of the passes; the weights and their updates are float32.
        pool: the experts that the network was merged from, for tuners that need them.

    Raises:
        DataError: labels that do not fit the images.
    """

    images: Float[Tensor, "n 3 height width"]
    labels: Int[Tensor, " n"]
    tuner: FineTuner = FullTuning()
    config: FineTuneConfig = FineTuneConfig()
    seed: int = 0
    precision: NetworkPrecision = "32-true"
    pool: SparseInterpolatedExperts | None = None

    def __post_init__(self) -> None:
        found = sorted(set(self.labels.tolist()))
        if len(self.labels) != len(self.images) or found != list(range(len(found))):
            raise DataError(
                f"{len(self.labels)} labels {found} for {len(self.images)} images; give a label for each image, and an "
                "image of each class 0, 1, ..."
            )

    @property
    def trains(self) -> bool:
        """Whether a learning rate above 0 changes anything."""
        return self.tuner.trains and self.config.steps > 0

    def part(self, chosen: Tensor) -> "FineTuning":
        """The same with some of the images, by a mask `[n]`."""
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def networks(self, model: TaskModel) -> list[FeatureNetwork]:
        """The networks of a model, without a graph, in the precision and the batches of the fine-tuning."""
        settings = {"precision": self.precision, "batch_size": self.config.batch_size}
        return [partial(plain_features, network, **settings) for network in model.networks]

    def features(self, model: TaskModel) -> Float[Tensor, "views_n networks_dim"]:
        """The support features of a model, as its head is fitted to them."""
        return support_features(self.networks(model), self.images, model.head.views.support)

    def check(self, model: TaskModel) -> None:
        """Raise an error for a model that cannot be tuned so.

        Raises:
            ConfigError: the tuner cannot tune the network.
            DataError: the model has other classes than the labels.
        """
        if self.pool is None:
            self.tuner.check(model.backbone)
        else:
            self.tuner.check_pool(self.pool)
        if (way := int(self.labels.max()) + 1) != model.way:
            raise DataError(f"the labels are of {way} classes and the network of {model.way}; give an image of each")

    def _prepare(self, model: TaskModel) -> Callable[[], None]:
        """Choose what of a model is tuned."""
        if self.pool is None:
            return self.tuner.prepare(model.backbone, self.config, self.seed)
        with evaluating(self.pool):
            return self.tuner.prepare_merged(
                model.backbone, self.pool, model.merge_weights.clone(), self.config, self.seed
            )

    @torch.inference_mode(False)
    @torch.enable_grad()
    def adapt(self, model: TaskModel, lr: float, on_step: OnStep | None = None) -> TaskModel:
        """A task's network, fine-tuned: a new plain one, and the one given stays as it is.

        Each step classifies augmented images by the head fitted to the plain ones; through class means where the head
        is not differentiable. Adapters are merged in the end, and the head is fitted to the plain images.

        Args:
            model: as `smat.heads.specialise` gives it.
            lr: learning rate; 0 leaves the network and its classifier as they are.
            on_step: called after each step.

        Raises:
            ConfigError: a negative learning rate, or a network that cannot be tuned so.
            DataError: the model has other classes than the labels.
            NonFiniteError: the learning rate was so large that the network broke.
        """
        check_learning_rate(lr)
        self.check(model)
        adapted = copy.deepcopy(model)
        if lr == 0 or not self.trains:
            return adapted
        config = self.config
        # tensors made in inference mode cannot be saved for backward
        images, labels = self.images.clone(), self.labels.clone()

        def views(step: int) -> Tensor:
            generator = torch_generator(self.seed, "views", step)
            return augment(images, generator, probability=config.augment, flip=config.flip)

        finish = self._prepare(adapted)
        adapted.tuned = sum(p.numel() for p in adapted.backbone.parameters() if p.requires_grad)
        if not adapted.tuned:  # such as where all gates are closed
            return copy.deepcopy(model)
        losses = fine_tune(
            adapted.backbone,
            images,
            labels,
            lr=lr,
            steps=config.steps,
            head=adapted.head if adapted.head.differentiable else Prototype(),
            views=views if config.augment else None,
            batch_size=config.batch_size,
            precision=self.precision,
            seed=self.seed,
        )
        for done, _ in enumerate(losses, start=1):
            if on_step:
                on_step(done, config.steps)
        finish()
        adapted.requires_grad_(True).zero_grad()
        features = self.features(adapted)
        if not features.isfinite().all():
            raise NonFiniteError(
                f"fine-tuning ({self.tuner.name}) at learning rate {lr:g} broke the network: its features are not "
                "finite numbers; give a smaller learning rate"
            )
        adapted.refit(features, self.labels)
        return adapted
