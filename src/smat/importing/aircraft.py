"""FGVC-Aircraft: images by variant, cut to their boxes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smat.domains.images import to_rgb
from smat.domains.imported import Refused
from smat.importing.decoding import Box, cut, decoded
from smat.importing.landmarks import find_root
from smat.importing.listing import Found, Listing, Part
from smat.importing.lists import (
    Row,
    make_listing,
    read_all_lines,
    read_lines,
    read_names,
    unparsed,
    whole_number,
)


def list_aircraft(source: Path) -> list[Listing]:
    """FGVC-Aircraft by variant, cut to the boxes as Meta-Dataset does: there is a banner below each image.

    Lines are `1025794 707-320`, and `1025794 3 144 998 431` in the list of boxes.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("aircraft", source)
    named, boxed = root / "data/variants.txt", root / "data/images_box.txt"
    lists = sorted((root / "data").glob("images_variant_*.txt"))
    classes, refused = read_names(root, named)
    boxes = _boxes(root, boxed, refused)
    lines, wrong = read_all_lines(root, lists)
    refused += wrong
    rows: list[Row] = []
    for line in lines:
        image, _, label = line[1].partition(" ")
        path = f"data/images/{image}.jpg"
        if "/" in image:
            refused.append(unparsed(line, "an image's number and its variant"))
        elif label.strip() not in classes:
            refused.append(Refused(line[0], f"its variant '{label.strip()}' is not in data/variants.txt"))
        elif path not in boxes:
            refused.append(Refused(line[0], f"image '{image}' has no box in data/images_box.txt"))
        else:
            rows.append(Row(line[0], path, label.strip()))
    notes = ["the images are cut to their boxes, as in Meta-Dataset"]
    listing = make_listing("aircraft", root, rows, list(classes), refused, [named, boxed, *lists], notes=notes)
    parts = [
        replace(part, payload=(*part.payload, [boxes[path] for path in part.payload[1]])) for part in listing.parts
    ]
    return [replace(listing, parts=parts, read=read_boxed_part)]


def _boxes(root: Path, path: Path, refused: list[Refused]) -> dict[str, Box]:
    """The box of each image's path; what is wrong is added to `refused`."""
    lines, wrong = read_lines(root, path)
    refused += wrong
    boxes: dict[str, Box] = {}
    for line in lines:
        image, *edges = line[1].split()
        numbers = [number for edge in edges if (number := whole_number(edge)) is not None]
        path_of = f"data/images/{image}.jpg"
        if len(edges) != 4 or len(numbers) != 4:
            refused.append(unparsed(line, "an image and four numbers"))
        elif path_of in boxes:
            refused.append(Refused(line[0], f"image '{image}' has a box already"))
        else:
            boxes[path_of] = (numbers[0], numbers[1], numbers[2], numbers[3])
    return boxes


def read_boxed_part(part: Part) -> Iterator[Found | Refused]:
    """The images of a part, each cut to its box."""
    root, paths, boxes = part.payload
    for path, box in zip(paths, boxes, strict=True):
        image = decoded(Path(root), Path(root, path))
        if isinstance(image, Refused):
            yield image
            continue
        piece = cut(to_rgb(image), box)
        yield Refused(path, piece) if isinstance(piece, str) else Found(path, piece)
