"""Images in class folders, with or without `train`, `val` and `test` folders around these."""

from pathlib import Path

from smat.domains.folders import IMAGE_SUFFIXES, SPLIT_FOLDERS, class_folders, split_folders
from smat.domains.imported import Refused, listed
from smat.domains.splits import splits_beside
from smat.errors import DataError
from smat.importing.class_splits import own_splits
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
        by_split, notes = own_splits(root, classes, splits if divided else {}, "folders", beside)
        return [
            Listing(
                name=name,
                classes=classes,
                splits=by_split,
                parts=parts,
                read=read_file_part,
                files=[path for name in classes for path in images[name]],
                refused=tuple(refused),
                notes=notes,
                tracks=beside.tracks if beside else None,
            )
        ]
