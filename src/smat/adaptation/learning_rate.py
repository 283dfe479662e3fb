"""Choosing the learning rate of fine-tuning by the support set alone."""

import copy
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from smat.adaptation.finetune import FineTuning, OnStep
from smat.errors import NonFiniteError
from smat.heads import TaskModel
from smat.rng import torch_generator


def cross_validated_lr(tuning: FineTuning, model: TaskModel, on_step: OnStep | None = None) -> float:
    """The learning rate that does best on held-out support images.

    The images of each class are dealt out to at most `config.folds` parts, of which each in turn is held out and
    classified by a network that was tuned on the others. A class of one image is never held out. The rate with the
    most right answers is taken, among equals the one with the smaller cross-entropy, then the smaller one. After each
    part only the better half of the rates, at least two, goes on to the next (successive halving, Jamieson & Talwalkar
    2016), which with the default grid and 5 parts halves the work: 17 rates are tuned with in place of 35.

    With one image of every class nothing can be held out, and the smallest rate of the grid is taken, 0 by default:
    nothing then says that any other does no harm.

    Which experts are in the network was decided with the held-out images too, for all rates alike.

    Args:
        tuning: the support set and how the network is tuned on it.
        model: network of the task, as `smat.heads.specialise` gives it; it stays as it is.
        on_step: called after each step with their number so far and in the end.

    Raises:
        ConfigError: a network that cannot be tuned so.
        DataError: the model has other classes than the labels.
    """
    tuning.check(model)
    rates = tuning.tuner.learning_rates(tuning.config)
    folds = _deal(tuning.labels, tuning.config.folds, tuning.seed)
    parts = int(folds.max()) + 1
    if tuning.config.one_rate or parts == 0 or not tuning.trains:
        return rates[0]
    features = tuning.features(model)
    start = copy.deepcopy(model)
    scores = {rate: torch.zeros(2, dtype=torch.float64) for rate in rates}
    kept = _halved(len(rates), parts)
    steps = tuning.config.steps
    done, total = 0, sum(kept) * steps
    for fold, most in enumerate(kept):
        rates = sorted(rates, key=lambda rate: (*scores[rate].tolist(), rate))[:most]
        held = (folds == fold).to(tuning.labels.device)
        others = tuning.part(~held)
        start.refit(features[(~held).repeat(len(model.head.views.support))], others.labels)
        for rate in rates:
            try:
                follow = on_step and (lambda step, _, done=done: on_step(done + step, total))
                adapted = others.adapt(start, rate, follow)
                scores[rate] += _errors(adapted, tuning.images[held], tuning.labels[held], tuning)
            except NonFiniteError:
                scores[rate] += math.inf
            done += steps
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
    model: TaskModel, images: Float[Tensor, "n 3 height width"], labels: Int[Tensor, " n"], tuning: FineTuning
) -> Float[Tensor, " 2"]:
    """The number of wrong answers, and the sum of the cross-entropies."""
    logits = model.classified(tuning.networks(model), images)
    wrong = (logits.argmax(1) != labels).sum()
    entropy = cross_entropy(logits.double(), labels, reduction="sum").nan_to_num(math.inf)
    return torch.stack([wrong.double(), entropy]).cpu()
