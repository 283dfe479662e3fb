"""Listings made by hand, of images in files of their own."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smat.domains.imported import Refused
from smat.importing import Found, Listing, Part

Content = bytes | Any


def listing_of(
    classes: Mapping[str, Sequence[tuple[str, Content]]],
    splits: Mapping[str, tuple[str, ...]] | None,
    folder: Path,
    *,
    name: str = "made",
    size: int = 2,
    **more: Any,
) -> Listing:
    """A listing of images by class, in parts of `size`; its files are written to `folder`."""
    parts = [
        Part(label, len(images[start : start + size]), tuple(images[start : start + size]))
        for label, images in enumerate(classes.values())
        for start in range(0, len(images), size)
    ]
    source = folder / "source.txt"
    if not source.exists():
        source.write_text("a source")
    return Listing(name, tuple(classes), splits or {"test": tuple(classes)}, parts, read, [source], **more)


def read(part: Part) -> Iterator[Found | Refused]:
    for name, content in part.payload:
        yield Found(name, content)
