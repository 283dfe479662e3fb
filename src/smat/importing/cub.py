"""Caltech-UCSD Birds 200-2011: lists that say the image and the class of each number."""

from pathlib import Path

from smat.domains.imported import Refused
from smat.importing.class_splits import META_DATASET
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import Line, Row, make_listing, read_lines, unparsed, whole_number


class Cub(Kind):
    """Whole images, as Meta-Dataset has them."""

    name = "cub"
    summary = "CU Birds (CUB-200-2011)"
    files = "images, images.txt, classes.txt and image_class_labels.txt"
    landmarks = ("image_class_labels.txt",)
    known = (Known(("cub", "cubirds"), "CU Birds 200-2011", 200, 11_788, splits=(140, 30, 30)),)
    splits = META_DATASET["cub"]

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        lists = [root / name for name in ("classes.txt", "image_class_labels.txt", "images.txt")]
        refused: list[Refused] = []
        names, labels, images = (_by_number(root, path, refused) for path in lists)
        rows: list[Row] = []
        for image, (place, path) in images.items():
            label = names.get(whole_number(labels.get(image, ("", ""))[1]) or -1, ("", ""))[1]
            if not label:
                refused.append(
                    Refused(place, f"'{path}' has no class in image_class_labels.txt that classes.txt names")
                )
            elif path.split("/")[:-1] != [label]:
                refused.append(
                    Refused(place, f"'{path}' is not in the folder of its class, which the lists say is '{label}'")
                )
            else:
                rows.append(Row(place, f"images/{path}", label))
        classes = dict.fromkeys(name for _, name in names.values())
        return [make_listing(self, root, rows, list(classes), refused, lists)]


def _by_number(root: Path, path: Path, refused: list[Refused]) -> dict[int, Line]:
    """What a list of lines `NUMBER TEXT` says of each number, and where; what is wrong is added to `refused`."""
    lines, wrong = read_lines(root, path)
    refused += wrong
    said: dict[int, Line] = {}
    for line in lines:
        first, _, text = line[1].partition(" ")
        number = whole_number(first)
        if number is None or not text:
            refused.append(unparsed(line, "'NUMBER TEXT'"))
        elif number in said:
            refused.append(Refused(line[0], f"{number} is in {said[number][0]} already"))
        else:
            said[number] = (line[0], text.strip())
    return said
