"""Choosing the learning rate of fine-tuning by the support set alone."""

import copy
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from smat.adaptation.finetune import FineTuning, OnStep
from smat.adaptation.settings import LearningRate
from smat.errors import NonFiniteError
from smat.heads import TaskModel
from smat.rng import torch_generator


def can_choose(labels: Int[Tensor, " n"]) -> bool:
    """Whether any class has an image to hold out besides one to learn from, as a choice of a learning rate needs."""
    return int(torch.bincount(labels).max()) > 1


def why_untuned(tuning: FineTuning, asked: LearningRate) -> str:
    """Why fine-tuning left a network as it was, and what to do, by the names that `smat predict` has too.

    Args:
        tuning: the fine-tuning, which trained nothing.
        asked: the learning rate that was asked for.
    """
    if not tuning.config.steps:
        return "nothing was fine-tuned, since steps is 0: give more (--steps 50)"
    if asked == 0:
        return "nothing was fine-tuned, since the learning rate is 0: give another (--learning-rate 1e-4)"
    if asked == "support" and not can_choose(tuning.labels):
        return (
            "nothing was fine-tuned, since a learning rate cannot be chosen from one image per class: give one "
            "(--learning-rate 1e-4), or more images"
        )
    if asked == "support":
        return (
            "nothing was fine-tuned, since no learning rate did better than 0 on support images that were held out: "
            "the network is as it was; to tune it all the same, give a rate (--learning-rate 1e-4)"
        )
    return "nothing was fine-tuned, since it finds nothing to tune in this network"


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
    if tuning.config.one_rate or not can_choose(tuning.labels) or not tuning.trains:
        return rates[0]
    folds = _deal(tuning.labels, tuning.config.folds, tuning.seed)
    parts = int(folds.max()) + 1
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
