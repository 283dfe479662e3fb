"""Choosing the learning rate of fine-tuning by the support set alone."""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from smat.adaptation.finetune import adapt, check_labels, plain_features
from smat.adaptation.lora import adapted_layers
from smat.adaptation.settings import Adapt, FineTuneConfig, check_kind
from smat.errors import NonFiniteError
from smat.experts import TaskModel, class_prototypes
from smat.precision import NetworkPrecision
from smat.rng import torch_generator


def cross_validated_lr(
    model: TaskModel,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    *,
    kind: Adapt,
    config: FineTuneConfig | None = None,
    seed: int = 0,
    precision: NetworkPrecision = "32-true",
    on_step: Callable[[int, int], None] | None = None,
) -> float:
    """The learning rate of `config.grid` (LoRA: ten times these) that does best on held-out support images.

    The images of each class are dealt out to at most `config.folds` parts, of which each in turn is held out and
    classified by a network that was tuned on the others. A class of one image is never held out. The rate with the
    most right answers is taken, among equals the one with the smaller cross-entropy, then the smaller one. After each
    part only the better half of the rates, at least two, goes on to the next (successive halving, Jamieson & Talwalkar
    2016), which with the default grid and 5 parts halves the work: 17 rates are tuned with in place of 35.

    With one image of every class nothing can be held out, and the smallest rate of the grid is taken, 0 by default:
    nothing then says that any other does no harm.

    Which experts are in the network was decided with the held-out images too, for all rates alike.

    Args:
        model: of the task, as `SparseInterpolatedExperts.specialise` gives it; it stays as it is.
        images: the support set, normalised.
        labels: 0..way-1, each at least once.
        kind: as for `adapt`; with `"none"` the rate does not matter.
        config: grid, folds and what `adapt` takes; `FineTuneConfig()` by default.
        seed: of the parts, and of what `adapt` draws.
        precision: of the passes.
        on_step: called after each step with their number so far and in the end.

    Raises:
        ConfigError: an unknown kind, or LoRA for a network without attention layers.
        DataError: labels that do not fit the images or the model's classes.
    """
    config = config or FineTuneConfig()
    check_kind(kind)
    check_labels(labels, len(images), way := len(model.prototypes))
    if kind == "lora":
        adapted_layers(model.backbone)
    rates = config.learning_rates(kind)
    folds = _deal(labels, config.folds, seed)
    parts = int(folds.max()) + 1
    if config.one_rate or parts == 0 or kind == "none" or config.steps == 0:
        return rates[0]
    features = plain_features(model.backbone, images, precision, config.batch_size)
    start = copy.deepcopy(model)
    scores = {rate: torch.zeros(2, dtype=torch.float64) for rate in rates}
    kept = _halved(len(rates), parts)
    done, total = 0, sum(kept) * config.steps
    for fold, most in enumerate(kept):
        rates = sorted(rates, key=lambda rate: (*scores[rate].tolist(), rate))[:most]
        held = (folds == fold).to(labels.device)
        start.prototypes = class_prototypes(features[~held], labels[~held], way)
        for rate in rates:
            try:
                adapted = adapt(
                    start,
                    images[~held],
                    labels[~held],
                    kind=kind,
                    lr=rate,
                    config=config,
                    seed=seed,
                    precision=precision,
                    on_step=on_step and (lambda step, _, done=done: on_step(done + step, total)),
                )
                scores[rate] += _errors(adapted, images[held], labels[held], precision, config.batch_size)
            except NonFiniteError:
                scores[rate] += math.inf
            done += config.steps
            if on_step:
                on_step(done, total)
    return min(rates, key=lambda rate: (*scores[rate].tolist(), rate))


def _deal(labels: Int[Tensor, " n"], most: int, seed: int) -> Int[Tensor, " n"]:
    """The part, 0.., that each image belongs to, on the CPU; -1 for the only image of a class."""
    labels = labels.cpu()
    counts = torch.bincount(labels).tolist()
    parts = min(most, max(counts))
    folds, dealt = torch.full_like(labels, -1), 0
    generator = torch_generator(seed, "folds")
    for label, count in enumerate(counts):
        if count > 1:
            order = torch.randperm(count, generator=generator)
            folds[(labels == label).nonzero()[order, 0]] = (dealt + torch.arange(count)) % parts
            dealt += count  # small classes begin where the last one ended, so that the parts are of a size
    return folds


def _halved(rates: int, parts: int) -> list[int]:
    """How many rates are tried on each part."""
    kept = [rates]
    while len(kept) < parts:
        kept.append(max(2, math.ceil(kept[-1] / 2)))
    return kept


@torch.no_grad()
def _errors(
    model: TaskModel,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    precision: NetworkPrecision,
    batch_size: int | None,
) -> Float[Tensor, " 2"]:
    """The number of wrong answers, and the sum of the cross-entropies."""
    logits = model.logits(plain_features(model.backbone, images, precision, batch_size), model.prototypes)
    wrong = (logits.argmax(1) != labels).sum()
    entropy = cross_entropy(logits.double(), labels, reduction="sum").nan_to_num(math.inf)
    return torch.stack([wrong.double(), entropy]).cpu()
