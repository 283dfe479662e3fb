"""A fitted classifier as a folder: what it is in JSON, its numbers in safetensors, a card, and thumbnails if wished.

The folder needs neither the pool nor the labelled images. What a head makes is made again from the stored features and
then gets the stored numbers, so that it answers as before, also on another machine.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import smat
from smat.adaptation.averaging import TaskModels, models_of
from smat.adaptation.card import card_of
from smat.adaptation.expert_tuners import Kind
from smat.adaptation.fitted import FittedClassifier, Said
from smat.adaptation.settings import Rate
from smat.adaptation.support import Support, thumbnail_of
from smat.assessment import Assessment, AssessmentNumbers, HeldOut, Knownness
from smat.backbones import Backbone, BackboneSpec, build, check_network
from smat.backbones.spec import Margin, Triple
from smat.domains import GreyRange
from smat.errors import CheckpointError, ConfigError, SmatError
from smat.files import write_folder
from smat.heads import Head, TaskModel, fit_head
from smat.plugins import describe, plain, restore
from smat.schema import Count, Finite, NotNegative, Number, Seed, from_plain, read_versioned
from smat.weights import Header, read_header, read_weights

CLASSIFIER, WEIGHTS, CARD, THUMBNAILS, FORMAT = "classifier.json", "model.safetensors", "README.md", "thumbnails", 1
_AGAIN = "Copy it again, or make it anew with `smat fit`"


@dataclass(frozen=True)
class _Settings:
    """Those of `FewShotClassifier` that are not a machine's; `head` is written down with the networks."""

    model: str
    batch_size: Count
    margin: Margin | None
    image_size: Count | None
    mean: Triple | Finite | None
    std: Triple | Finite | None
    strengths: list[NotNegative] | None
    adapt: str
    learning_rate: NotNegative | Literal["support", "average"]
    steps: Number
    flip: bool
    seed: Seed
    max_pixels: Count
    reject: Rate | None
    unknown_label: str


@dataclass(frozen=True)
class _Member:
    """One network, or several side by side, with their classifier."""

    networks: list[dict[str, Any]]
    head: dict[str, Any]
    learning_rate: float
    tuned: Number


@dataclass(frozen=True)
class _Images:
    """What is kept of the labelled images, beside numbers."""

    codes: list[Number]
    names: list[str]
    digests: list[str]
    thumbnails: bool


@dataclass(frozen=True)
class _Saved:
    """The keys of `classifier.json`."""

    format: Count
    smat_version: str
    classes: list[str] | list[int] | list[bool] | list[float]
    settings: _Settings
    range: tuple[float, float] | None
    members: list[_Member]
    support: _Images
    assessment: AssessmentNumbers | None
    alone: list[Number] | None


@dataclass(frozen=True)
class Read:
    """What a folder holds: arguments of a `FewShotClassifier`, and its attributes once it is fitted."""

    settings: dict[str, Any]
    fitted: dict[str, Any]


def is_classifier(folder: str | Path) -> bool:
    """Whether a folder holds a saved classifier."""
    return (Path(folder) / CLASSIFIER).is_file()


def write_classifier(classifier: FittedClassifier, folder: Path, thumbnails: bool) -> None:
    """What `FewShotClassifier.save` does."""
    support, models = classifier.support_, models_of(classifier.task_model_)
    assessment, without = classifier.assessment_, classifier._tuned_without
    small = _thumbnails(classifier) if thumbnails else None
    rates = classifier.learning_rate_
    members = [
        _Member([asdict(n.spec) for n in model.networks], describe(model.head), rate, model.tuned)
        for model, rate in zip(models, rates if isinstance(rates, tuple) else [rates], strict=True)
    ]
    given = classifier.get_params(deep=False)
    model, adapt = given["model"], given["adapt"]
    given["model"] = str(model) if isinstance(model, str | Path) else models[0].backbone.spec.name
    given["adapt"] = adapt if isinstance(adapt, str) else type(adapt).__name__
    settings = _Settings(**{field.name: plain(given[field.name]) for field in fields(_Settings)})
    saved = _Saved(
        FORMAT,
        smat.__version__,
        classifier.classes_.tolist(),
        settings,
        None if classifier.range_ is None else (classifier.range_.low, classifier.range_.high),
        members,
        _Images(support.codes.tolist(), list(support.names), list(support.digests), small is not None),
        None if assessment is None else from_plain(assessment.numbers(), AssessmentNumbers, "", ConfigError),
        None if without is None else list(without.alone),
    )
    try:
        text = json.dumps(asdict(saved), indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the classifier cannot be written down: {error}; labels must be texts or numbers") from error
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in _tensors(classifier)}

    def fill(place: Path) -> None:
        save_file(tensors, place / WEIGHTS)
        (place / WEIGHTS).chmod(0o666 & (place.stat().st_mode | 0o600))
        (place / CARD).write_text(card_of(classifier, small is not None), encoding="utf-8")
        if small is not None:
            (place / THUMBNAILS).mkdir()
            for number, content in enumerate(small):
                (place / THUMBNAILS / f"{number}.jpg").write_bytes(content)
        (place / CLASSIFIER).write_text(text + "\n", encoding="utf-8")

    write_folder(folder, fill, CLASSIFIER, "classifier")


def read_classifier(
    folder: Path, device: torch.device, allow_imports: Collection[str], backbone: Backbone | None
) -> Read:
    """What `FewShotClassifier.load` reads."""
    if not is_classifier(folder):
        raise CheckpointError(
            f"'{folder}' holds no classifier: it has no {CLASSIFIER}. Give a folder that `smat fit` or "
            "FewShotClassifier.save made"
        )
    said = read_versioned(folder / CLASSIFIER, FORMAT, f"'{folder}'", CheckpointError, _AGAIN)
    try:
        saved = from_plain(said, _Saved, "", CheckpointError)
        header = read_header(folder / WEIGHTS, CheckpointError, _AGAIN)
        _check(saved, header)
        stored = read_weights(folder / WEIGHTS, CheckpointError, _AGAIN)
        support = Support(
            torch.tensor(saved.support.codes),
            tuple(saved.support.names),
            tuple(saved.support.digests),
            stored.get("support.weights"),
            _read_thumbnails(folder, len(saved.support.codes)) if saved.support.thumbnails else None,
        )
        members = [
            _member(number, member, saved, stored, support, allow_imports, backbone)
            for number, member in enumerate(saved.members)
        ]
        rates = tuple(member.learning_rate for member in saved.members)
        model = members[0] if len(members) == 1 else TaskModels(members, rates)
        fitted = {
            "classes_": np.array(saved.classes),
            "learning_rate_": rates[0] if len(rates) == 1 else rates,
            "task_model_": model.to(device).eval(),
            "range_": None if saved.range is None else GreyRange(*saved.range),
            "support_": support,
            "_squares": None,
            "_routing": None,
            "_said": Said(
                saved.assessment and Assessment.of(saved.assessment, _part(stored, "assessment/")),
                Knownness(**_part(stored, "knownness/")),
            ),
            "_tuned_without": None
            if saved.alone is None
            else HeldOut(**_part(stored, "held/"), alone=tuple(saved.alone)),
        }
    except (SmatError, RuntimeError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError) and str(folder) in str(error):
            raise
        raise CheckpointError(f"'{folder}' cannot be loaded: {error}. {_AGAIN}") from error
    settings = {**vars(saved.settings), "head": members[0].head, "range": saved.range}
    if settings["adapt"] not in get_args(Kind):  # a tuner of one's own, which is not needed to use what it tuned
        settings["adapt"] = "none"
    return Read(settings, fitted)


def _tensors(classifier: FittedClassifier) -> Iterator[tuple[str, Tensor]]:
    """All numbers by name."""
    if classifier.support_.weights is not None:
        yield "support.weights", classifier.support_.weights
    for number, model in enumerate(models_of(classifier.task_model_)):
        for place, network in enumerate(model.networks):
            yield from _named(f"{number}.network.{place}/", network.state_dict())
        yield from _named(f"{number}.classifier/", model.classifier.state_dict())
        yield f"{number}.merge_weights", model.merge_weights
        assert model.features is not None
        yield f"{number}.features", model.features
        if model.frozen is not None:
            yield f"{number}.frozen", model.frozen
    yield from _named("knownness/", classifier.knownness_.state_dict())
    if classifier.assessment_ is not None:
        yield from _named("assessment/", classifier.assessment_.tensors())
    if classifier._tuned_without is not None:
        held = {name: x for name, x in vars(classifier._tuned_without).items() if isinstance(x, Tensor)}
        yield from _named("held/", held)


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((f"{prefix}{name}", value) for name, value in tensors.items())


def _check(saved: _Saved, header: Header) -> None:
    """Raise a `CheckpointError` for settings that are not those of the weights."""
    images = saved.support
    if len({len(images.codes), len(images.names), len(images.digests)}) > 1 or not saved.members:
        raise CheckpointError("support has not as many codes as names and digests, or there are no members")
    if len(saved.classes) < 2 or {*images.codes} != {*range(len(saved.classes))}:
        raise CheckpointError(f"support.codes are not those of {len(saved.classes)} classes")
    for number, member in enumerate(saved.members):
        for place, network in enumerate(member.networks):
            prefix = f"{number}.network.{place}/"
            check_network(BackboneSpec.from_dict(network), header, prefix, prefix)


def _member(
    number: int,
    member: _Member,
    saved: _Saved,
    stored: Mapping[str, Tensor],
    support: Support,
    allow_imports: Collection[str],
    module: Backbone | None,
) -> TaskModel:
    """One network, or several side by side, with their classifier."""
    networks = []
    for place, described in enumerate(member.networks):
        spec = BackboneSpec.from_dict(described)
        if spec.kind == "module" and module is None:
            raise CheckpointError(
                f"it was made around your own module {spec.name!r}: load it with backbone=smat.backbones.load(module, "
                "image_size=...)"
            )
        network = build(spec, module.network if module and spec.kind == "module" else None, allow_imports)
        _fill(network, stored, f"{number}.network.{place}/")
        networks.append(network)
    head = restore(member.head, Head, allow_imports)
    fitting = head.after_tuning() if member.tuned else head
    features, way = stored[f"{number}.features"], len(saved.classes)
    classifier = fit_head(fitting, features, support.codes, way, len(networks), support.weights)
    _fill(classifier, stored, f"{number}.classifier/")
    weights, frozen = stored[f"{number}.merge_weights"], stored.get(f"{number}.frozen")
    model = TaskModel(networks[-1], head, classifier, weights, networks[:-1], features, frozen)
    model.tuned = member.tuned
    return model


def _part(stored: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}


def _fill(module: nn.Module, stored: Mapping[str, Tensor], prefix: str) -> None:
    module.load_state_dict(_part(stored, prefix))


def _thumbnails(classifier: FittedClassifier) -> tuple[bytes, ...]:
    if classifier._squares is not None:
        return tuple(map(thumbnail_of, classifier._squares))
    if classifier.support_.thumbnails is None:
        raise ConfigError(
            "there are no pictures to make thumbnails of: a classifier that was loaded has those that were saved with "
            "it, and no more than 256 MB of images are kept in memory. Leave thumbnails out"
        )
    return classifier.support_.thumbnails


def _read_thumbnails(folder: Path, images: int) -> tuple[bytes, ...]:
    try:
        return tuple((folder / THUMBNAILS / f"{number}.jpg").read_bytes() for number in range(images))
    except OSError as error:
        raise CheckpointError(f"a thumbnail cannot be read: {error}") from error
