"""`smat predict`: label a folder of images with a saved classifier, or from a folder of labelled ones."""

import builtins
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smat.adaptation import (
    Answers,
    Device,
    FewShotClassifier,
    Rate,
    is_classifier,
    open_model,
    pick_device,
)
from smat.backbones import ImageOptions
from smat.domains import MAX_PIXELS, RangeOption, find_range
from smat.domains.folders import printable
from smat.errors import ConfigError, DataError
from smat.options import dashed
from smat.precision import Precision
from smat.recipes.photos import BATCH, FitOptions, Reader, fit_photos, labelled_photos, model_or_best, photos_to_label
from smat.recipes.prediction_outputs import Outputs
from smat.recipes.predictions import Predictions, predictions_of
from smat.schema import Count, checked_arguments

logger = logging.getLogger(__name__)


@checked_arguments
def predict(
    model: str | None = None,
    *,
    query: str,
    support: str | None = None,
    download: bool = False,
    output: str = "predictions.csv",
    sort: str | None = None,
    report: str | None = None,
    reject: Rate | None = None,
    unknown_label: str | None = None,
    skip_bad: bool = False,
    image_options: ImageOptions = ImageOptions(),
    fit_options: FitOptions = FitOptions(),
    precision: Precision = "auto",
    device: Device = "auto",
    range: RangeOption = None,
    max_pixels: Count = MAX_PIXELS,
    allow_imports: Collection[str] = (),
) -> Predictions:
    """Label images with a classifier that `smat fit` made, or given a few labelled ones of each class.

    With a classifier, what was settled when it was made is not settled again: its images, head and fine-tuning.

    Example: smat predict birds/ --query new/ --output labels.csv

    Args:
        model: folder of a classifier that `smat fit` made; or folder or hub name of a checkpoint, or of a backbone, or
            `pocket`, which need `--support`; by default the best network that is on this machine.
        query: folder of images to label, with those in folders within it. If these are called by classes, their names
            are compared with the labels, and the accuracy is printed.
        support: folder with one folder of images per class; about 5 images per class do well, 1 will do.
        download: download the best network for this machine, once, where none is named and it has none as good.
        output: file of labels and probabilities to write: CSV for spreadsheets (`.csv`), or JSON lines (`.jsonl`).
        sort: folder for copies of the images, in one folder per label; empty, or not there yet.
        report: HTML page to write, with thumbnails by label, the least certain first.
        reject: share of images of the classes that may be taken for images of none of them, such as 0.05; by default
            every image gets one of the classes, or what `smat fit` was told is done.
        unknown_label: label of images of none of the classes; `unknown` by default.
        skip_bad: go on without images that cannot be read.
        image_options: size and normalisation of the images, where the model is a backbone.
        fit_options: how the classifier is made, where the model is none.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, such as 0 4095, or
            `auto`: from all such images of both folders; images of 8 bits have no other range. By default as each says,
            or it cannot be read.
        max_pixels: most pixels that an image is decoded to.
        allow_imports: packages whose code may be imported where the model names classes outside smat.

    Returns:
        The predictions.

    Raises:
        SmatError: if there are no class folders, or an empty one, no query images, images that cannot be read (all are
            listed), a model that does not fit, a setting that cannot work or was settled already, or an output that
            cannot be written.
        Interrupted: after an interruption, with the labels until then, which are kept in NAME.part.csv beside NAME.csv.
            Copies are made of all images or none.
    """
    console = Console()
    given = _given(**asdict(image_options)) | fit_options.given
    _check_settled(model, _given(support=support, download=download or None, **given, range=range))
    sources = _given(**{"--query": query, "--support": support})
    outputs = Outputs.of(output, report, sort, sources)
    queries = photos_to_label(query)
    answering = _given(reject=reject, unknown_label=unknown_label, batch_size=BATCH)
    computing: dict[str, Any] = {"device": device, "precision": precision, "allow_imports": allow_imports}
    if support is None:
        assert model is not None, "without labelled images there is a classifier"
        classifier = FewShotClassifier.load(model, **computing).set_params(**answering)
        spec, grey_range = classifier.task_model_.backbone.spec, classifier.range_
        reader = Reader(classifier.margin, spec, grey_range, max_pixels, skip_bad)
    else:
        names = labelled_photos(support, console)
        named = model_or_best(model, download, console)
        pool = open_model(named, pick_device(device), allow_imports, image_options)
        grey_range = find_range(range, [*names, *queries], max_pixels)
        classifier = FewShotClassifier(pool, **computing, **given, **answering, progress=True)
        reader = Reader(fit_options.margin, pool.backbone.spec, grey_range, max_pixels, skip_bad)
        fit_photos(classifier, names, reader, support, console)
    labelling = _Labelling(classifier, Path(query))
    try:
        labelling.label(queries, reader, console)
    except KeyboardInterrupt as interruption:
        if not labelling.done:
            raise
        raise outputs.keep(labelling.predictions(), len(queries)) from interruption
    reader.report()
    if not labelling.done:
        raise DataError(f"none of the {len(queries)} images in '{query}' can be read; give images to label")
    labelling.warn_of_labelled()
    found = labelling.predictions()
    outputs.write(found, Path(query), labelling.names, reader, console)
    return found


def _given(**settings: Any) -> dict[str, Any]:
    """The settings that are not left to their defaults."""
    return {name: value for name, value in settings.items() if value is not None}


def _check_settled(model: str | None, settings: Collection[str]) -> None:
    """Refuse to settle anew what was settled when a classifier was made, and to go without images where there is none.

    Args:
        model: the model, if one is named.
        settings: settings that were given and only matter where a classifier is made.
    """
    saved = model is not None and is_classifier(model)
    if saved and settings:
        raise ConfigError(
            f"'{model}' is a classifier, for which {', '.join(f'--{dashed(name)}' for name in settings)} cannot be "
            "given any more: what was settled when `smat fit` made it holds. Leave that out, or make another classifier"
        )
    if not saved and "support" not in settings:
        given = "no classifier is given" if model is None else f"'{model}' is no classifier that `smat fit` made"
        raise ConfigError(f"{given}, so that labelled images are needed: give their folder (--support)")


@dataclass
class _Labelling:
    """What a classifier says of the photos in a folder, batch by batch.

    Attributes:
        classifier: the classifier, fitted.
        root: the folder.
        done: photos, relative to the folder, and what is said of them. A batch is one entry, so that an interruption
            leaves whole ones.
    """

    classifier: FewShotClassifier
    root: Path
    done: list[tuple[list[Path], Answers]] = field(default_factory=list)

    @property
    def names(self) -> list[Path]:
        """The photos until now, relative to their folder."""
        return [name for names, _ in self.done for name in names]

    def label(self, photos: Sequence[Path], reader: Reader, console: Console) -> None:
        """Label photos; after one that cannot be read and must not be missing, the others are only read."""
        columns = [TextColumn("labelling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=len(photos))
            for start in builtins.range(0, len(photos), BATCH):
                batch = photos[start : start + BATCH]
                squares = reader.read(batch)
                if reader.usable and squares:
                    names = [file.relative_to(self.root) for file in squares]
                    self.done.append((names, self.classifier.answer(list(squares.values()))))
                progress.advance(task, len(batch))

    def predictions(self) -> Predictions:
        """All of it as one."""
        answers = [answers for _, answers in self.done]
        known = [each.known for each in answers if each.known is not None]
        assessment = self.classifier.assessment_
        return predictions_of(
            [str(name) for name in self.classifier.classes_],
            self.names,
            [str(label) for each in answers for label in each.labels],
            np.concatenate([each.probabilities for each in answers]),
            np.concatenate(known) if known else None,
            None if self.classifier.reject is None else self.classifier.unknown_label,
            None if assessment is None else assessment.accuracy,
        )

    def warn_of_labelled(self) -> None:
        """Say when photos are among the labelled ones, by their content."""
        pairs = [pair for names, answers in self.done for pair in zip(names, answers.seen, strict=True)]
        same = [name for name, seen in pairs if seen]
        if same:
            logger.warning(
                "%d of the %d images to label are labelled images too, such as '%s': an accuracy with these says "
                "nothing of new images",
                len(same),
                len(pairs),
                printable(str(self.root / same[0])),
            )
