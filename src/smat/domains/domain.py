"""Images by class, with the classes divided into training, validation and test."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from smat.domains.hierarchy import ClassGroups
from smat.domains.images import canvas
from smat.errors import DataError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Role = Literal["id", "ood", "validation", ""]
"""In distribution: meta-tuned on; out of distribution: only tested on; neither, but the best checkpoint is chosen on
it; or not said."""
ROLES: tuple[Role, ...] = get_args(Role)


class Domain(ABC):
    """A collection of images by class, such as flowers or handwritten characters.

    Images are numbered by row. A domain knows which rows a class has, and decodes (or draws) one image at a
    time when asked: it is cheap to hold and to send to worker processes.

    Args:
        name: what the domain is called; part of every episode's id and of its random stream.
        splits: class names for each of `"train"`, `"val"` and `"test"`; a split may be left out or empty. No
            class is in two splits.
        flip: whether a mirrored image is still of its class; training transforms flip only then.
        role: what experiments use it for.

    Attributes:
        weight: how often the domain is drawn in training, in proportion to the others.
        hub: name of the data set on the Hugging Face hub; None where the images come from elsewhere.

    Raises:
        DataError: an unknown split, or a class in two splits.
    """

    def __init__(self, name: str, splits: Mapping[str, Sequence[str]], *, flip: bool, role: Role = "") -> None:
        self.name = name
        self.flip = flip
        self.role: Role = role
        self.weight = 1.0
        self.hub: str | None = None
        self.splits = {split: tuple(classes) for split, classes in splits.items() if classes}
        unknown = sorted(set(self.splits) - set(SPLITS))
        if unknown:
            raise DataError(f"domain '{name}' has splits {unknown}; the splits are called {', '.join(SPLITS)}")
        owner: dict[str, str] = {}
        for split, classes in self.splits.items():
            for label in classes:
                if label in owner:
                    raise DataError(
                        f"domain '{name}' has class '{label}' in its {owner[label]} and again in its {split} "
                        "split; a class belongs to one split, once"
                    )
                owner[label] = split

    def classes(self, split: str) -> tuple[str, ...]:
        """Class names of a split.

        Raises:
            DataError: the domain has no such split, or no classes in it.
        """
        if split not in self.splits:
            have = ", ".join(f"{s} ({len(c)} classes)" for s, c in self.splits.items()) or "none"
            advice = f"the splits are called {', '.join(SPLITS)}" if split not in SPLITS else "give a splits file"
            raise DataError(
                f"domain '{self.name}' has no {split} split; it has: {have}. Use one of these, or {advice}."
            )
        return self.splits[split]

    def for_validation(self) -> "Domain":
        """This domain if it has validation classes; otherwise one whose classes are all for validation."""
        if "val" in self.splits:
            return self
        domain = copy.copy(self)
        domain.splits = {"val": tuple(label for classes in self.splits.values() for label in classes)}
        return domain

    def hierarchy(self, split: str) -> ClassGroups | None:
        """Which classes of a split lie together, by their indices in `classes(split)`; None: no hierarchy."""
        return None

    def tracks(self, class_name: str) -> np.ndarray | None:
        """The track of each of `rows(class_name)`, int64; None, for every class: the domain does not know of tracks.

        A track is several images of one object of the class, such as frames of a film: they are so much alike that an
        episode must not have some in its support and others in its query. Numbers tell tracks of one class apart.
        """
        return None

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when the images, the labels, the splits or the hierarchy do."""

    @abstractmethod
    def rows(self, class_name: str) -> np.ndarray:
        """Rows of a class's images, int64, ascending."""

    @abstractmethod
    def image(self, row: int) -> Image.Image:
        """One image, RGB, at its own size."""

    def image_name(self, row: int) -> str:
        """What the image is called at its source, such as a file name; for tracing results."""
        return f"row {row}"

    def canvas(self, row: int, size: int) -> UInt8[Tensor, "3 {size} {size}"]:
        """One image as a square of `size` pixels: shorter side resized, centre cut."""
        return canvas(self.image(row), size)
