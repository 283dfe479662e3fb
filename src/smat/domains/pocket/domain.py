"""A pocket domain: a family of procedural images as a `Domain`."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from smat.domains.domain import Domain, Role
from smat.domains.pocket.drawing import Pixels, Rng
from smat.errors import DataError
from smat.rng import numpy_generator

# Goes into the fingerprints: to be raised with every change that gives other images.
VERSION = 1


@dataclass(frozen=True)
class Family:
    """How a domain's classes and images are drawn.

    Attributes:
        name: name of the domain.
        define: function of a generator and a number of classes that gives the parameters of each class.
        draw: function that draws one image, of a size in pixels, from a class's parameters.
        flip: whether a mirrored image is still of its class.
    """

    name: str
    define: Callable[[Rng, int], list[Any]]
    draw: Callable[[Any, Rng, int], Pixels]
    flip: bool


@lru_cache(maxsize=64)
def parameters(family: Family, seed: int, count: int) -> list[Any]:
    """The parameters of a family's classes, worked out once per process."""
    return family.define(numpy_generator(seed, f"pocket/{family.name}/classes"), count)


def drawing(family: Family, seed: int, count: int, index: int, instance: int, size: int) -> Pixels:
    """Image `instance` of class `index`, of so many pixels each way."""
    rng = numpy_generator(seed, f"pocket/{family.name}/images", index, instance)
    return family.draw(parameters(family, seed, count)[index], rng, size)


class PocketDomain(Domain):
    """Procedural images, drawn when asked for; nothing is stored and nothing is downloaded.

    Image i of class c is row `c * images_per_class + i`, and a function of (seed, name, c, i) alone.

    Args:
        family: how classes and images are drawn.
        counts: number of classes of each split, such as `{"train": 40, "val": 10, "test": 14}`.
        role: what experiments use it for.
        image_size: side of the images in pixels, 16 or more.
        images_per_class: number of images per class, 1 or more.
        seed: random seed; another one gives other classes (glyphs: another split of the same characters) and images.

    Raises:
        DataError: an image size or a number of images that is too small.
    """

    def __init__(
        self,
        family: Family,
        counts: dict[str, int],
        *,
        role: Role,
        image_size: int = 32,
        images_per_class: int = 1000,
        seed: int = 0,
    ) -> None:
        if image_size < 16:
            raise DataError(f"pocket domains were asked for images of {image_size} pixels; draw them at 16 or more")
        if images_per_class < 1:
            raise DataError(f"pocket domains were asked for {images_per_class} images per class; ask for 1 or more")
        self.family = family
        self.image_size = image_size
        self.images_per_class = images_per_class
        self.seed = seed
        self.class_count = sum(counts.values())
        names = [f"{family.name}{index:03d}" for index in range(self.class_count)]
        splits, start = {}, 0
        for split, count in counts.items():
            splits[split] = names[start : start + count]
            start += count
        self.numbers = {name: index for index, name in enumerate(names)}
        super().__init__(family.name, splits, flip=family.flip, role=role)

    @property
    def fingerprint(self) -> str:
        """A hash of the version of the drawings and of everything that images depend on."""
        facts = (
            self.name,
            VERSION,
            self.seed,
            self.image_size,
            self.images_per_class,
            sorted(self.splits.items()),
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def rows(self, class_name: str) -> np.ndarray:
        """Rows of a class's images.

        Raises:
            DataError: no such class.
        """
        if class_name not in self.numbers:
            raise DataError(
                f"domain '{self.name}' has no class '{class_name}'; its classes are {self.name}000 to "
                f"{self.name}{self.class_count - 1:03d}"
            )
        start = self.numbers[class_name] * self.images_per_class
        return np.arange(start, start + self.images_per_class, dtype=np.int64)

    def image(self, row: int) -> Image.Image:
        """Draw an image.

        Raises:
            DataError: no such row.
        """
        return Image.fromarray(drawing(self.family, self.seed, self.class_count, *self.locate(row), self.image_size))

    def image_name(self, row: int) -> str:
        """Class and number of the image, such as `plants007/12`."""
        index, instance = self.locate(row)
        return f"{self.name}{index:03d}/{instance}"

    def locate(self, row: int) -> tuple[int, int]:
        """The class number and the number within the class of a row."""
        if not 0 <= row < self.class_count * self.images_per_class:
            raise DataError(
                f"domain '{self.name}' has no row {row}; its rows are 0 to "
                f"{self.class_count * self.images_per_class - 1}"
            )
        index, instance = divmod(int(row), self.images_per_class)
        return index, instance
