"""`smat predict`: label a folder of images from a folder of labelled ones."""

import builtins
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

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
from smat.domains import (
    MAX_PIXELS,
    GreyRange,
    RangeOption,
    canvas,
    find_range,
    list_images,
    load_image,
    read_class_folders,
)
from smat.domains.folders import printable
from smat.domains.wordnet import wordnet_names
from smat.episodes import TransformConfig
from smat.errors import DataError, Interrupted
from smat.experts import FeatureCache
from smat.files import check_writable, write_whole
from smat.heads import Head
from smat.precision import Precision
from smat.recipes.predictions import Predictions, csv_table, predictions_of
from smat.schema import Count, Finite, Number, checked_arguments

logger = logging.getLogger(__name__)

BATCH = 64
_SHOWN = 10  # rows of the table on screen


@checked_arguments
def predict(
    checkpoint: str,
    *,
    support: str,
    query: str,
    output: str = "predictions.csv",
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
    """Label images, given a few labelled ones of each class, and write the labels as CSV.

    Example: smat predict runs/mine/best --support labelled/ --query new/ --output labels.csv

    Args:
        checkpoint: folder or hub name of a checkpoint, or of a backbone, or `pocket`.
        support: folder with one folder of images per class; about 5 images per class do well, 1 will do.
        query: folder of images to label, with those in folders within it. If these are class folders as in support,
            their names are compared with the labels, and the accuracy is printed.
        output: CSV file to write: file, label, and the probability of each class. A class called `file` or `label` has
            the column `file (class)` or `label (class)`.
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
    """
    console = Console()
    path = check_writable(output)
    names, queries = _folders(support, query)
    words, source = wordnet_names(Path(support), names.values())
    names = {file: words.get(name, name) for file, name in names.items()}
    if source:
        console.print(f"words for {len(words)} numbers of WordNet: {source}", soft_wrap=True, markup=False)
    pool = open_model(checkpoint, pick_device(device), allow_imports, image_options)
    spec = pool.backbone.spec
    transforms = TransformConfig(margin=spec.margin if margin is None else margin)
    grey_range = find_range(range, [*names, *queries], max_pixels)
    reader = _Reader(transforms.canvas_size(spec.image_size), skip_bad, grey_range, max_pixels)
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
        _check_left(names, labelled, support)
        classifier.fit(list(labelled.values()), [names[file] for file in labelled])
        if classifier.task_model_.tuned:
            console.print(_fine_tuning(make_tuner(adapt), steps, classifier))
    done: list[tuple[list[Path], np.ndarray]] = []

    def result() -> Predictions:
        files = [file for some, _ in done for file in some]
        return predictions_of(classifier, files, np.concatenate([part for _, part in done]), Path(query), words)

    try:
        batches = [queries[start : start + BATCH] for start in builtins.range(0, len(queries), BATCH)]
        for batch in track(batches, "labelling", console=console, transient=True):
            images = reader.read(batch)
            if reader.usable and images:
                done.append((list(images), classifier.predict_proba(list(images.values()))))
    except KeyboardInterrupt as interruption:
        if not done:
            raise
        raise _kept_in_part(result(), path, len(queries)) from interruption
    reader.report()
    if not done:
        raise DataError(f"none of the {len(queries)} images in '{query}' can be read; give images to label")
    found = result()
    try:
        _show(found, console)
        _warn_of_known(names, [file for some, _ in done for file in some])
    finally:  # whatever becomes of the screen
        write_whole(path, csv_table(found), keep=True)
    console.print(f"labels and probabilities of all {len(found.files)} images: {path}", soft_wrap=True, markup=False)
    return found


def _kept_in_part(result: Predictions, path: Path, images: int) -> Interrupted:
    """What is done goes beside the output, which has all images or is not there."""
    part = path.with_name(f"{path.stem}.part{path.suffix}") if path.is_file() or not path.exists() else path
    write_whole(part, csv_table(result), keep=True)
    return Interrupted(f"The labels of {len(result.files)} of {images} images are in {part}", result)


def _fine_tuning(tuner: FineTuner, steps: int, classifier: FewShotClassifier) -> str:
    """What was tuned, how long, and at which rates."""
    rates, tuned = classifier.learning_rate_, classifier.task_model_.tuned
    if isinstance(rates, tuple):
        several = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates))
        at = f"learning rates {several} (the mean of {len(rates)} networks)"
    else:
        at = f"learning rate {rates:g}"
    return f"fine-tuned ({tuner.name}) for {steps} steps at {at}: {tuned:,} parameters"


def _folders(support: str, query: str) -> tuple[dict[Path, str], list[Path]]:
    """The class of each support image, and the query images."""
    files, labels, names = read_class_folders(support)
    if len(names) < 2:
        raise DataError(f"'{support}' has one class folder, '{names[0]}'; give images of two or more classes")
    queries = list_images(query)
    if not queries:
        raise DataError(f"no images in '{query}' or the folders within it; give a folder of images to label")
    return {file: names[label] for file, label in zip(files, labels, strict=True)}, queries


class _Reader:
    """Reads images as small squares and remembers those that cannot be read."""

    def __init__(self, side: int, skip_bad: bool, grey_range: GreyRange | None, max_pixels: int) -> None:
        self.side, self.skip_bad = side, skip_bad
        self.grey_range, self.max_pixels = grey_range, max_pixels
        self.bad: list[str] = []

    @property
    def usable(self) -> bool:
        """Whether there is a point in going on; if not, the rest is only read to list all bad images at once."""
        return self.skip_bad or not self.bad

    def read(self, files: Sequence[Path]) -> dict[Path, np.ndarray]:
        """The images that can be read, `[side, side, 3]`."""
        images: dict[Path, np.ndarray] = {}
        for file in files:
            try:
                image = load_image(file, self.side, range=self.grey_range, max_pixels=self.max_pixels)
                images[file] = canvas(image, self.side).permute(1, 2, 0).numpy()
            except DataError as error:
                self.bad.append(f"  {error}")
        return images

    def report(self) -> None:
        """Say which images cannot be read: in an error, or with `skip_bad` in a warning."""
        if not self.bad:
            return
        listing = "\n".join(self.bad)
        if not self.skip_bad:
            raise DataError(
                f"{len(self.bad)} images cannot be read:\n{listing}\nMend or remove them, or go on without them: "
                "--skip-bad"
            )
        logger.warning("going on without %d images:\n%s", len(self.bad), listing)


def _check_left(names: dict[Path, str], labelled: dict[Path, np.ndarray], support: str) -> None:
    """Without its bad images, every class must still have one."""
    empty = sorted(set(names.values()) - {names[file] for file in labelled})
    if empty:
        raise DataError(
            f"no image of {', '.join(empty)} in '{support}' can be read; add images or remove these folders"
        )


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


def _show(result: Predictions, console: Console) -> None:
    table = Table("file", "label", "probability")
    rows = zip(result.files, result.labels, result.probabilities.max(axis=1), strict=True)
    for _, (file, label, probability) in zip(range(_SHOWN), rows, strict=False):
        table.add_row(escape(file), escape(label), f"{probability:.2f}")
    if len(result.files) > _SHOWN:
        table.add_row("...", "", "")
    console.print(table)
    counts = Counter(result.labels)
    console.print("images per class: " + ", ".join(f"{name} {counts[name]}" for name in result.classes), markup=False)
    if result.accuracy is not None:
        rest = len(result.files) - result.scored
        others = f"; {rest} more lie in folders that name no class: {', '.join(result.unknown[:5])}" if rest else ""
        console.print(
            f"accuracy, if the query folders name the classes: {100 * result.accuracy:.1f} % "
            f"of {result.scored} images{others}",
            soft_wrap=True,
            markup=False,
        )
