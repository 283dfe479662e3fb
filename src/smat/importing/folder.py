"""Images in class folders, with or without `train`, `val` and `test` folders around these."""

from pathlib import Path

from smat.domains.folders import printable
from smat.domains.layout import read_layout
from smat.domains.splits import splits_beside
from smat.importing.class_splits import own_splits
from smat.importing.files import file_parts, read_file_part, refused
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
        layout = read_layout(root, stay_inside=True)
        images = {label: sorted(paths, key=str) for label, paths in layout.images.items()}
        classes = tuple(images)
        name = printable(root.resolve().name)
        beside = splits_beside(root, name)
        by_split, notes = own_splits(root, classes, layout.by_split, "folders", beside)
        return [
            Listing(
                name=name,
                classes=classes,
                splits=by_split,
                parts=[part for label, name in enumerate(classes) for part in file_parts(label, root, images[name])],
                read=read_file_part,
                files=[path for paths in images.values() for path in paths],
                refused=tuple(refused(layout.unused)),
                notes=notes,
                tracks=beside.tracks if beside else None,
            )
        ]
