"""Fine-tuning a task's network on its support set."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smat.adaptation.augmentation import vary
from smat.adaptation.lora import Adapters, adapted_layers
from smat.adaptation.settings import Adapt, FineTuneConfig, check_kind, check_learning_rate
from smat.backbones import recomputed_activations
from smat.errors import DataError, NonFiniteError
from smat.experts import TaskModel
from smat.experts.prototypes import class_prototypes, cosine_logits
from smat.precision import NetworkPrecision
from smat.rng import seeded_torch, torch_generator


def fine_tune(
    network: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    *,
    lr: float,
    steps: int,
    head: Callable[[Tensor, Tensor], Tensor] = cosine_logits,
    views: Callable[[int], Tensor] | None = None,
    batch_size: int | None = None,
    precision: NetworkPrecision = "32-true",
    seed: int = 0,
) -> Iterator[Float[Tensor, ""]]:
    """Fine-tuning by AdamW, the prototypes computed anew, with gradient, at every step (Hu et al. 2022).

    Args:
        network: images in, features out; those of its parameters that want a gradient change in place.
        images: the support set, normalised, of which the prototypes are made.
        labels: 0..way-1.
        lr: learning rate.
        steps: number of steps.
        head: features `[n, dim]` and prototypes `[way, dim]` in, logits `[n, way]` out.
        views: the images that step 0, 1, ... classifies, one a label: varied ones; by default the images themselves.
        batch_size: images that pass through the network at a time, by default all. The gradient is the same: where
            there are several batches, each passes once for its features and once for its gradient.
        precision: of the passes.
        seed: of the dropout, where the network has any.

    Yields:
        The loss before each step's update; when it comes, the update has happened.
    """
    way = int(labels.max()) + 1

    def loss_of(features: Tensor) -> Tensor:
        prototypes = class_prototypes(features[: len(labels)], labels, way)
        return cross_entropy(head(features[-len(labels) :], prototypes), labels)

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


@torch.inference_mode(False)
@torch.enable_grad()
def adapt(
    model: TaskModel,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    *,
    kind: Adapt,
    lr: float,
    config: FineTuneConfig | None = None,
    seed: int = 0,
    precision: NetworkPrecision = "32-true",
    on_step: Callable[[int, int], None] | None = None,
) -> TaskModel:
    """A task's network, fine-tuned on its support set: a new plain one, and the one given stays as it is.

    Each step classifies varied images by the prototypes of the plain ones; LoRA's adapters are merged in the end, and
    the prototypes are those of the plain images. A seed and a support set give the same network every time.

    Args:
        model: as `SparseInterpolatedExperts.specialise` gives it.
        images: the support set, normalised.
        labels: 0..way-1, each at least once.
        kind: what is tuned: `"full"`, every parameter; `"lora"`, adapters of queries and values; `"none"`, nothing.
        lr: learning rate; 0 leaves the network and its prototypes as they are.
        config: steps, variations, batches and adapters; `FineTuneConfig()` by default.
        seed: of the variations, the adapters and their dropout.
        precision: of the passes; the weights and their updates are float32.
        on_step: called after each step with their number so far and in the end.

    Raises:
        ConfigError: an unknown kind, a negative learning rate, or LoRA for a network without attention layers.
        DataError: labels that do not fit the images or the model's classes.
        NonFiniteError: the learning rate was so large that the network broke.
    """
    config = config or FineTuneConfig()
    check_kind(kind)
    check_learning_rate(lr)
    check_labels(labels, len(images), len(model.prototypes))
    if kind == "lora":
        adapted_layers(model.backbone)
    adapted = copy.deepcopy(model)
    if kind == "none" or lr == 0 or config.steps == 0:
        return adapted
    images, labels = images.clone(), labels.clone()  # tensors made in inference mode cannot be saved for backward

    def views(step: int) -> Tensor:
        generator = torch_generator(seed, "views", step)
        return vary(images, generator, probability=config.augment, flip=config.flip)

    adapters = Adapters(adapted.backbone, config, seed) if kind == "lora" else None
    losses = fine_tune(
        adapted.backbone,
        images,
        labels,
        lr=lr,
        steps=config.steps,
        head=adapted.logits,
        views=views if config.augment else None,
        batch_size=config.batch_size,
        precision=precision,
        seed=seed,
    )
    for done, _ in enumerate(losses, start=1):
        if on_step:
            on_step(done, config.steps)
    if adapters:
        adapters.merge()
    adapted.zero_grad()
    features = plain_features(adapted.backbone, images, precision, config.batch_size)
    if not features.isfinite().all():
        raise NonFiniteError(
            f"fine-tuning ({kind}) at learning rate {lr:g} broke the network: its features are not finite numbers; "
            "give a smaller learning rate"
        )
    adapted.prototypes = class_prototypes(features, labels, len(adapted.prototypes))
    return adapted


def check_labels(labels: Int[Tensor, " n"], images: int, way: int) -> None:
    """Raises DataError unless there is a label an image and an image a class."""
    found = sorted(set(labels.tolist()))
    if len(labels) != images or found != list(range(way)):
        raise DataError(
            f"{len(labels)} labels {found} for {images} images and a network of {way} classes; give a label for each "
            f"image, and an image of each class 0..{way - 1}"
        )
