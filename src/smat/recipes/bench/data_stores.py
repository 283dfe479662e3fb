"""The same images in two stores, for `smat bench data`: an imported domain, and one HDF5 file per class."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from smat.domains import ImageDomain, canvas, open_domain
from smat.importing import Found, Listing, Part, import_domain
from smat.rng import numpy_generator

# Cells across an image and how strongly they show: together about as smooth, and as large a JPEG, as a photo.
_LAYERS = ((3, 1.0), (8, 0.6), (24, 0.35), (64, 0.2))


@dataclass(frozen=True)
class ImageSet:
    """A set of made-up images.

    Attributes:
        classes: number of classes.
        images: number of images of each class.
        size: longest side of the largest image in pixels; the smallest have half of that. The other side is 0.65 to 1
            of the longest.
    """

    classes: int
    images: int
    size: int

    @property
    def total(self) -> int:
        """Number of images."""
        return self.classes * self.images

    def example(self) -> bytes:
        """One more image of that kind, encoded."""
        return next(_encoded(self.size, 1, numpy_generator(0, "bench data", self.classes)))

    def make(self, folder: Path, processes: int) -> Path:
        """Write the images as a domain, as every import does; its folder."""
        names = tuple(f"class{label:05d}" for label in range(self.classes))
        listing = Listing(
            name=f"images{self.classes}",
            classes=names,
            splits={"test": names},
            parts=[Part(label, self.images, (label, self.images, self.size)) for label in range(self.classes)],
            read=_draw,
            files=[],
            flip=True,
        )
        import_domain(listing, folder, max_side=self.size, processes=processes)
        return folder / listing.name


def _draw(part: Part) -> Iterator[Found]:
    label, images, size = part.payload
    for number, content in enumerate(_encoded(size, images, numpy_generator(0, "bench data", label))):
        yield Found(f"{label}/{number}.jpg", content)


def _encoded(size: int, images: int, rng: np.random.Generator) -> Iterator[bytes]:
    for _ in range(images):
        buffer = io.BytesIO()
        _picture(size, rng).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def _picture(size: int, rng: np.random.Generator) -> Image.Image:
    """Random colours at several scales, and a little grain."""
    long = int(rng.integers(size // 2, size, endpoint=True))
    short = round(long * rng.uniform(0.65, 1))
    width, height = (long, short) if rng.random() < 0.5 else (short, long)
    total = rng.normal(0, 4, (height, width, 1)).astype(np.float32)
    for cells, strength in _LAYERS:
        small = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        share = strength / sum(strength for _, strength in _LAYERS)
        total = total + share * np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def write_hdf5(domain: ImageDomain, folder: Path) -> Path:
    """One file per class, as in PMF: a group per image, with its pixels `[height, width, 3]`, label and name."""
    folder.mkdir()
    for label, name in enumerate(domain.classes("test")):
        with h5py.File(folder / f"{label}.h5", "w") as file:
            for number, row in enumerate(domain.rows(name).tolist()):
                group = file.create_group(str(number))
                group.create_dataset("image", data=np.asarray(domain.image(row)))
                group.create_dataset("label", data=label)
                group.create_dataset("id", data=domain.image_name(row))
    return folder


class Stored:
    """An imported domain, as episodes read it.

    Args:
        folder: folder of the domain.
    """

    def __init__(self, folder: Path) -> None:
        self.domain = open_domain(folder)

    def read(self, rows: Sequence[int], side: int) -> UInt8[Tensor, "n 3 {side} {side}"]:
        """The images of some rows."""
        return torch.stack([self.domain.canvas(row, side) for row in rows])

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        """The same, as they are stored."""
        return [content for row in rows if isinstance(content := self.domain.encoded(row), bytes)]


class Hdf5:
    """Files that are opened when they are first needed and stay open, as in PMF's code.

    Args:
        folder: folder that `write_hdf5` filled.
        images: number of images of each class.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.folder = folder
        self.images = images
        self.files: dict[int, Any] = {}

    def read(self, rows: Sequence[int], side: int) -> UInt8[Tensor, "n 3 {side} {side}"]:
        """The images of some rows of the domain."""
        found = []
        for label, number in (divmod(row, self.images) for row in rows):
            if label not in self.files:
                self.files[label] = h5py.File(self.folder / f"{label}.h5", "r")
            found.append(canvas(Image.fromarray(self.files[label][str(number)]["image"][()]), side))
        return torch.stack(found)


def decode(images: Sequence[bytes], side: int) -> UInt8[Tensor, "n 3 {side} {side}"]:
    """The least that reading JPEG images from memory takes: decoding, resizing, and one copy of the pixels."""
    found = np.empty((len(images), side, side, 3), dtype=np.uint8)
    for index, content in enumerate(images):
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
        short = min(image.size)
        left, top = (image.width - short) / 2, (image.height - short) / 2
        box = (left, top, left + short, top + short)
        found[index] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return torch.from_numpy(found).permute(0, 3, 1, 2)
