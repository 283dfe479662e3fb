"""A few-shot image classifier with scikit-learn's interface."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.progress import Progress
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smat.adaptation.averaging import TaskModels, averaged, models_of
from smat.adaptation.expert_tuners import Kind, make_tuner
from smat.adaptation.finetune import FineTuning
from smat.adaptation.fitted import FittedClassifier
from smat.adaptation.growing import Change, add, remove, rename
from smat.adaptation.inputs import as_labels, as_list, as_weights, names_of
from smat.adaptation.learning_rate import cross_validated_lr, why_untuned
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.progress import followed
from smat.adaptation.saved import read_classifier, write_classifier
from smat.adaptation.settings import FineTuneConfig, LearningRate, Rate, check_learning_rate, default_grid
from smat.adaptation.support import Support, digest_of
from smat.adaptation.tuned_without import tuned_without
from smat.adaptation.tuners import FineTuner
from smat.assessment import HeldOut
from smat.backbones import Backbone, ImageOptions
from smat.domains import MAX_PIXELS, GreyRange, RangeOption, find_range
from smat.episodes import plain_transform
from smat.errors import ConfigError
from smat.experts import FeatureCache, SparseInterpolatedExperts, Strength
from smat.heads import Head, TaskModel, make_head, specialise, usual_strengths
from smat.left_out import leave_out
from smat.precision import Precision, resolve_precision
from smat.schema import check_setting


class FewShotClassifier(FittedClassifier):
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
            the nearest class mean; `"ridge"`, `"logistic"`, `"lda"`, `"knn"`, `"average"` and `"linear"` are what they
            say. With `:1`, `:2` or `:4` after the name, an image passes through the network so many times, in as many
            views; `"auto"` alone takes 2 passes.
        strengths: networks that the head gets the features of, by how far each goes from the frozen network (0) to the
            one that the experts make (1). None: as the head has it, which is both, `(0, 1)`, for `"auto"`, and after
            fine-tuning the tuned one alone; `(1,)` has half the passes, the memory and the size of both. A network that
            the head gives no weight is left out.
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
        progress: show a progress bar while fine-tuning; or a function that is called after each step with what is being
            done, the number of steps so far and that in the end. What it raises ends the fine-tuning.
        allow_imports: packages whose code may be imported where the checkpoint names classes outside smat.
        feature_cache: folder of a cache of the frozen network's features, or a `FeatureCache`; without one, images pass
            through the network at every call.
        range: values that are black and white in arrays and in grey images of more than 8 bits, such as `(0, 4095)`;
            `"auto"`: from all such images that `fit` gets, and the same afterwards. None: as each says, or it cannot be
            read. Other images have no other range.
        max_pixels: most pixels that an image is decoded to.
        reject: share of images of the classes, 0..1, that may be taken for images of no class. An image that is less
            like the labelled ones than all but this share of these is then labelled `unknown_label`, and labels are
            strings. 24 labelled images allow rates from 0.04 on. None: every image gets a class. A fine-tuned network
            has to be tuned anew 5 times to find out.
        unknown_label: label of images of no class.

    Attributes:
        classes_: the labels, sorted, `[way]`.
        learning_rate_: that of the fine-tuning, 0 without one; a tuple of those of the networks that are averaged.
        task_model_: the network for this task, a plain module that knows nothing of the experts; several as one where
            networks are averaged (`TaskModels`).
        range_: the range of deep images, a `GreyRange`; None where each says its own.
        support_: what is kept of the labelled images.
    """

    precision: Precision
    device: Device
    adapt: Kind | FineTuner
    learning_rate: LearningRate
    classes_: np.ndarray
    learning_rate_: float | tuple[float, ...]
    task_model_: TaskModel | TaskModels
    range_: GreyRange | None
    support_: Support

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
        strengths: Sequence[float] | None = None,
        adapt: Kind | FineTuner = "none",
        learning_rate: LearningRate = "support",
        steps: int = FineTuneConfig.steps,
        flip: bool = True,
        seed: int = 0,
        progress: bool | Callable[[str, int, int], None] = False,
        allow_imports: Collection[str] = (),
        feature_cache: FeatureCache | str | Path | None = None,
        range: RangeOption = None,
        max_pixels: int = MAX_PIXELS,
        reject: float | None = None,
        unknown_label: str = "unknown",
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
        self.reject = reject
        self.unknown_label = unknown_label

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FewShotClassifier":
        """Learn the classes from labelled images.

        Args:
            X: images, as the class says; about 5 of each class do well, 1 will do.
            y: a label for each: strings or integers.
            sample_weight: how much each image counts, 0 or more, for the head; the router and the fine-tuning see each
                image once, and none of weight 0.

        Raises:
            DataError: no images, fewer than two classes, not a label for each image, or an image that cannot be used.
            ConfigError: a setting that cannot work, or `reject` where the images are too few for it.
            CheckpointError: no such model, or one that does not fit.
            NonFiniteError: the learning rate was so large that the network broke.
        """
        self._check_settings()
        images = as_list(X)
        labels = as_labels(y, len(images))
        weights = as_weights(sample_weight, len(images))
        if weights is not None and not weights.all():
            used = weights > 0
            images, labels = [images[n] for n in used.nonzero()[:, 0].tolist()], labels[used.numpy()]
            weights = weights[used]
        pool = open_model(
            self.model,
            pick_device(self.device),
            self.allow_imports,
            ImageOptions(self.image_size, self.mean, self.std),
        )
        self.range_ = find_range(self.range, images, self.max_pixels)
        squares = self._read(images, pool.backbone.spec, range(len(images)))
        return self._fit(pool, squares, labels, names_of(images), weights)

    def _fit(
        self,
        pool: SparseInterpolatedExperts,
        squares: UInt8[Tensor, "n 3 side side"],
        labels: np.ndarray,
        names: tuple[str, ...],
        weights: Float[Tensor, " n"] | None,
    ) -> "FewShotClassifier":
        """Learn the classes from images as squares."""
        classes, codes = np.unique(labels, return_inverse=True)
        self._check_classes(classes, len(squares))
        support = Support(torch.from_numpy(codes), names, tuple(map(digest_of, squares)), weights)
        support.warn_of_doubles([*map(str, classes)])
        device, spec = pool.pretrained.device, pool.backbone.spec
        precision = resolve_precision(self.precision, device)
        images, codes = plain_transform(squares, spec.image_format).to(device), support.codes.to(device)
        head, tuner = make_head(self.head), make_tuner(self.adapt)
        given = None if self.strengths is None else [Strength(c, c) for c in self.strengths]

        def specialised(tuned: bool) -> TaskModel:
            with evaluating(pool):
                return specialise(
                    pool,
                    images,
                    codes,
                    head=head,
                    strengths=given or usual_strengths(head, tuned),
                    precision=precision,
                    cache=FeatureCache.of(self.feature_cache),
                    weights=None if weights is None else weights.to(device),
                    batch_size=self.batch_size,
                )

        model = specialised(tuner.trains).eval()
        tuning = FineTuning(images, codes, tuner, self._tuning_config, self.seed, precision, pool)
        task_model, rate, without = model, 0.0, None
        if tuner.trains:
            task_model, rate, without = self._adapted(model, tuning)
            if not task_model.tuned:
                leave_out("setting", why_untuned(tuning, self.learning_rate), [f"adapt {tuner.name}"])
                task_model = specialised(tuned=False)
            elif weights is not None:
                for each in models_of(task_model):
                    assert each.features is not None
                    each.refit(each.features, codes, weights.to(device))
        self.classes_, self.learning_rate_, self.task_model_ = classes, rate, task_model.eval()
        self.support_ = support
        self._tuned_without = without
        self._keep(squares)
        self._routing = pool.without_experts() if pool.config.experts else None
        if self.reject is not None:
            self._assessed("reject").threshold(self.reject)  # raises where so few images say nothing of the rate
        return self

    @property
    def _tuning_config(self) -> FineTuneConfig:
        grid = default_grid(self.learning_rate)
        return FineTuneConfig(steps=self.steps, flip=self.flip, batch_size=self.batch_size, grid=grid)

    def _adapted(
        self, model: TaskModel, tuning: FineTuning
    ) -> tuple[TaskModel | TaskModels, float | tuple[float, ...], HeldOut | None]:
        """The fine-tuned model and the learning rate, or several; and what is known of images that it did not see."""
        rate, follow = self.learning_rate, self.progress
        with Progress(transient=True, disable=follow is not True) as progress:

            def bar(text: str) -> Callable[[int, int], None]:
                return partial(follow, text) if callable(follow) else followed(progress, text)

            if rate == "average":
                tuned = averaged(tuning, model, bar("fine-tuning at several learning rates"))
                rate = tuned.rates
            else:
                if rate == "support":
                    rate = cross_validated_lr(tuning, model, bar("choosing the learning rate"))
                tuned = tuning.adapt(model, rate, bar(f"fine-tuning at learning rate {rate:g}"))
            without = None
            if tuned.tuned and self.reject is not None:
                one = None if isinstance(rate, tuple) else rate
                without = tuned_without(tuning, model, one, bar("fine-tuning without some images, for reject"))
        return tuned, rate, without

    def add(self, X: Any, y: Any, sample_weight: Any = None) -> Change:
        """Learn more images, of new classes too: only these pass through the network, then the head is fitted anew.

        The merged or fine-tuned network stays what it was made for. A report says how far the router would now move the
        merge weights; `refit` follows it.

        Args:
            X: images, as in `fit`.
            y: a label for each, of classes that are there or of new ones.
            sample_weight: as in `fit`, above 0.

        Raises:
            NotFittedError: `fit` was not called.
            DataError: as in `fit`.
        """
        return add(self, X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "FewShotClassifier":
        """`fit` at first, afterwards `add`; scikit-learn's name for it. Classes need not be known before."""
        if hasattr(self, "classes_"):
            self.add(X, y, sample_weight)
            return self
        return self.fit(X, y, sample_weight)

    def remove(self, label: Any = None, *, images: Any = None) -> Change:
        """Forget a class, or some labelled images by their numbers in `support_`, and fit the head anew.

        Raises:
            NotFittedError: `fit` was not called.
            DataError: no such class or image, or fewer than two classes would be left.
            ConfigError: neither, or both.
        """
        return remove(self, label, images)

    def rename(self, old: Any, new: Any) -> Change:
        """Give a class another label.

        Raises:
            NotFittedError: `fit` was not called.
            DataError: no such class, or the new label is that of another.
        """
        return rename(self, old, new)

    def refit(self) -> "FewShotClassifier":
        """Merge again, and fine-tune if so set, for the labelled images as they are now after `add` and `remove`.

        The images, as squares of the network's size, are in memory since `fit`, up to 256 MB of them. They are neither
        saved nor pickled.

        Raises:
            NotFittedError: `fit` was not called.
            ConfigError: the images are not there.
        """
        check_is_fitted(self)
        if self._squares is None:
            raise ConfigError(
                "the labelled images are not there any more: a classifier that was loaded has none, and no more than "
                "256 MB of them are kept in memory. Call fit with all images"
            )
        support, options = self.support_, ImageOptions(self.image_size, self.mean, self.std)
        pool = open_model(self.model, pick_device(self.device), self.allow_imports, options)
        labels = self.classes_[support.codes.numpy()]
        return self._fit(pool, self._squares, labels, support.names, support.weights)

    def save(self, folder: str | Path, *, thumbnails: bool = False) -> None:
        """Write the classifier to a folder, which needs neither the model nor the images to be used.

        It has the network in safetensors, the classes, the head, the features of the labelled images, and a card. An
        earlier classifier in the folder is replaced.

        Args:
            folder: where to; made, and whole or not there.
            thumbnails: whether small pictures of the labelled images go with it, for reports; without, no picture is
                kept.

        Raises:
            NotFittedError: `fit` was not called.
            ConfigError: the folder has something else in it or cannot be written, or a setting cannot be written down.
        """
        check_is_fitted(self)
        write_classifier(self, Path(folder), thumbnails)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        allow_imports: Collection[str] = (),
        backbone: Backbone | None = None,
    ) -> "FewShotClassifier":
        """A classifier that `save` wrote.

        Args:
            folder: where it is.
            device: device to compute on.
            precision: as in the class.
            allow_imports: packages whose code may be imported where it was made with classes of one's own.
            backbone: needed where it was made around a module of yours; its parameters are overwritten.

        Raises:
            CheckpointError: there is none, it is damaged, or it names code that may not be imported.
        """
        found = read_classifier(Path(folder), pick_device(device), allow_imports, backbone)
        classifier = cls(**found.settings, device=device, precision=precision, allow_imports=allow_imports)
        for name, value in found.fitted.items():
            setattr(classifier, name, value)
        return classifier

    def _check_settings(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; give 1 or more")
        make_head(self.head)
        if self.strengths is not None and not self.strengths:
            raise ConfigError("strengths is empty; give one or more, such as (1.0,)")
        make_tuner(self.adapt)
        FineTuneConfig(steps=self.steps)
        if self.learning_rate not in ("support", "average"):
            check_learning_rate(self.learning_rate)
        check_setting("reject", self.reject, Rate | None)
