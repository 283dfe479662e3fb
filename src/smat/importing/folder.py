"""Images in class folders, with or without `train`, `val` and `test` folders around these."""

from pathlib import Path

from smat.domains.domain import SPLITS
from smat.domains.folders import IMAGE_SUFFIXES, SPLIT_FOLDERS, class_folders, split_folders
from smat.domains.imported import Refused
from smat.domains.splits import check_known, splits_beside
from smat.errors import DataError
from smat.importing.files import class_files, file_parts, printable, read_file_part
from smat.importing.listing import Listing


def list_domains(source: Path) -> list[Listing]:
    """One domain, of the folder's name.

    Its classes are divided as the `train`, `val` and `test` folders do; or, without these, as a `splits.json` beside
    the folder says. Where those folders divide each class's images, these are joined, and all classes are for testing.

    Raises:
        DataError: no class folders with images, or a `splits.json` that does not fit.
    """
    if not source.is_dir():
        raise DataError(f"'{source}' is no folder; give one that holds a folder for each class")
    divided = split_folders(source)
    refused: list[Refused] = []
    images: dict[str, list[Path]] = {}
    splits: dict[str, list[str]] = {}
    loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in source.iterdir() if path.is_file())
    if loose:
        refused.append(Refused(".", f"{loose} images lie outside class folders"))
    for top in divided or [source]:
        for folder in class_folders(top):
            name = folder.name
            if name != printable(name):
                refused.append(Refused(printable(str(folder.relative_to(source))), "its name is no UTF-8: rename it"))
                continue
            files, wrong = class_files(folder, source)
            refused += wrong
            if not files and not wrong:
                refused.append(Refused(folder.relative_to(source).as_posix(), "no images in this class folder"))
            if not files:
                continue
            images.setdefault(name, []).extend(files)
            splits.setdefault(SPLIT_FOLDERS[top.name] if divided else "test", []).append(name)
    if not images:
        wrong = "".join(f"\n  {entry}" for entry in refused[:20])
        raise DataError(
            f"no class folders with images in '{source}'; give a folder that holds one for each class{wrong}"
        )
    classes = tuple(sorted(images))
    parts = [part for label, name in enumerate(classes) for part in file_parts(label, source, images[name])]
    name = source.resolve().name
    by_split, note = _splits(source, name, classes, splits, bool(divided))
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
        )
    ]


def _splits(
    source: Path, name: str, classes: tuple[str, ...], found: dict[str, list[str]], divided: bool
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Classes by split, and what to say of it."""
    total = [label for labels in found.values() for label in labels]
    if divided and len(total) == len(set(total)):
        return {split: tuple(found[split]) for split in SPLITS if split in found}, ""
    joined = (
        f"its folders {', '.join(found)} divide the images of a class, not the classes: they are joined; " * divided
    )
    beside = splits_beside(source, name)
    if beside:
        given = beside[0]
        check_known(given, dict.fromkeys(classes, 1), name)
        rest = sorted({*classes} - {label for labels in given.values() for label in labels})
        if not rest:
            return given, f"{joined}its classes are divided as {source.resolve().parent / 'splits.json'} says"
        joined += (
            f"the splits.json beside it says nothing of {len(rest)} classes, such as '{rest[0]}', and is not used; "
        )
    return {"test": classes}, f"{joined}all classes are for testing, unless they are given other splits"
