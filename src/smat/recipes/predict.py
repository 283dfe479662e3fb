"""`smat predict`: label a folder of images from a folder of labelled ones, or with a saved classifier."""

import builtins
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from smat.adaptation import (
    Device,
    FewShotClassifier,
    FineTuneConfig,
    FineTuner,
    Kind,
    LearningRate,
    make_tuner,
    open_model,
    pick_device,
)
from smat.backbones import ImageOptions
from smat.backbones.spec import Margin
from smat.domains import MAX_PIXELS, RangeOption, find_range
from smat.domains.folders import printable
from smat.episodes import TransformConfig
from smat.errors import DataError
from smat.experts import FeatureCache
from smat.heads import Head
from smat.precision import Precision
from smat.recipes.photos import Reader, check_each_class, labelled_photos, photos_to_label
from smat.recipes.prediction_outputs import Outputs
from smat.recipes.predictions import Predictions, predictions_of
from smat.schema import Count, Finite, Number, checked_arguments

logger = logging.getLogger(__name__)

BATCH = 64


@checked_arguments
def predict(
    checkpoint: str,
    *,
    support: str,
    query: str,
    output: str = "predictions.csv",
    sort: str | None = None,
    report: str | None = None,
    image_options: ImageOptions = ImageOptions(),
    margin: Margin | None = None,
    skip_bad: bool = False,
    head: Head | str = "auto",
    strengths: Sequence[Finite] = (1.0,),
    adapt: Kind | FineTuner = "none",
    learning_rate: LearningRate = "support",
    steps: Number = FineTuneConfig.steps,
    flip: bool = True,
    precision: Precision = "auto",
    device: Device = "auto",
    feature_cache: str | None = None,
    range: RangeOption = None,
    max_pixels: Count = MAX_PIXELS,
    allow_imports: Collection[str] = (),
) -> Predictions:
    """Label images, given a few labelled ones of each class, and write the labels to a file.

    With `--sort` copies of the images are sorted by label, too.

    Example: smat predict runs/mine/best --support labelled/ --query new/ --output labels.csv

    Args:
        checkpoint: folder or hub name of a checkpoint, or of a backbone, or `pocket`.
        support: folder with one folder of images per class; about 5 images per class do well, 1 will do.
        query: folder of images to label, with those in folders within it. If these are class folders as in support,
            their names are compared with the labels, and the accuracy is printed.
        output: file of labels and probabilities to write: CSV for spreadsheets (`.csv`), or JSON lines (`.jsonl`).
        sort: folder for copies of the images, in one folder per label; empty, or not there yet.
        report: HTML page to write, with thumbnails by label, the least certain first.
        image_options: size and normalisation of the images, where the checkpoint is a backbone.
        margin: side of the square that images are cut to over the image size, of which the network sees the centre;
            by default that of the checkpoint's training.
        skip_bad: go on without images that cannot be read.
        head: classifier of features: `auto`, which fits itself to the images; `prototype` (class means), `ridge`,
            `logistic`, `lda`, `knn`, `average`, each with `:1`, `:2` or `:4` after it for so many views of each image;
            or a class of your own by its import path.
        strengths: networks that the head gets the features of, by how far each goes from the frozen network (0) to the
            one that the experts make (1).
        adapt: fine-tuning on the support images: of the whole network (`full`), of small adapters in it (`lora`), of
            the weights that experts are merged by, block by block (`weights`), of the parameters behind open gates of
            experts (`gates`), `none`, or a class of your own by import path.
        learning_rate: learning rate of fine-tuning; `support` chooses it by cross-validation among the support images,
            which takes about 15 times as long as fine-tuning itself; `average` chooses none, but averages the
            probabilities of 6 networks, of 3 rates and 2 seeds, which takes 6 times as long, and 6 times the memory.
        steps: number of fine-tuning steps.
        flip: whether fine-tuning may mirror images; not for letters, signs, or left and right hands.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        feature_cache: folder of a cache of features of the frozen network: images that were seen before, in whatever
            command, do not pass through it again.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, such as 0 4095, or
            `auto`: from all such images of both folders; images of 8 bits have no other range. By default as each says,
            or it cannot be read.
        max_pixels: most pixels that an image is decoded to.
        allow_imports: packages whose code may be imported where the checkpoint names classes outside smat.

    Returns:
        The predictions.

    Raises:
        SmatError: if there are no class folders, or an empty one, no query images, images that cannot be read (all are
            listed), a checkpoint that does not fit, a setting that cannot work, or an output that cannot be written.
        Interrupted: after an interruption, with the labels until then, which are kept in NAME.part.csv beside NAME.csv.
            Copies are made of all images or none.
    """
    console = Console()
    outputs = Outputs.of(output, report, sort, {"--query": query, "--support": support})
    names, words = labelled_photos(support, console)
    queries = photos_to_label(query)
    pool = open_model(checkpoint, pick_device(device), allow_imports, image_options)
    spec = pool.backbone.spec
    transforms = TransformConfig(margin=spec.margin if margin is None else margin)
    grey_range = find_range(range, [*names, *queries], max_pixels)
    reader = Reader(transforms.canvas_size(spec.image_size), skip_bad, grey_range, max_pixels)
    classifier = FewShotClassifier(
        pool,
        precision=precision,
        device=device,
        batch_size=BATCH,
        margin=margin,
        head=head,
        strengths=strengths,
        adapt=adapt,
        learning_rate=learning_rate,
        steps=steps,
        flip=flip,
        progress=True,
        feature_cache=FeatureCache.of(feature_cache),
    )
    labelled = reader.read(list(names))
    if reader.usable:
        check_each_class(names, labelled, support)
        classifier.fit(list(labelled.values()), [names[file] for file in labelled])
        if classifier.task_model_.tuned:
            console.print(_fine_tuning(make_tuner(adapt), steps, classifier))
    labelling = _Labelling(classifier, Path(query), words)
    try:
        labelling.label(queries, reader, console)
    except KeyboardInterrupt as interruption:
        if not labelling.done:
            raise
        raise outputs.keep(labelling.predictions(), len(queries)) from interruption
    reader.report()
    if not labelling.done:
        raise DataError(f"none of the {len(queries)} images in '{query}' can be read; give images to label")
    found = labelling.predictions()
    _warn_of_known(names, [Path(query, name) for name in labelling.names])
    outputs.write(found, Path(query), labelling.names, reader, console)
    return found


@dataclass
class Answers:
    """Stand-in."""

    labels: np.ndarray
    probabilities: np.ndarray
    known: np.ndarray


def answer(classifier: FewShotClassifier, images: Sequence[np.ndarray]) -> Answers:
    """Stand-in."""
    probabilities = classifier.predict_proba(images)
    return Answers(classifier.classes_[probabilities.argmax(axis=1)], probabilities, probabilities.max(axis=1))


@dataclass
class _Labelling:
    """What a classifier says of the photos in a folder, batch by batch.

    Attributes:
        classifier: the classifier, fitted.
        root: the folder.
        words: names of classes by that of their folder, where they are others.
        done: photos, relative to the folder, and what is said of them. A batch is one entry, so that an interruption
            leaves whole ones.
    """

    classifier: FewShotClassifier
    root: Path
    words: Mapping[str, str]
    done: list[tuple[list[Path], Answers]] = field(default_factory=list)

    @property
    def names(self) -> list[Path]:
        """The photos until now, relative to their folder."""
        return [name for names, _ in self.done for name in names]

    def label(self, photos: Sequence[Path], reader: Reader, console: Console) -> None:
        """Label photos; after one that cannot be read and must not be missing, the others are only read."""
        columns = [TextColumn("labelling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(photos))
            for start in builtins.range(0, len(photos), BATCH):
                batch = photos[start : start + BATCH]
                squares = reader.read(batch)
                if reader.usable and squares:
                    names = [file.relative_to(self.root) for file in squares]
                    self.done.append((names, answer(self.classifier, list(squares.values()))))
                progress.advance(task, len(batch))

    def predictions(self) -> Predictions:
        """All of it as one."""
        answers = [answers for _, answers in self.done]
        return predictions_of(
            [str(name) for name in self.classifier.classes_],
            self.names,
            [str(label) for each in answers for label in each.labels],
            np.concatenate([each.probabilities for each in answers]),
            np.concatenate([each.known for each in answers]),
            self.words,
        )


def _fine_tuning(tuner: FineTuner, steps: int, classifier: FewShotClassifier) -> str:
    """What was tuned, how long, and at which rates."""
    rates, tuned = classifier.learning_rate_, classifier.task_model_.tuned
    if isinstance(rates, tuple):
        several = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates))
        at = f"learning rates {several} (the mean of {len(rates)} networks)"
    else:
        at = f"learning rate {rates:g}"
    return f"fine-tuned ({tuner.name}) for {steps} steps at {at}: {tuned:,} parameters"


def _warn_of_known(support: Collection[Path], queries: Collection[Path]) -> None:
    """Say when images to label are among the labelled ones, as the same file."""
    known = {file_id for file in support if (file_id := _file_id(file))}
    same = [file for file in queries if _file_id(file) in known]
    if same:
        logger.warning(
            "%d of the %d images to label are labelled images too, such as '%s': an accuracy with these says nothing "
            "of new images",
            len(same),
            len(queries),
            printable(str(same[0])),
        )


def _file_id(file: Path) -> tuple[int, int] | None:
    """What tells a file from all others, whatever its path; None: it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
