"""What an importer says of a source: which classes and images there are, and how to read them piece by piece."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import Refused

EXPECTED = "expected"
"""What `Listing.expected` is called in an import's memory of its source."""


@dataclass(frozen=True)
class Found:
    """An image as the source has it.

    Attributes:
        name: where it is in the source, such as `Abyssinian_1.jpg` or `3.tfrecord#12`, so that results can be traced.
        image: encoded bytes; pixels, `[height, width]` or `[height, width, 3]`, uint8; or a cut-out of an image.
    """

    name: str
    image: bytes | np.ndarray | Image.Image


@dataclass(frozen=True)
class Part:
    """Images of one class that are read in one go: at most about a thousand.

    Attributes:
        label: index of the class in `Listing.classes`.
        images: number of images that there should be, for the progress bar.
        payload: what `Listing.read` needs to find them: paths, offsets, rows. It is small, and can be pickled.
    """

    label: int
    images: int
    payload: Any


@dataclass(frozen=True)
class Listing:
    """One domain to import; made without reading its images.

    Attributes:
        name: name of the domain, and of its folder.
        classes: class names, each once, in the order in which they are written.
        splits: class names of `train`, `val` and `test`; each class in one of them. All in `test` where the source
            divides no classes.
        parts: what to read, class after class; a function of the source's content alone, so that an import that was
            stopped finds the same parts again.
        read: function that gives a part's images, and what it refuses, in order. It runs in worker processes, and so
            is a function of a module or a method of the kind.
        files: files whose sizes and times tell whether the source has changed.
        hierarchy: hierarchy of the classes.
        flip: whether a mirrored image is still of its class; None: not said.
        refused: what the listing itself found to be wrong.
        notes: what to know of the import besides, such as that the source's own split is not used.
        tracks: pattern of the tracks (several images of one object) in `Found.name`: a regular expression whose first
            group is the track within its class; None: the source has no tracks, or does not say them.
        expected: number of images per class that the source itself says; what has fewer is incomplete. A class without
            an entry: not said.
        origin: what to remember of the source, such as its kind and folder; `list_sources` fills it in.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    parts: Sequence[Part]
    read: Callable[[Part], Iterator[Found | Refused]]
    files: Sequence[Path]
    hierarchy: Hierarchy | None = None
    flip: bool | None = None
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    tracks: str | None = None
    expected: Mapping[str, int] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
