"""Omniglot: handwritten characters by alphabet (Lake et al. 2015)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from smat.domains.domain import SPLITS
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.class_splits import META_DATASET
from smat.importing.decoding import decoded
from smat.importing.files import class_files, file_parts, inside, printable, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Found, Listing, Part

_SETS = ("images_background", "images_evaluation")


class Omniglot(Kind):
    """A class per character, as `Greek/character01`, and a group of classes per alphabet.

    The evaluation set is for testing; of the background set, five alphabets are for validation, as in Meta-Dataset.
    """

    name = "omniglot"
    summary = "Omniglot"
    files = "images_background and images_evaluation"
    landmarks = _SETS
    known = (Known(("omniglot",), "Omniglot", 1623, 32_460, 20, (883, 81, 659)),)

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        held_out = META_DATASET["omniglot"]["val"]
        refused: list[Refused] = []
        groups: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in SPLITS}
        images: dict[str, list[Path]] = {}
        folders: list[Path] = []
        for alphabet in (path for name in _SETS for path in _folders(root / name)):
            if not inside(root, alphabet):
                refused.append(Refused(shown(alphabet, root), "it is a symbolic link that leaves the source folder"))
                continue
            split = "test" if alphabet.parent.name == _SETS[1] else "val" if alphabet.name in held_out else "train"
            characters: list[str] = []
            for folder in _folders(alphabet):
                name = f"{alphabet.name}/{folder.name}"
                files, wrong = class_files(folder, root)
                refused += wrong
                problem = (
                    "its name is no UTF-8: rename it" if name != printable(name)
                    else "this class is in the other set already" if name in images
                    else "no images in this class folder" if not files
                    else ""
                )  # fmt: skip
                if problem:
                    refused.append(Refused(shown(folder, root), problem))
                    continue
                images[name] = files
                folders.append(folder)
                characters.append(name)
            if characters:
                groups[split][alphabet.name] = tuple(characters)
        if not images:
            raise DataError(f"'{root}' has no folders ALPHABET/CHARACTER with images in {' or '.join(_SETS)}")
        missing = [name for name in _SETS if not (root / name).is_dir()]
        names = {split: tuple(name for group in groups[split].values() for name in group) for split in SPLITS}
        return [
            Listing(
                name=self.name,
                classes=tuple(images),
                splits={split: classes for split, classes in names.items() if classes},
                parts=[part for label, files in enumerate(images.values()) for part in file_parts(label, root, files)],
                read=read_inverted,
                files=folders,
                hierarchy=Hierarchy("groups", {split: alphabets for split, alphabets in groups.items() if alphabets}),
                refused=tuple(refused),
                notes=(
                    "the strokes are made white and the paper black, as in Meta-Dataset",
                    *(f"'{name}' is not there: unpack it beside the other one" for name in missing),
                ),
            )
        ]


def _folders(place: Path) -> list[Path]:
    """Folders in a folder, sorted; none if it is not there."""
    found = place.iterdir() if place.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def read_inverted(part: Part) -> Iterator[Found | Refused]:
    """The images of a part made by `file_parts`, in grey, with black and white exchanged."""
    root, paths = part.payload
    for path in paths:
        image = decoded(Path(root), Path(root, path))
        if isinstance(image, Refused):
            yield image
        else:
            yield Found(path, 255 - np.asarray(image.convert("L")))
