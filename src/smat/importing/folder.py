"""Images in class folders, with or without `train`, `val` and `test` folders around these."""

from pathlib import Path

from smat.domains.domain import SPLITS
from smat.domains.folders import IMAGE_SUFFIXES, SPLIT_FOLDERS, class_folders, split_folders
from smat.domains.imported import Refused, listed
from smat.domains.splits import check_known, splits_beside
from smat.errors import DataError
from smat.importing.files import class_files, file_parts, printable, read_file_part
from smat.importing.kind import Kind
from smat.importing.listing import Listing


class Folder(Kind):
    """One domain of the folder's name, with or without `train`, `val` and `test` folders around the class folders.

    Its classes are divided as these do; or, without them, as a `splits.json` beside the folder says. Where they divide
    each class's images, these are joined, and all classes are for testing.
    """

    name = "folder"
    summary = "any images, in a folder for each class"
    files = "class folders, or train, val and test folders of class folders"

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        if not root.is_dir():
            raise DataError(f"'{root}' is no folder; give one that holds a folder for each class")
        divided = split_folders(root)
        refused: list[Refused] = []
        images: dict[str, list[Path]] = {}
        splits: dict[str, list[str]] = {}
        loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir() if path.is_file())
        if loose:
            refused.append(Refused(".", f"{loose} images lie outside class folders"))
        for top in divided or [root]:
            for folder in class_folders(top):
                name = folder.name
                if name != printable(name):
                    refused.append(Refused(printable(str(folder.relative_to(root))), "its name is no UTF-8: rename it"))
                    continue
                files, wrong = class_files(folder, root)
                refused += wrong
                if not files and not wrong:
                    refused.append(Refused(folder.relative_to(root).as_posix(), "no images in this class folder"))
                if not files:
                    continue
                images.setdefault(name, []).extend(files)
                splits.setdefault(SPLIT_FOLDERS[top.name] if divided else "test", []).append(name)
        if not images:
            raise DataError(
                f"no class folders with images in '{root}'; give a folder that holds one for each class"
                f"{listed(refused)}"
            )
        classes = tuple(sorted(images))
        parts = [part for label, name in enumerate(classes) for part in file_parts(label, root, images[name])]
        name = root.resolve().name
        beside = splits_beside(root, name)
        by_split, note = _splits(root, name, classes, splits, beside.splits if beside else {}, bool(divided))
        return [
            Listing(
                name=name,
                classes=classes,
                splits=by_split,
                parts=parts,
                read=read_file_part,
                files=[path for name in classes for path in images[name]],
                refused=tuple(refused),
                notes=(note,) if note else (),
                tracks=beside.tracks if beside else None,
            )
        ]


def _splits(
    source: Path,
    name: str,
    classes: tuple[str, ...],
    found: dict[str, list[str]],
    given: dict[str, tuple[str, ...]],
    divided: bool,
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Classes by split, and what to say of it; `given`: what the `splits.json` beside the folder says."""
    total = [label for labels in found.values() for label in labels]
    if divided and len(total) == len(set(total)):
        return {split: tuple(found[split]) for split in SPLITS if split in found}, ""
    joined = (
        f"its folders {', '.join(found)} divide the images of a class, not the classes: they are joined; " * divided
    )
    if given:
        check_known(given, dict.fromkeys(classes, 1), name)
        rest = sorted({*classes} - {label for labels in given.values() for label in labels})
        if not rest:
            return given, f"{joined}its classes are divided as {source.resolve().parent / 'splits.json'} says"
        joined += (
            f"the splits.json beside it says nothing of {len(rest)} classes, such as '{rest[0]}', and is not used; "
        )
    return {"test": classes}, f"{joined}all classes are for testing, unless they are given other splits"
