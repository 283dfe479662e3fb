"""MSCOCO: objects cut out of its images by their boxes, as Meta-Dataset does (Triantafillou et al. 2020)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smat.domains.images import to_rgb
from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.class_splits import META_DATASET, divided
from smat.importing.decoding import Box, cut, decoded
from smat.importing.files import PART, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Found, Listing, Part
from smat.importing.lists import is_text, path_problem, read_bytes

_MOST_BYTES = 2**31  # of the annotations; those of 2017 have 448 MB
_ENLARGED = 1.2  # sides of a box
_FARTHEST = 1e6  # pixel coordinates that can be meant
_KEPT = ("annotations", "bbox", "categories", "category_id", "file_name", "id", "image_id", "images", "name")

Object = tuple[str, int, tuple[float, float, float, float]]
"""Image file; number of the annotation; left, top, width and height."""


class Coco(Kind):
    """The objects of the training images of 2017; where there are only the validation images, of these."""

    name = "coco"
    summary = "MSCOCO: the objects, cut out of the images by their boxes"
    files = "annotations/instances_train2017.json and train2017"
    landmarks = ("annotations/instances_*2017.json", "instances_*2017.json")
    known = (Known(("coco", "mscoco"), "MSCOCO", 80, splits=(0, 40, 40)),)
    splits = META_DATASET["coco"]

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        path, images = _files(root)
        tables = read_tables(root, path)
        refused: list[Refused] = []
        place = shown(path, root)
        names = by_id(tables["categories"], "name", f"{place}, category", refused)
        files = by_id(tables["images"], "file_name", f"{place}, image", refused)
        if len(set(names.values())) < len(names):
            raise DataError(f"'{path}' has two categories of one name: download it again")
        objects: dict[int, list[Object]] = {category: [] for category in names}
        for position, annotation in enumerate(tables["annotations"]):
            found = _object(annotation, names, files)
            if isinstance(found, str):
                number = annotation.get("id") if isinstance(annotation, dict) else None
                refused.append(Refused(f"{place}, annotation {number!r:.40} at {position}", found))
            else:
                objects[found[0]].append(found[1])
        if not any(objects.values()):
            raise DataError(f"'{path}' has no object that can be imported; what is wrong:{listed(refused)}")
        classes = tuple(names.values())
        splits, notes = divided(self, classes)
        return [
            Listing(
                name=self.name,
                classes=classes,
                splits=splits,
                parts=[
                    Part(label, len(piece), (str(root), shown(images, root), tuple(piece)))
                    for label, category in enumerate(names)
                    for found in [sorted(objects[category])]
                    for piece in (found[start : start + PART] for start in range(0, len(found), PART))
                ],
                read=read_objects,
                files=[path, images],
                refused=tuple(refused),
                notes=(
                    *notes,
                    f"boxes are enlarged by {_ENLARGED}, and crowds (iscrowd) are objects too, as in Meta-Dataset",
                ),
            )
        ]


def _files(root: Path) -> tuple[Path, Path]:
    """The annotations and the folder of the images."""
    for part in ("train2017", "val2017"):
        for path in (root / f"annotations/instances_{part}.json", root / f"instances_{part}.json"):
            for images in (root / part, root / "images" / part):
                if path.is_file() and images.is_dir():
                    return path, images
    raise DataError(
        f"'{root}' lacks instances_train2017.json (there or in 'annotations') or the folder 'train2017' of the images: "
        "unpack both archives there"
    )


def read_tables(root: Path, path: Path) -> dict[str, list[Any]]:
    """The lists `annotations`, `categories` and `images` of a file in the form of MSCOCO's, without outlines.

    Raises:
        DataError: it cannot be read, is no JSON, or lacks one of them.
    """
    content = read_bytes(root, path, _MOST_BYTES)
    try:
        tables = json.loads(content, object_hook=_slim)
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no JSON: {error}; download it again") from error
    wanted = ("annotations", "categories", "images")
    if not isinstance(tables, dict) or not all(isinstance(tables.get(key), list) for key in wanted):
        raise DataError(f"'{path}' has not the lists {', '.join(wanted)} of annotations")
    return tables


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """Without the outlines, which are most of the file, as soon as they are read."""
    return {key: item[key] for key in _KEPT if key in item}


def by_id(entries: list[Any], key: str, place: str, refused: list[Refused]) -> dict[int, str]:
    """A text of each entry by its number; what is wrong is added to `refused`."""
    found: dict[int, str] = {}
    for position, entry in enumerate(entries):
        number, text = (entry.get("id"), entry.get(key)) if isinstance(entry, dict) else (None, None)
        if type(number) is not int or not isinstance(text, str) or not is_text(text):
            refused.append(Refused(f"{place} at {position}", f"it has no number 'id' and text '{key}'"))
        elif number in found:
            refused.append(Refused(f"{place} at {position}", f"{number} is the number of an earlier one"))
        elif key == "file_name" and path_problem(text):
            refused.append(Refused(f"{place} {number}", path_problem(text)))
        else:
            found[number] = text
    return found


def _object(entry: Any, names: Mapping[int, str], files: Mapping[int, str]) -> tuple[int, Object] | str:
    """An annotation's category and object, or what is wrong with it."""
    if not isinstance(entry, dict) or type(entry.get("id")) is not int:
        return "it has no number 'id'"
    category, image, box = (entry.get(key) for key in ("category_id", "image_id", "bbox"))
    if type(category) is not int or category not in names:
        return f"its category {category!r:.40} is none of those listed"
    if type(image) is not int or image not in files:
        return f"its image {image!r:.40} is none of those listed"
    if not isinstance(box, list) or len(box) != 4 or not all(type(edge) in (int, float) for edge in box):
        return f"its box is {box!r:.80}; expected left, top, width and height"
    if not all(abs(edge) < _FARTHEST for edge in box) or min(box[2:]) <= 0:
        return f"its box {box!r:.80} has no extent, or one that cannot be"
    left, top, width, height = map(float, box)
    return category, (files[image], entry["id"], (left, top, width, height))


def object_box(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    """The pixels that are cut out for an object.

    Args:
        box: left, top, width and height, as MSCOCO has them.
        width: of the image.
        height: of the image.

    Returns:
        The box enlarged about its centre, in whole pixels, as far as it is in the image; empty if it is not.
    """
    left, top = (edge - 0.5 * side * (_ENLARGED - 1.0) for edge, side in zip(box[:2], box[2:], strict=True))
    right, bottom = (edge + side * _ENLARGED for edge, side in zip((left, top), box[2:], strict=True))
    # MSCOCO's coordinates are those of a pixel's centre, which is at a half; Pillow's are those of its edges.
    return (
        max(round(left - 0.5), 0),
        max(round(top - 0.5), 0),
        min(round(right - 0.5) + 1, width),
        min(round(bottom - 0.5) + 1, height),
    )


def read_objects(part: Part) -> Iterator[Found | Refused]:
    """The objects of a part, image after image."""
    root, folder, objects = part.payload
    file, image = None, None
    for wanted, number, box in objects:
        if wanted != file:
            file, image = wanted, decoded(Path(root), Path(root, folder, wanted))
            image = image if isinstance(image, Refused) else to_rgb(image)
        name = f"{folder}/{wanted}#{number}"
        if isinstance(image, Refused):
            yield Refused(name, image.reason)
        elif image is not None:
            piece = cut(image, object_box(box, image.width, image.height))
            yield Refused(name, piece) if isinstance(piece, str) else Found(name, piece)
