"""A fitted classifier with more images or classes, or fewer, without passing the others through the network again."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smat.adaptation.averaging import models_of
from smat.adaptation.fitted import FittedClassifier
from smat.adaptation.inputs import as_labels, as_list, as_weights, names_of
from smat.adaptation.support import Support, digest_of, thumbnail_of
from smat.episodes import plain_transform
from smat.errors import ConfigError, DataError
from smat.experts import class_prototypes
from smat.heads import in_batches, support_features
from smat.precision import resolve_precision


@dataclass(frozen=True)
class Change:
    """What became of a classifier.

    Attributes:
        classes: its labels now.
        images: number of labelled images now.
        moved: how far the router would now move the merge weights, as the share of all weight that would go to other
            experts, 0..1: where it is large, `refit` is worth its while. 0 of a network without experts; None where it
            is not known, since the classifier was loaded and has no router.
    """

    classes: tuple[str, ...]
    images: int
    moved: float | None

    def __str__(self) -> str:
        if self.moved is None:
            moved = "how far merge weights would move is not known without the experts"
        else:
            moved = f"merging again would move {100 * self.moved:.0f} % of the experts' weight"
        return f"{len(self.classes)} classes, {self.images} images; {moved}"


def add(classifier: FittedClassifier, X: Any, y: Any, sample_weight: Any = None) -> Change:
    """What `FewShotClassifier.add` does."""
    check_is_fitted(classifier)
    images = as_list(X)
    labels = as_labels(y, len(images))
    weights = as_weights(sample_weight, len(images))
    if weights is not None and not weights.all():
        raise DataError("sample_weight has a 0; leave such images out")
    names = np.asarray(labels)
    if names.dtype.kind != classifier.classes_.dtype.kind and {names.dtype.kind, classifier.classes_.dtype.kind} & {
        *"US"
    }:
        raise DataError(
            f"the new labels are of another type, such as {names.tolist()[0]!r}, than the classes, such as "
            f"{classifier.classes_.tolist()[0]!r}; give labels of one type"
        )
    classes = np.unique(np.concatenate([classifier.classes_, names]))
    classifier._check_classes(classes, len(images))
    spec = classifier.task_model_.backbone.spec
    squares = classifier._read(images, spec, range(len(images)))
    old = classifier.support_
    more = Support(
        torch.from_numpy(np.searchsorted(classes, names)),
        names_of(images),
        tuple(map(digest_of, squares)),
        weights,
        None if old.thumbnails is None else tuple(map(thumbnail_of, squares)),
    )
    support = _recoded(old, classifier.classes_, classes).with_more(more)
    support.warn_of_doubles([*map(str, classes)])
    model = classifier.task_model_
    device = model.merge_weights.device
    inputs = plain_transform(squares, spec.image_format).to(device)
    mixed = resolve_precision(classifier.precision, device) == "bf16-mixed"
    features, frozen = [], None
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        for each in models_of(model):
            networks = [in_batches(network, classifier.batch_size) for network in each.networks]
            new = support_features(networks, inputs, each.head.views.support)
            features.append(_with_more(_kept(each.features), new.to(each.merge_weights.dtype), len(old)))
        routing = classifier._routing
        if routing is not None:
            network = routing.network(routing.pretrained, resolve_precision(classifier.precision, device))
            network = in_batches(network, classifier.batch_size)
            frozen = torch.cat([_kept(models_of(model)[0].frozen), network(inputs).float()])
    kept = None if classifier._squares is None else torch.cat([classifier._squares, squares])
    return _become(classifier, classes, support, features, frozen, kept)


def remove(classifier: FittedClassifier, label: Any = None, images: Any = None) -> Change:
    """What `FewShotClassifier.remove` does."""
    check_is_fitted(classifier)
    if (label is None) == (images is None):
        raise ConfigError("give the label of a class to remove, or the numbers of images")
    support, classes = classifier.support_, classifier.classes_
    keep = torch.ones(len(support), dtype=torch.bool)
    if images is None:
        keep &= support.codes != _code(classes, label)
    else:
        numbers = np.atleast_1d(np.asarray(images))
        if numbers.dtype.kind not in "iu" or not ((numbers >= 0) & (numbers < len(support))).all():
            raise DataError(f"images are {images!r}; give numbers of labelled images, 0..{len(support) - 1}")
        keep[torch.from_numpy(numbers.astype(np.int64))] = False
    left = classes[np.unique(support.codes[keep].numpy())]
    if len(left) < 2:
        raise DataError("fewer than two classes would be left; add another first")
    return _with_part(classifier, left, keep)


def rename(classifier: FittedClassifier, old: Any, new: Any) -> Change:
    """What `FewShotClassifier.rename` does."""
    check_is_fitted(classifier)
    classes = classifier.classes_
    code = _code(classes, old)
    names = as_labels([new], 1)
    if new in classes.tolist() and new != old:
        raise DataError(f"there is a class '{new}' already; choose another name, or remove one of them")
    renamed = classes.astype(np.result_type(classes, names)) if classes.dtype.kind == "U" else classes.copy()
    if renamed.dtype.kind != names.dtype.kind and "U" in (renamed.dtype.kind, names.dtype.kind):
        raise DataError(f"the new name {new!r} is of another type than the classes, such as {classes.tolist()[0]!r}")
    renamed[code] = names[0]
    order = np.argsort(renamed)
    classifier._check_classes(renamed[order], len(classifier.support_))
    support = classifier.support_
    ranks = torch.from_numpy(np.argsort(order))
    support = replace(support, codes=ranks[support.codes])
    models = models_of(classifier.task_model_)
    features = [_kept(each.features) for each in models]
    return _become(classifier, renamed[order], support, features, models[0].frozen, classifier._squares)


def _with_part(classifier: FittedClassifier, classes: np.ndarray, keep: Bool[Tensor, " n"]) -> Change:
    """The classifier with some of its images, of the classes that are left."""
    support = _recoded(classifier.support_.part(keep), classifier.classes_, classes)
    models = models_of(classifier.task_model_)
    there = keep.to(classifier.task_model_.merge_weights.device)
    features = [_kept(each.features)[there.repeat(len(each.head.views.support))] for each in models]
    frozen = None if models[0].frozen is None else models[0].frozen[there]
    squares = None if classifier._squares is None else classifier._squares[keep]
    return _become(classifier, classes, support, features, frozen, squares)


def _become(
    classifier: FittedClassifier,
    classes: np.ndarray,
    support: Support,
    features: list[Float[Tensor, "views_n networks_dim"]],
    frozen: Float[Tensor, "n dim"] | None,
    squares: UInt8[Tensor, "n 3 side side"] | None,
) -> Change:
    """Fit the heads to what the classifier is to know."""
    if classifier._tuned_without is not None:
        if classifier.reject is not None:
            raise ConfigError(
                "reject goes by networks that were fine-tuned without some of the labelled images, and cannot follow a "
                "change of these: fit anew, or set reject to None first"
            )
        classifier._tuned_without = None
    models = models_of(classifier.task_model_)
    device = classifier.task_model_.merge_weights.device
    codes = support.codes.to(device)
    weights = None if support.weights is None else support.weights.to(device)
    for each, known in zip(models, features, strict=True):
        each.refit(known, codes, weights, way=len(classes), tuned=bool(each.tuned))
        each.frozen = frozen
    classifier.classes_, classifier.support_ = classes, support
    classifier._keep(squares)
    return Change(tuple(map(str, classes)), len(support), _moved(classifier, frozen, codes))


@torch.no_grad()
def _moved(
    classifier: FittedClassifier, frozen: Float[Tensor, "n dim"] | None, codes: Int[Tensor, " n"]
) -> float | None:
    """The share of weight that the router would give to other experts; 0 without experts."""
    now, routing = classifier.task_model_.merge_weights, classifier._routing
    if not len(now):
        return 0.0
    if routing is None or frozen is None:
        return None
    then, _ = routing.route(class_prototypes(frozen, codes, len(classifier.classes_)))
    rest = (then.sum() - now.sum()).abs()  # of a null expert
    return float(((then - now).abs().sum() + rest) / 2)


def _with_more(
    old: Float[Tensor, "views_n dim"], new: Float[Tensor, "views_m dim"], images: int
) -> Float[Tensor, "views_k dim"]:
    """Features of two sets of images, all first views first."""
    views = len(old) // images
    return torch.cat([old.view(views, images, -1), new.view(views, len(new) // views, -1)], dim=1).flatten(0, 1)


def _recoded(support: Support, old: np.ndarray, new: np.ndarray) -> Support:
    """The images with their codes among other classes, which have all of theirs."""
    there = np.searchsorted(new, old).clip(max=len(new) - 1)
    return replace(support, codes=torch.from_numpy(there)[support.codes])


def _code(classes: np.ndarray, label: Any) -> int:
    found = [code for code, name in enumerate(classes.tolist()) if name == label]
    if not found:
        raise DataError(f"there is no class {label!r}; the classes are {', '.join(map(str, classes))}")
    return found[0]


def _kept(features: Tensor | None) -> Tensor:
    assert features is not None, "networks of a fitted classifier come with their support features"
    return features
