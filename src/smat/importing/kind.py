"""What a kind of source is: the base class of all kinds, those of the package and one's own."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smat.importing.listing import Listing
from smat.plugins import Plugin


@dataclass(frozen=True)
class Known:
    """How many classes and images a collection has, as its authors and Meta-Dataset say; None: not said.

    Attributes:
        names: names that a domain of it may have, in lower-case letters and digits.
        title: what it is.
        classes: number of classes.
        images: number of images.
        each: number of images per class, where all classes have the same.
        splits: numbers of training, validation and test classes.
        divided_by: who divides the classes so.
        tracks: whether its images come in tracks, several of one object.
    """

    names: tuple[str, ...]
    title: str
    classes: int
    images: int | None = None
    each: int | None = None
    splits: tuple[int, int, int] | None = None
    tracks: bool = False
    divided_by: str = "Meta-Dataset"


class Kind(Plugin, ABC):
    """A kind of source. One's own is a subclass that can be made without arguments, named by its import path.

    Attributes:
        name: short name; also that of the domain, where a source is a single one.
        summary: what it is.
        files: what the source's folder holds.
        landmarks: patterns, one of which something in the source's folder matches. The folder may also lie in the one
            that is given. None: the folder that is given is taken as it is.
        takes_file: whether a source may also be one file.
        known: numbers that `smat data doctor` compares with.
        splits: class names of `train`, `val` and `test`; None: nobody divides the classes.
        divided_by: who divides the classes so.
    """

    name: str
    summary: str
    files: str
    landmarks: tuple[str, ...] = ()
    takes_file: bool = False
    known: tuple[Known, ...] = ()
    splits: Mapping[str, Sequence[str]] | None = None
    divided_by: str = "Meta-Dataset"

    @abstractmethod
    def list_domains(self, root: Path) -> list[Listing]:
        """The domains of a source: their classes and images, found without reading the images.

        Args:
            root: the folder with the landmarks.

        Raises:
            DataError: nothing in it can be imported.
        """
