"""Folders of photos: which there are, of which class, and the photos as the network takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from torch import Tensor

from smat.adaptation import FewShotClassifier, FineTuner, Kind, LearningRate, default_model, make_tuner
from smat.adaptation.inputs import squares_of
from smat.adaptation.support import digest_of
from smat.backbones import BackboneSpec
from smat.backbones.spec import Margin
from smat.domains import GreyRange, list_images, read_class_folders
from smat.domains.folders import printable
from smat.domains.images import why_unreadable
from smat.domains.wordnet import wordnet_names
from smat.episodes import TransformConfig
from smat.errors import DataError
from smat.heads import Head
from smat.left_out import leave_out
from smat.schema import Finite, Number

BATCH = 64
"""Photos that are read at a time."""


@dataclass(frozen=True)
class FitOptions:
    """How a classifier is made of labelled photos; what is None is left to `FewShotClassifier`.

    Attributes:
        margin: side of the square that images are cut to over the image size, of which the network sees the centre;
            by default that of the checkpoint's training.
        head: classifier of features: `auto`, which fits itself to the images, by default; `prototype` (class means),
            `ridge`, `logistic`, `lda`, `knn`, `average`, `linear`, each with `:1`, `:2` or `:4` after it for so many
            views of each image; or a class of your own by its import path.
        strengths: networks that the head gets the features of, by how far each goes from the frozen network (0) to the
            one that the experts make (1); both by default, `[0,1]`, with the head `auto` and no fine-tuning, otherwise
            `[1]`, which takes half the time and the memory.
        adapt: fine-tuning on the support images: of the whole network (`full`), of small adapters in it (`lora`), of
            the weights that experts are merged by, block by block (`weights`), of the parameters behind open gates of
            experts (`gates`), `none`, which is the default, or a class of your own by import path.
        learning_rate: learning rate of fine-tuning; `support`, the default, chooses it by cross-validation among the
            support images, which takes about 15 times as long as fine-tuning itself; `average` chooses none, but
            averages the probabilities of 6 networks, of 3 rates and 2 seeds, which takes 6 times as long, and 6 times
            the memory.
        steps: number of fine-tuning steps; 50 by default.
        flip: whether fine-tuning may mirror images, as it does by default; not for letters, signs, or left and right
            hands.
        feature_cache: folder of a cache of features of the frozen network: images that were seen before, in whatever
            command, do not pass through it again.
    """

    margin: Margin | None = None
    head: Head | str | None = None
    strengths: Sequence[Finite] | None = None
    adapt: Kind | FineTuner | None = None
    learning_rate: LearningRate | None = None
    steps: Number | None = None
    flip: bool | None = None
    feature_cache: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def model_or_best(model: str | None, download: bool, console: Console) -> str:
    """The model that is named, or else the best network that is on this machine, which is said.

    Args:
        model: a model by name, or None.
        download: whether the best network for this machine may be downloaded, where it has none as good.
        console: where it is said.

    Raises:
        SmatError: as `default_model`.
    """
    if model is not None:
        return model
    choice = default_model(download=download)
    console.print(f"network: {choice.name}, {choice.why}", soft_wrap=True, markup=False)
    return choice.name


def labelled_photos(support: str, console: Console, classes: int = 2) -> dict[Path, str]:
    """The photos in class folders, and the class of each.

    Classes that are called by numbers of WordNet get words, which is said.

    Args:
        support: the folder.
        console: where it is said.
        classes: fewest classes.

    Raises:
        DataError: no class folders, or fewer.
    """
    files, labels, names = read_class_folders(support)
    if len(names) < classes:
        raise DataError(f"'{support}' has one class folder, '{names[0]}'; give images of two or more classes")
    words, source = wordnet_names(Path(support), names)
    if source:
        console.print(f"words for {len(words)} numbers of WordNet: {source}", soft_wrap=True, markup=False)
    return {file: words.get(names[label], names[label]) for file, label in zip(files, labels, strict=True)}


def photos_to_label(query: str) -> list[Path]:
    """The photos in a folder and those within it, sorted.

    Raises:
        DataError: there are none.
    """
    photos = list_images(query)
    if not photos:
        raise DataError(f"no images in '{query}' or the folders within it; give a folder of images to label")
    return photos


class Reader:
    """Reads photos as the squares that a network's input is cut from, and remembers those that cannot be read.

    Args:
        margin: side of the squares over that of the network's images; None: as the backbone has it.
        spec: the backbone.
        grey_range: values that are black and white in grey images of more than 8 bits.
        max_pixels: most pixels that a photo is decoded to.
        skip_bad: whether work goes on without photos that cannot be read.
    """

    def __init__(
        self, margin: float | None, spec: BackboneSpec, grey_range: GreyRange | None, max_pixels: int, skip_bad: bool
    ) -> None:
        transforms = TransformConfig(margin=spec.margin if margin is None else margin)
        self.side = transforms.canvas_size(spec.image_size)
        self.grey_range, self.max_pixels, self.skip_bad = grey_range, max_pixels, skip_bad
        self._bad: dict[Path, DataError] = {}

    @property
    def usable(self) -> bool:
        """Whether there is a point in going on; if not, the rest is only read to list all bad photos at once."""
        return self.skip_bad or not self._bad

    def read(self, files: Sequence[Path]) -> dict[Path, Image.Image]:
        """The photos that can be read, as squares of `side` pixels that know their file's name."""
        images: dict[Path, Image.Image] = {}
        for file, square in self._squares(files).items():
            images[file] = Image.fromarray(square.permute(1, 2, 0).contiguous().numpy())
            images[file].filename = str(file)  # pyright: ignore[reportAttributeAccessIssue]  (as where it was opened)
        return images

    def digests(self, files: Sequence[Path]) -> dict[Path, str]:
        """What tells the photos that can be read by their content, as `Support.digests`."""
        return {file: digest_of(square) for file, square in self._squares(files).items()}

    def _squares(self, files: Sequence[Path]) -> dict[Path, UInt8[Tensor, "3 side side"]]:
        found = squares_of(files, self.side, self.grey_range, self.max_pixels)
        pairs = list(zip(files, found, strict=True))
        self._bad |= {file: square for file, square in pairs if isinstance(square, DataError)}
        return {file: square for file, square in pairs if isinstance(square, Tensor)}

    def report(self) -> None:
        """Say which photos cannot be read: in an error, or with `skip_bad` as left out."""
        if self._bad and not self.skip_bad:
            listing = "\n".join(f"  {error}" for error in self._bad.values())
            raise DataError(
                f"{len(self._bad)} images cannot be read:\n{listing}\nMend or remove them, or go on without them: "
                "--skip-bad"
            )
        for file, error in self._bad.items():
            leave_out("image", f"it cannot be read: {why_unreadable(error.__cause__)}", [printable(str(file))])


def fit_photos(
    classifier: FewShotClassifier, names: Mapping[Path, str], reader: Reader, support: str, console: Console
) -> None:
    """Fit a classifier to labelled photos, unless some cannot be read, which `reader` then knows.

    Args:
        classifier: the classifier.
        names: the class of each photo.
        reader: what reads the photos.
        support: folder of the photos, for messages.
        console: where it is said what was fine-tuned.

    Raises:
        SmatError: as `FewShotClassifier.fit`, or no photo of a class can be read.
    """
    squares = reader.read(list(names))
    if not reader.usable:
        return
    if empty := sorted({*names.values()} - {names[file] for file in squares}):
        raise DataError(
            f"no image of {', '.join(empty)} in '{support}' can be read; add images or remove these folders"
        )
    classifier.fit(list(squares.values()), [names[file] for file in squares])
    if tuned := classifier.task_model_.tuned:
        rates = classifier.learning_rate_
        if isinstance(rates, tuple):
            several = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates))
            at = f"learning rates {several} (the mean of {len(rates)} networks)"
        else:
            at = f"learning rate {rates:g}"
        kind = make_tuner(classifier.adapt).name
        console.print(f"fine-tuned ({kind}) for {classifier.steps} steps at {at}: {tuned:,} parameters")
