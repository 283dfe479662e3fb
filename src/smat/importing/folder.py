"""Images in class folders, with or without `train`, `val` and `test` folders around these."""

from pathlib import Path

from smat.domains.folders import printable
from smat.domains.layout import Layout, read_layout
from smat.domains.splits import check_known, splits_beside
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
        by_split, note = _splits(root, name, layout, beside.splits if beside else {})
        return [
            Listing(
                name=name,
                classes=classes,
                splits=by_split,
                parts=[part for label, name in enumerate(classes) for part in file_parts(label, root, images[name])],
                read=read_file_part,
                files=[path for paths in images.values() for path in paths],
                refused=tuple(refused(layout.unused)),
                notes=(note,) if note else (),
                tracks=beside.tracks if beside else None,
            )
        ]


def _splits(
    source: Path, name: str, layout: Layout, given: dict[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Classes by split, and what to say of it; `given`: what the `splits.json` beside the folder says."""
    if layout.splits is not None:
        return layout.splits, ""
    classes = tuple(layout.images)
    folders = ", ".join(printable(part.folder.name) for part in layout.parts)
    joined = f"its folders {folders} divide the images of a class, not the classes: they are joined; "
    joined *= layout.divides_images
    if given:
        check_known(given, dict.fromkeys(classes, 1), name)
        rest = sorted({*classes} - {label for labels in given.values() for label in labels})
        if not rest:
            return given, f"{joined}its classes are divided as {source.resolve().parent / 'splits.json'} says"
        joined += (
            f"the splits.json beside it says nothing of {len(rest)} classes, such as '{rest[0]}', and is not used; "
        )
    return {"test": classes}, f"{joined}all classes are for testing, unless they are given other splits"
