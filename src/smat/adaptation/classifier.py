"""A few-shot image classifier with scikit-learn's interface."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from rich.progress import Progress
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smat.adaptation.averaging import TaskModels, averaged
from smat.adaptation.expert_tuners import Kind, make_tuner
from smat.adaptation.finetune import FineTuning
from smat.adaptation.inputs import as_labels, as_list
from smat.adaptation.learning_rate import cross_validated_lr, why_untuned
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.settings import FineTuneConfig, LearningRate, check_learning_rate, default_grid
from smat.adaptation.tuners import FineTuner
from smat.backbones import BackboneSpec, ImageOptions
from smat.domains import MAX_PIXELS, GreyRange, RangeOption, find_range, load_image
from smat.episodes import TransformConfig, prepare
from smat.errors import ConfigError, DataError
from smat.experts import FeatureCache, Strength, cached
from smat.heads import Head, TaskModel, make_head, specialise
from smat.left_out import leave_out
from smat.precision import Precision, resolve_precision


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """Classifies images of new classes from a handful of examples of each.

    `fit` merges the experts into one network for the task and fits a head to its features. That takes seconds; with
    `adapt` the network is also trained on the images. Works with scikit-learn's model selection, whose
    `X` are then images: a list of PIL images, paths, or arrays, mixed as you like, or one array `[n, height, width]`
    or `[n, height, width, 3]` (uint8, floats in 0..1, or numbers of any type with `range`). Images may be of any size;
    they become the network's by the test transform.

        classifier = FewShotClassifier("runs/mine/best").fit(["a.jpg", "b.jpg"], ["cat", "dog"])
        classifier.predict(["c.jpg"])

    Args:
        model: a checkpoint of smat or a pre-trained backbone, by folder or hub name or as an object
            (`SparseInterpolatedExperts`, `Backbone`); `"pocket"` is the small network that smat carries.
        precision: `"32-true"`, `"bf16-mixed"`, or `"auto"`: the second where the device computes fast in bfloat16, the
            first elsewhere.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        batch_size: images that pass through the network at a time.
        margin: side of the square that images are cut to over the image size; that of the model's training by default.
        image_size: side of the images in pixels, where the model is a backbone by name; by default that of its
            checkpoint.
        mean: mean of red, green and blue that such a backbone's images are normalised with, or one number; by default
            that of its checkpoint.
        std: standard deviation of the colours, likewise.
        head: what classifies the features: a `Head`, or its name: `"auto"` fits itself to the images; `"prototype"` is
            the nearest class mean; `"ridge"`, `"logistic"`, `"lda"`, `"knn"` and `"average"` are what they say. With
            `:1`, `:2` or `:4` after the name, an image passes through the network so many times, in as many views;
            `"auto"` alone takes 2 passes.
        strengths: networks that the head gets the features of, by how far each goes from the frozen network (0) to the
            one that the experts make (1): `(0, 1)` gives it both, at twice the passes. A network that the head gives no
            weight is left out.
        adapt: `"full"` fine-tunes the network on the labelled images, `"lora"` small adapters in it, `"weights"` the
            weights that the experts are merged by, block by block, `"gates"` the parameters behind the experts' open
            gates, `"none"` nothing; or a `FineTuner`.
        learning_rate: learning rate of the fine-tuning; `"support"` chooses one by cross-validation among the labelled
            images, which takes about 15 times as long as the fine-tuning itself; `"average"` chooses none, but
            averages the probabilities of 6 networks, of 3 rates and 2 seeds, which takes 6 times as long, and 6 times
            the memory and the time of one network to predict.
        steps: number of fine-tuning steps.
        flip: whether the fine-tuning may mirror images; not for letters, signs, or left and right hands.
        seed: seed of the fine-tuning.
        progress: show a progress bar while fine-tuning.
        allow_imports: packages whose code may be imported where the checkpoint names classes outside smat.
        feature_cache: folder of a cache of the frozen network's features, or a `FeatureCache`; without one, images pass
            through the network at every call.
        range: values that are black and white in arrays and in grey images of more than 8 bits, such as `(0, 4095)`;
            `"auto"`: from all such images that `fit` gets, and the same afterwards. None: as each says, or it cannot be
            read. Other images have no other range.
        max_pixels: most pixels that an image is decoded to.

    Attributes:
        classes_: the labels, sorted, `[way]`.
        learning_rate_: that of the fine-tuning, 0 without one; a tuple of those of the networks that are averaged.
        task_model_: the network for this task, a plain module that knows nothing of the experts; several as one where
            networks are averaged (`TaskModels`).
        range_: the range of deep images, a `GreyRange`; None where each says its own.
    """

    precision: Precision
    device: Device
    adapt: Kind | FineTuner
    learning_rate: LearningRate
    classes_: np.ndarray
    learning_rate_: float | tuple[float, ...]
    task_model_: TaskModel | TaskModels
    range_: GreyRange | None

    def __init__(
        self,
        model: Model = "pocket",
        *,
        precision: Precision = "auto",
        device: Device = "auto",
        batch_size: int = 64,
        margin: float | None = None,
        image_size: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        head: Head | str | None = "auto",
        strengths: Sequence[float] = (1.0,),
        adapt: Kind | FineTuner = "none",
        learning_rate: LearningRate = "support",
        steps: int = FineTuneConfig.steps,
        flip: bool = True,
        seed: int = 0,
        progress: bool = False,
        allow_imports: Collection[str] = (),
        feature_cache: FeatureCache | str | Path | None = None,
        range: RangeOption = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.model = model
        self.precision = precision
        self.device = device
        self.batch_size = batch_size
        self.margin = margin
        self.image_size = image_size
        self.mean = mean
        self.std = std
        self.head = head
        self.strengths = strengths
        self.adapt = adapt
        self.learning_rate = learning_rate
        self.steps = steps
        self.flip = flip
        self.seed = seed
        self.progress = progress
        self.allow_imports = allow_imports
        self.feature_cache = feature_cache
        self.range = range
        self.max_pixels = max_pixels

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn may expect: images (also by path), not a table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def fit(self, X: Any, y: Any) -> "FewShotClassifier":
        """Learn the classes from labelled images.

        Args:
            X: images, as the class says; about 5 of each class do well, 1 will do.
            y: a label for each: strings or integers.

        Raises:
            DataError: no images, fewer than two classes, not a label for each image, or an image that cannot be used.
            ConfigError: a setting that cannot work.
            CheckpointError: no such model, or one that does not fit.
            NonFiniteError: the learning rate was so large that the network broke.
        """
        self._check_settings()
        images = as_list(X)
        labels = as_labels(y, len(images))
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"all {len(images)} images are of one class, '{classes[0]}'; give images of two or more classes"
            )
        device = pick_device(self.device)
        precision = resolve_precision(self.precision, device)
        pool = open_model(self.model, device, self.allow_imports, ImageOptions(self.image_size, self.mean, self.std))
        device, spec = pool.pretrained.device, pool.backbone.spec
        grey_range = find_range(self.range, images, self.max_pixels)
        support = self._network_input(images, spec, grey_range)
        support, codes = support.to(device), torch.from_numpy(codes).to(device)
        with evaluating(pool):
            cache = FeatureCache.of(self.feature_cache)
            strengths = [Strength(c, c) for c in self.strengths]
            head = make_head(self.head)
            task_model = specialise(
                pool, support, codes, head=head, strengths=strengths, precision=precision, cache=cache
            )
        grid = default_grid(self.learning_rate)
        config = FineTuneConfig(steps=self.steps, flip=self.flip, batch_size=self.batch_size, grid=grid)
        tuning = FineTuning(support, codes, make_tuner(self.adapt), config, self.seed, precision, pool)
        rate = 0.0
        if tuning.tuner.trains:
            task_model, rate = self._adapted(task_model.eval(), tuning)
            if not task_model.tuned:
                leave_out("setting", why_untuned(tuning, self.learning_rate), [f"adapt {tuning.tuner.name}"])
        self.classes_, self.learning_rate_, self.task_model_ = classes, rate, task_model.eval()
        self.range_ = grey_range
        return self

    def _adapted(
        self, model: TaskModel, tuning: FineTuning
    ) -> tuple[TaskModel | TaskModels, float | tuple[float, ...]]:
        """The fine-tuned model and the learning rate, or several."""
        rate = self.learning_rate
        with Progress(transient=True, disable=not self.progress) as progress:

            def bar(text: str) -> Callable[[int, int], None]:
                task = progress.add_task(text, total=None)
                return lambda done, total: progress.update(task, completed=done, total=total)

            if rate == "average":
                models = averaged(tuning, model, bar("fine-tuning at several learning rates"))
                return models, models.rates
            if rate == "support":
                rate = cross_validated_lr(tuning, model, bar("choosing the learning rate"))
            tuned = tuning.adapt(model, rate, bar(f"fine-tuning at learning rate {rate:g}"))
        return tuned, rate

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n way"]:
        """Each image's probability of each class, in the order of `classes_`; rows sum to 1.

        Raises:
            NotFittedError: `fit` was not called.
            DataError: no images, or an unreadable one.
        """
        check_is_fitted(self)
        self._check_settings()
        images = as_list(X)
        model, spec = self.task_model_, self.task_model_.backbone.spec
        device = model.merge_weights.device
        parts: list[Tensor] = []
        mixed = resolve_precision(self.precision, device) == "bf16-mixed"
        # A network that was merged or fine-tuned for one task is not asked for the same images again.
        cache = None if len(model.merge_weights) or self.learning_rate_ else FeatureCache.of(self.feature_cache)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            known = cached(model.backbone, cache) if cache else None
            for start in range(0, len(images), self.batch_size):
                numbers = range(start, min(start + self.batch_size, len(images)))
                inputs = self._network_input(images, spec, self.range_, numbers).to(device)
                if known is not None and isinstance(model, TaskModel):
                    logits = model.classified([known], inputs)
                else:
                    logits = model(inputs)
                parts.append(logits.double().softmax(dim=1).cpu())
        return torch.cat(parts).numpy()

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:
        """The most probable label of each image; raises as `predict_proba`."""
        indices = self.predict_proba(X).argmax(axis=1)
        return self.classes_[indices]

    def _check_settings(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; give 1 or more")
        make_head(self.head)
        if not self.strengths:
            raise ConfigError("strengths is empty; give one or more, such as (1.0,)")
        make_tuner(self.adapt)
        FineTuneConfig(steps=self.steps)
        if self.learning_rate not in ("support", "average"):
            check_learning_rate(self.learning_rate)

    def _network_input(
        self,
        images: Sequence[Any],
        spec: BackboneSpec,
        grey_range: GreyRange | None,
        numbers: Sequence[int] | None = None,
    ) -> Float[Tensor, "n 3 size size"]:
        """Images as the network takes them, one at a time, so that large ones are not in memory together."""
        transforms = TransformConfig(margin=spec.margin if self.margin is None else self.margin)
        side = transforms.canvas_size(spec.image_size)
        inputs: list[Tensor] = []
        bad: list[str] = []
        for number in range(len(images)) if numbers is None else numbers:
            try:
                loaded = [load_image(images[number], side, range=grey_range, max_pixels=self.max_pixels)]
            except DataError as error:
                bad.append(f"image {number} of {len(images)} cannot be used: {error}")
                continue
            inputs.append(prepare(loaded, spec.image_format, transforms.margin))
        if bad:
            several = [f"{len(bad)} of {len(images)} images cannot be used:"] if len(bad) > 1 else []
            raise DataError("\n".join([*several, *bad]))
        return torch.cat(inputs)
