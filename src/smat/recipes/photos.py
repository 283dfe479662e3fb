"""Folders of photos: which there are, of which class, and the photos as the network takes them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from smat.domains import GreyRange, canvas, list_images, load_image, read_class_folders
from smat.domains.folders import printable
from smat.domains.images import why_unreadable
from smat.domains.wordnet import wordnet_names
from smat.errors import DataError
from smat.left_out import leave_out


def labelled_photos(support: str, console: Console) -> tuple[dict[Path, str], dict[str, str]]:
    """The photos in class folders, and the class of each.

    Classes that are called by numbers of WordNet get words, which is said.

    Returns:
        The class by photo, and the words by number.

    Raises:
        DataError: no class folders, or one alone.
    """
    files, labels, names = read_class_folders(support)
    if len(names) < 2:
        raise DataError(f"'{support}' has one class folder, '{names[0]}'; give images of two or more classes")
    words, source = wordnet_names(Path(support), names)
    if source:
        console.print(f"words for {len(words)} numbers of WordNet: {source}", soft_wrap=True, markup=False)
    return {file: words.get(names[label], names[label]) for file, label in zip(files, labels, strict=True)}, words


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
        side: side of the squares, in pixels.
        skip_bad: whether work goes on without photos that cannot be read.
        grey_range: values that are black and white in grey images of more than 8 bits.
        max_pixels: most pixels that a photo is decoded to.
    """

    def __init__(self, side: int, skip_bad: bool, grey_range: GreyRange | None, max_pixels: int) -> None:
        self.side, self.skip_bad = side, skip_bad
        self.grey_range, self.max_pixels = grey_range, max_pixels
        self._bad: dict[Path, DataError] = {}

    @property
    def usable(self) -> bool:
        """Whether there is a point in going on; if not, the rest is only read to list all bad photos at once."""
        return self.skip_bad or not self._bad

    def read(self, files: Sequence[Path]) -> dict[Path, np.ndarray]:
        """The photos that can be read, `[side, side, 3]`."""
        squares: dict[Path, np.ndarray] = {}
        for file in files:
            try:
                image = load_image(file, self.side, range=self.grey_range, max_pixels=self.max_pixels)
                squares[file] = canvas(image, self.side).permute(1, 2, 0).numpy()
            except DataError as error:
                self._bad[file] = error
        return squares

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


def check_each_class(names: Mapping[Path, str], read: Collection[Path], support: str) -> None:
    """Refuse to go on where a class has no photo that can be read.

    Raises:
        DataError: there is such a class.
    """
    empty = sorted({*names.values()} - {names[file] for file in read})
    if empty:
        raise DataError(
            f"no image of {', '.join(empty)} in '{support}' can be read; add images or remove these folders"
        )
