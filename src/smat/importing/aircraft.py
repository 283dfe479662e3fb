"""FGVC-Aircraft: images by variant, cut to their boxes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from smat.domains.images import to_rgb
from smat.domains.imported import Refused
from smat.importing.class_splits import META_DATASET
from smat.importing.decoding import Box, cut, decoded
from smat.importing.kind import Known
from smat.importing.line_lists import LineLists
from smat.importing.listing import Found, Listing, Part
from smat.importing.lists import read_lines, unparsed, whole_number


class Aircraft(LineLists):
    """Images by variant, cut to their boxes as Meta-Dataset does: there is a banner below each image."""

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain; the list of boxes has lines `1025794 3 144 998 431`."""
        boxed = root / "data/images_box.txt"
        boxes, refused = _boxes(root, boxed)

        def problem(groups: Mapping[str, str]) -> str:
            has_box = self.path.format(**groups) in boxes
            return "" if has_box else f"image '{groups['image']}' has no box in data/images_box.txt"

        notes = ["the images are cut to their boxes, as in Meta-Dataset"]
        listing = self.listing(root, notes=notes, problem=problem)
        parts = [
            replace(part, payload=(*part.payload, [boxes[path] for path in part.payload[1]])) for part in listing.parts
        ]
        named, *others = listing.files
        wrong = (*refused, *listing.refused)
        return [replace(listing, parts=parts, read=read_boxed_part, files=[named, boxed, *others], refused=wrong)]


AIRCRAFT = Aircraft(
    name="aircraft",
    summary="FGVC-Aircraft, cut out of the images by their boxes",
    files="data with images, images_box.txt, variants.txt and images_variant_*.txt",
    landmarks=("data/images_variant_*.txt",),
    lists=(("data/images_variant_*.txt",),),
    pattern=r"(?P<image>[^/\s]+)\s+(?P<label>.+)",
    form="an image's number and its variant",
    path="data/images/{image}.jpg",
    classes="data/variants.txt",
    known=(Known(("aircraft",), "FGVC-Aircraft", 100, 10_000, 100, (70, 15, 15)),),
    splits=META_DATASET["aircraft"],
)


def _boxes(root: Path, path: Path) -> tuple[dict[str, Box], list[Refused]]:
    """The box of each image's path, and what is wrong with the list."""
    lines, refused = read_lines(root, path)
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
    return boxes, refused


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
