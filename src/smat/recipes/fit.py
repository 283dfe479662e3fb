"""`smat fit` and `smat grow`: a classifier of a few labelled photos, as a folder to keep, and what is changed in it."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from smat.adaptation import (
    Change,
    Device,
    FewShotClassifier,
    Rate,
    is_classifier,
    open_model,
    pick_device,
)
from smat.assessment import Accuracy, LearningCurve
from smat.backbones import ImageOptions
from smat.domains import MAX_PIXELS, RangeOption, find_range
from smat.errors import ConfigError
from smat.files import check_folder
from smat.precision import Precision
from smat.recipes.photos import FitOptions, Reader, fit_photos, labelled_photos, model_or_best
from smat.schema import Count, checked_arguments


@dataclass(frozen=True)
class Fitted:
    """What `smat fit` made.

    Attributes:
        folder: where the classifier is.
        network: what it was made with.
        images: number of labelled images by class.
        accuracy: what accuracy to expect; None where nothing says so: no class has two images, or it was fine-tuned.
        curve: whether more images would help; None likewise.
        suspects: number of labelled images that may be wrong.
    """

    folder: str
    network: str
    images: dict[str, int]
    accuracy: Accuracy | None
    curve: LearningCurve | None
    suspects: int


@checked_arguments
def fit(
    model: str | None = None,
    *,
    support: str,
    out: str,
    thumbnails: bool = False,
    download: bool = False,
    reject: Rate | None = None,
    unknown_label: str = "unknown",
    skip_bad: bool = False,
    image_options: ImageOptions = ImageOptions(),
    fit_options: FitOptions = FitOptions(),
    precision: Precision = "auto",
    device: Device = "auto",
    range: RangeOption = None,
    max_pixels: Count = MAX_PIXELS,
    allow_imports: Collection[str] = (),
) -> Fitted:
    """Make a classifier of a few labelled images, as a folder.

    `smat predict`, `review`, `grow`, `export` and `app` take that folder. It needs neither the images nor the network
    that it was made with, and says what accuracy to expect.

    Example: smat fit facebook/dinov2-small --support photos/labelled --out birds

    Args:
        model: folder or hub name of a checkpoint or of a backbone, or `pocket`, which knows drawings only; by default
            the best network that is on this machine.
        support: folder with one folder of images per class; about 5 images per class do well, 1 will do.
        out: folder for the classifier, new or empty, or that of an earlier one, which is replaced.
        thumbnails: keep a small picture of each labelled image in the folder, for reports.
        download: download the best network for this machine, once, where it has none as good.
        reject: share of images of the classes that may be taken for images of none of them, such as 0.05; by default
            every image gets one of the classes.
        unknown_label: label of images of none of the classes.
        skip_bad: go on without images that cannot be read.
        image_options: size and normalisation of the images, where the model is a backbone.
        fit_options: how the classifier is made.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, such as 0 4095, or
            `auto`: from all such images; images of 8 bits have no other range. By default as each says, or it cannot be
            read.
        max_pixels: most pixels that an image is decoded to.
        allow_imports: packages whose code may be imported where the model names classes outside smat.

    Returns:
        What was made.

    Raises:
        SmatError: if there are no class folders, images that cannot be read (all are listed), a model that does not
            fit, a setting that cannot work, or a folder that cannot be written to.
    """
    console = Console()
    folder = check_folder(out, "out")
    if folder.exists() and not is_classifier(folder) and any(folder.iterdir()):
        raise ConfigError(f"'{out}' has other files in it; give an empty or a new folder (--out)")
    names = labelled_photos(support, console)
    model = model_or_best(model, download, console)
    pool = open_model(model, pick_device(device), allow_imports, image_options)
    grey_range = find_range(range, names, max_pixels)
    classifier = FewShotClassifier(
        pool,
        precision=precision,
        device=device,
        allow_imports=allow_imports,
        reject=reject,
        unknown_label=unknown_label,
        max_pixels=max_pixels,
        progress=True,
        **fit_options.given,
    )
    reader = Reader(fit_options.margin, pool.backbone.spec, grey_range, max_pixels, skip_bad)
    fit_photos(classifier, names, reader, support, console)
    reader.report()
    classifier.range_ = grey_range  # that of the files; the squares that were made of them have 8 bits
    classifier.set_params(model=model)
    found = _found(classifier, folder, model)
    classifier.save(folder, thumbnails=thumbnails)
    _show(found, console)
    return found


@checked_arguments
def grow(
    classifier: str,
    *,
    add: str | None = None,
    remove: str | None = None,
    rename: str | None = None,
    to: str | None = None,
    out: str | None = None,
    skip_bad: bool = False,
    device: Device = "auto",
    allow_imports: Collection[str] = (),
) -> Fitted:
    """Add images or classes to a classifier that `smat fit` made, remove or rename a class.

    Only new images pass through the network; then the head is fitted to all that is kept. The network stays as it was
    merged or fine-tuned; where the task has become another, `smat fit` with all images makes a new one.

    Example: smat grow birds --add photos/more

    Args:
        classifier: folder of the classifier.
        add: folder with one folder of images per class, of classes that are there or of new ones.
        remove: class to forget.
        rename: class to give another name, which is `--to`.
        to: new name of the class.
        out: folder for the result; by default the classifier's own, which is replaced.
        skip_bad: go on without images that cannot be read.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        allow_imports: packages whose code may be imported where the classifier names classes outside smat.

    Returns:
        What the classifier is now.

    Raises:
        SmatError: if there is nothing to do, no such class, images that cannot be read, or a folder that cannot be
            written to.
    """
    if (rename is None) != (to is None):
        raise ConfigError("give --rename and --to together: the class, and its new name")
    if not (add or remove or rename):
        raise ConfigError("there is nothing to do: give --add, --remove, or --rename and --to")
    console, folder = Console(), check_folder(out or classifier, "out")
    grown = FewShotClassifier.load(classifier, device=device, allow_imports=allow_imports)
    kind = grown.classes_.dtype.type
    change: Change | None = None
    if rename:
        change = grown.rename(_label(grown, rename), to if kind is str else kind(to))
    if add:
        names = labelled_photos(add, console, classes=1)
        reader = Reader(grown.margin, grown.task_model_.backbone.spec, grown.range_, grown.max_pixels, skip_bad)
        squares = reader.read(list(names))
        reader.report()
        change = grown.add(list(squares.values()), [names[file] for file in squares])
    if remove:
        change = grown.remove(_label(grown, remove))
    found = _found(grown, folder, str(grown.model))
    grown.save(folder, thumbnails=grown.support_.thumbnails is not None)
    _show(found, console)
    if change is not None and change.moved is None:
        console.print("The experts are merged as before; `smat fit` with all images merges them anew.", soft_wrap=True)
    return found


def _label(classifier: FewShotClassifier, name: str) -> object:
    """A class by the name that was typed."""
    return next((label for label in classifier.classes_.tolist() if str(label) == name), name)


def _found(classifier: FewShotClassifier, folder: Path, network: str) -> Fitted:
    counts = Counter(str(name) for name in classifier.classes_[classifier.support_.codes.numpy()])
    assessment = classifier.assessment_
    curve = None if assessment is None else classifier.learning_curve()
    suspects = 0 if assessment is None else len(classifier.review())
    accuracy = None if assessment is None else assessment.accuracy
    images = {str(name): counts[str(name)] for name in classifier.classes_}
    return Fitted(str(folder), network, images, accuracy, curve, suspects)


def _show(found: Fitted, console: Console) -> None:
    table = Table("class", "labelled images")
    for name, count in found.images.items():
        table.add_row(escape(name), str(count))
    console.print(table)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if found.accuracy is None:
        say("expected accuracy: not known (no class has two images, or the network was fine-tuned on them)")
    else:
        say(f"expected accuracy: {found.accuracy}, from {found.accuracy.held} labelled images")
        if found.accuracy.alone:
            alone = ", ".join([*found.images][code] for code in found.accuracy.alone)
            say(f"  nothing is known of classes with one image: {alone}")
    if found.curve is not None:
        say(str(found.curve))
    if found.suspects:
        say(f"{found.suspects} labelled images look wrong or odd: smat review {found.folder}")
    say(f"classifier: {found.folder}\nlabel images with it: smat predict {found.folder} --query FOLDER")
