"""What networks that were fine-tuned without some of the labelled images say of these."""

import copy
from dataclasses import replace

import torch

from smat.adaptation.averaging import TaskModels, averaged, models_of
from smat.adaptation.finetune import FineTuning, OnStep
from smat.assessment import HeldOut, Knownness
from smat.heads import TaskModel, folds

PARTS = 5
"""Parts of the labelled images, of which each is left out in turn, at the price of a fine-tuning."""


@torch.no_grad()
def tuned_without(tuning: FineTuning, start: TaskModel, rate: float | None, on_step: OnStep | None = None) -> HeldOut:
    """As `smat.assessment.hold_out`, with a fine-tuning for each part that is left out.

    The network that is tuned was merged for all images, of which it hardly knows any one.

    Args:
        tuning: the fine-tuning of all images.
        start: the network before it.
        rate: its learning rate; None: networks of several rates are averaged.
        on_step: called after each step with their number so far and in the end.
    """
    labels, way = tuning.labels, start.way
    part = folds(labels, way, PARTS)
    counts = torch.bincount(labels, minlength=way)
    features = tuning.features(start)
    views = len(start.head.views.support)
    log_probabilities = features.new_zeros(len(labels), way, dtype=torch.float64)
    known, seen = features.new_zeros(len(labels)), features.new_zeros(len(labels))
    parts = int(part.max()) + 1
    for fold in range(parts):
        kept, held = part != fold, part == fold
        others, begin = tuning.part(kept), copy.deepcopy(start)
        begin.refit(features[kept.repeat(views)], labels[kept])
        follow = on_step and (lambda step, total, fold=fold: on_step(fold * total + step, parts * total))
        model = averaged(others, begin, follow) if rate is None else others.adapt(begin, rate, follow)
        found, logits = _described(model.eval(), tuning, held)
        first = models_of(model)[0]
        by_view = others.features(first).view(views, int(kept.sum()), -1)
        log_probabilities[held] = logits.double().log_softmax(1)
        known[held] = Knownness.fit(by_view, labels[kept], way, len(first.networks))(found)
        seen[held] = (torch.bincount(labels[kept], minlength=way) / counts)[labels[held]].to(seen)
    index = (part >= 0).nonzero()[:, 0]
    alone = tuple((counts == 1).nonzero()[:, 0].tolist())
    held_out = HeldOut(log_probabilities[index], known[index], index, labels[index], seen[index], alone)
    return replace(held_out, **{name: value.cpu() for name, value in vars(held_out).items() if torch.is_tensor(value)})


def _described(
    model: TaskModel | TaskModels, tuning: FineTuning, held: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and logits of the images that were left out."""
    found = []
    for images in tuning.images[held].split(tuning.config.batch_size or len(held)):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=tuning.precision == "bf16-mixed"):
            found.append(
                model.described(model.networks, images) if isinstance(model, TaskModel) else model.described(images)
            )
    features, logits = zip(*found, strict=True)
    return torch.cat(features), torch.cat(logits)
