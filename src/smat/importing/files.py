"""Files of a source: found without leaving it, and read one by one."""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from smat.domains.folders import LEAVES, Scan, Unused, inside, shown
from smat.domains.folders import printable as printable  # what importers name files by
from smat.domains.imported import Refused
from smat.importing.listing import Found, Part

MOST_BYTES = 2**30  # of one encoded image; a file above this is no photograph
PART = 500  # images of a part, unless an importer has a reason for another number


def class_files(folder: Path, root: Path) -> tuple[list[Path], list[Refused]]:
    """Image files (by their suffix) in a folder and those within it, sorted, and what in it is not used.

    Args:
        folder: folder of one class.
        root: folder of the source; symbolic links that lead out of it are refused.
    """
    if not inside(root, folder):
        return [], [Refused(shown(folder, root), LEAVES)]
    scan = Scan(root, stay_inside=True)
    tree = scan.tree(folder)
    scan.leave_links(tree)
    return sorted(tree.files(), key=str), refused(scan.unused)  # paths as keys would cost a kilobyte each


def refused(unused: Iterable[Unused]) -> list[Refused]:
    """What a folder has that is not used, sorted, as an import remembers it."""
    return sorted((Refused(entry.name, entry.reason) for entry in unused), key=str)


def read_image(root: Path, path: Path) -> Found | Refused:
    """An encoded image from a file of the source `root`; refused where it is no file in it or cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Refused(shown(path, root), "it is no file")
        if not inside(root, path):
            return Refused(shown(path, root), LEAVES)
        if status.st_size > MOST_BYTES:
            return Refused(shown(path, root), f"it has {status.st_size} bytes; an image has at most {MOST_BYTES}")
        return Found(shown(path, root), path.read_bytes())
    except FileNotFoundError:
        return Refused(shown(path, root), "there is no such file")
    except (OSError, ValueError) as error:  # the latter for names that no file can have
        return Refused(shown(path, root), f"it cannot be read: {error}")


def file_parts(label: int, root: Path, files: list[Path], size: int = PART) -> list[Part]:
    """Parts of image files of one class, for `read_file_part`."""
    pieces = [files[start : start + size] for start in range(0, len(files), size)]
    return [
        Part(label, len(piece), (str(root), tuple(path.relative_to(root).as_posix() for path in piece)))
        for piece in pieces
    ]


def read_file_part(part: Part) -> Iterator[Found | Refused]:
    """The images of a part made by `file_parts`: `Listing.read` of sources with a file per image."""
    root, paths = part.payload
    for path in paths:
        yield read_image(Path(root), Path(root, path))
