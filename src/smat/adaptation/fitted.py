"""What a fitted classifier says of images, and of itself."""

import copy
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smat.adaptation.averaging import TaskModels, models_of
from smat.adaptation.expert_tuners import Kind
from smat.adaptation.inputs import as_list, read_images
from smat.adaptation.settings import Rate
from smat.adaptation.support import KEPT, Support, digest_of
from smat.adaptation.tuners import FineTuner
from smat.assessment import (
    Assessment,
    HeldOut,
    Knownness,
    LearningCurve,
    Suspect,
    assess,
    hold_out,
    learning_curve,
    review,
)
from smat.backbones import BackboneSpec
from smat.domains import GreyRange
from smat.episodes import TransformConfig, plain_transform
from smat.errors import ConfigError, DataError
from smat.experts import FeatureCache, SparseInterpolatedExperts, cached
from smat.heads import TaskModel
from smat.precision import Precision, resolve_precision
from smat.schema import check_setting

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What a classifier says of images.

    Attributes:
        labels: the label of each, `[n]`; with `reject`, strings, among them the one for images of no class.
        probabilities: of each class, in the order of `classes_`, `[n, way]`.
        known: how much each is like the labelled images: what `reject` goes by; None where that is not known, `[n]`.
        seen: whether each is one of the labelled images, by its content, `[n]`.
    """

    labels: Shaped[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n way"]
    known: Float[np.ndarray, " n"] | None
    seen: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class _Pass:
    """What the network says of a batch of images: features, logits, and what tells each by its content."""

    features: Tensor
    logits: Tensor
    digests: list[str]


@dataclass
class Said:
    """What the classifier said of itself, which it need not find out again."""

    assessment: Assessment | None = None
    knownness: Knownness | None = None


class FittedClassifier(ClassifierMixin, TransformerMixin, BaseEstimator):
    """What `FewShotClassifier` is once it is fitted; its settings and attributes are explained there."""

    precision: Precision
    adapt: Kind | FineTuner
    batch_size: int
    margin: float | None
    seed: int
    feature_cache: FeatureCache | str | Path | None
    max_pixels: int
    reject: float | None
    unknown_label: str
    classes_: np.ndarray
    learning_rate_: float | tuple[float, ...]
    task_model_: TaskModel | TaskModels
    range_: GreyRange | None
    support_: Support
    _squares: Tensor | None
    _routing: SparseInterpolatedExperts | None
    _tuned_without: HeldOut | None
    _said: Said

    @abstractmethod
    def _check_settings(self) -> None:
        """Raise a `ConfigError` for a setting that cannot work."""

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn may expect: images (also by path), not a table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []  # features are float32, whatever images are
        return tags

    def answer(self, X: Any) -> Answers:
        """Labels, probabilities and what else there is to say of images, in one pass.

        Raises:
            NotFittedError: `fit` was not called.
            DataError: no images, or an unreadable one.
            ConfigError: `reject` where the labelled images cannot support it.
        """
        return self._answers([*self._passes(X)])

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n way"]:
        """Each image's probability of each class, in the order of `classes_`; rows sum to 1. Raises as `answer`."""
        return self.answer(X).probabilities

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:
        """The most probable label of each image, or with `reject` perhaps `unknown_label`; raises as `answer`."""
        answers = self.answer(X)
        if seen := int(answers.seen.sum()):
            _log.warning(
                "%d of %d images are labelled images too: an accuracy with these says nothing of new images",
                seen,
                len(answers.seen),
            )
        return answers.labels

    def decision_function(self, X: Any) -> Float[np.ndarray, "n way"] | Float[np.ndarray, " n"]:
        """Logits of each class; of two classes, the second's less the first's. Raises as `answer`."""
        logits = torch.cat([found.logits for found in self._passes(X)]).numpy()
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def transform(self, X: Any) -> Float[np.ndarray, "n networks_dim"]:
        """The features that the head gets: of several networks side by side, the mean over views. Raises as `answer`.

        Of networks that are averaged they are the first one's.
        """
        return torch.cat([found.features for found in self._passes(X)]).numpy()

    def predict_set(self, X: Any, alpha: float = 0.1) -> list[tuple[Any, ...]]:
        """The labels that each image may have: its own is among them for a share of about 1 - alpha of images.

        That holds for images that are like the labelled ones. A set may be empty, where no class is likely enough.

        Args:
            X: images, as in `fit`.
            alpha: share of images whose label may be missing, 0..1.

        Raises:
            ConfigError: the labelled images are too few for the share, or nothing was held out.
            NotFittedError: as `answer`.
        """
        check_setting("alpha", alpha, Rate)
        sets = self._assessed("alpha").sets(torch.from_numpy(self.predict_proba(X)), alpha).numpy()
        return [tuple(self.classes_[some].tolist()) for some in sets]

    @property
    def assessment_(self) -> Assessment | None:
        """What the labelled images say of the classifier: temperature, expected accuracy, thresholds.

        None after fine-tuning without `reject`: the network knows the images that it was tuned on. With it, the network
        is tuned anew without each of five parts of the images. Computed when it is first asked for.
        """
        check_is_fitted(self)
        if self._said.assessment is None and (held := self._held_out()) is not None:
            self._said.assessment = assess(held)
        return self._said.assessment

    def _assessed(self, setting: str) -> Assessment:
        if self.assessment_ is None:
            raise ConfigError(
                f"{setting} needs labelled images that the network does not know, but it was fine-tuned on all of them:"
                " give reject (--reject) before it is fine-tuned, or leave fine-tuning out"
            )
        return self.assessment_

    @property
    def knownness_(self) -> Knownness:
        """How much an image is like the labelled ones, by its features (`transform`)."""
        check_is_fitted(self)
        if self._said.knownness is None:
            model = models_of(self.task_model_)[0]
            self._said.knownness = Knownness.fit(
                self._by_view(model), self.support_.codes, len(self.classes_), len(model.networks)
            )
        return self._said.knownness

    def review(self) -> list[Suspect]:
        """Labelled images that may be wrong, by kind, the most suspect first: other labels, duplicates, odd ones out.

        Their numbers are those of `support_`; `remove(images=...)` takes them.

        Raises:
            NotFittedError: `fit` was not called.
            ConfigError: the network was fine-tuned on the images.
        """
        assessment, model = self._assessed("review"), models_of(self.task_model_)[0]
        held = self._held_out()
        assert held is not None
        return review(held, assessment.temperature, self._by_view(model), self.support_.codes)

    def learning_curve(self) -> LearningCurve:
        """The accuracy by images per class, and whether more would help; raises as `review`."""
        assessment, model = self._assessed("learning_curve"), models_of(self.task_model_)[0]
        head = model.head.for_networks(len(model.networks))
        classifier = copy.deepcopy(model.classifier).cpu()
        features, codes = self._by_view(model), self.support_.codes
        return learning_curve(head, classifier, features, codes, assessment.accuracy, self.seed)

    def _by_view(self, model: TaskModel) -> Float[Tensor, "views n networks_dim"]:
        """The support features."""
        assert model.features is not None
        return model.features.view(len(model.head.views.support), len(self.support_), -1).float().cpu()

    def _held_out(self) -> HeldOut | None:
        """What classifiers say of labelled images that they did not see; None after fine-tuning without `reject`."""
        model = self.task_model_
        if not model.tuned:
            assert isinstance(model, TaskModel)
            head = model.head.for_networks(len(model.networks))
            return hold_out(head, copy.deepcopy(model.classifier).cpu(), self._by_view(model), self.support_.codes)
        return self._tuned_without

    def _passes(self, X: Any) -> Iterator["_Pass"]:
        """What the network says of images, batch by batch."""
        check_is_fitted(self)
        self._check_settings()
        images = as_list(X)
        model, spec = self.task_model_, self.task_model_.backbone.spec
        device = model.merge_weights.device
        mixed = resolve_precision(self.precision, device) == "bf16-mixed"
        # A network that was merged or fine-tuned for one task is not asked for the same images again.
        cache = None if len(model.merge_weights) or self.learning_rate_ else FeatureCache.of(self.feature_cache)
        for start in range(0, len(images), self.batch_size):
            squares = self._read(images, spec, range(start, min(start + self.batch_size, len(images))))
            inputs = plain_transform(squares, spec.image_format).to(device)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                if isinstance(model, TaskModel):
                    networks = [cached(model.backbone, cache)] if cache else model.networks
                    features, logits = model.described(networks, inputs)
                else:
                    features, logits = model.described(inputs)
            digests = [digest_of(square) for square in squares]
            yield _Pass(features.float().cpu(), logits.double().cpu(), digests)

    def _answers(self, passes: "Sequence[_Pass]") -> Answers:
        logits, assessment = torch.cat([found.logits for found in passes]), self.assessment_
        probabilities = (logits if assessment is None else logits / assessment.temperature).softmax(dim=1).numpy()
        known = self.knownness_(torch.cat([found.features for found in passes])).numpy()
        labels = self.classes_[probabilities.argmax(axis=1)]
        if self.reject is not None:
            labels = np.where(known < self._assessed("reject").threshold(self.reject), self.unknown_label, labels)
        ours = {*self.support_.digests}
        seen = np.array([digest in ours for found in passes for digest in found.digests])
        return Answers(labels, probabilities, known, seen)

    def _keep(self, squares: UInt8[Tensor, "n 3 side side"] | None) -> None:
        """Keep the labelled images in memory for `refit`, unless they are many, and forget what was said of others."""
        self._said = Said()
        self._squares = squares if squares is not None and squares.nbytes <= KEPT else None

    def __getstate__(self) -> Any:
        """What is pickled, as by joblib: not the labelled images, nor what routes tasks."""
        state: Any = super().__getstate__()
        return {name: None if name in ("_squares", "_routing") else value for name, value in state.items()}

    def _check_classes(self, classes: np.ndarray, images: int) -> None:
        if len(classes) < 2:
            raise DataError(f"all {images} images are of one class, '{classes[0]}'; give images of two or more classes")
        if self.reject is not None and self.unknown_label in [*map(str, classes)]:
            raise DataError(
                f"a class is called '{self.unknown_label}', as images of no class are; give these another label: "
                "unknown_label (--unknown-label), such as 'none of these'"
            )

    def _read(
        self, images: Sequence[Any], spec: BackboneSpec, numbers: Sequence[int]
    ) -> UInt8[Tensor, "n 3 side side"]:
        """Images as squares of the size that the network's input is cut from."""
        side = TransformConfig(margin=spec.margin if self.margin is None else self.margin).canvas_size(spec.image_size)
        return read_images(images, numbers, side, self.range_, self.max_pixels)
