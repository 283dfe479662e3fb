"""Files of a source: found without leaving it, and read one by one."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from smat.domains.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES, why_unread
from smat.domains.imported import Refused
from smat.importing.listing import Found, Part

MOST_BYTES = 2**30  # of one encoded image; a file above this is no photograph
PART = 500  # images of a part, unless an importer has a reason for another number


def inside(root: Path, path: Path) -> bool:
    """Whether a path, with its symbolic links followed, is in the folder `root`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def shown(path: Path, root: Path) -> str:
    """A path for messages and image names: from `root` on, with `/`, and printable whatever its bytes."""
    return printable(path.relative_to(root).as_posix())


def printable(name: str) -> str:
    """A name as valid Unicode; file names of other encodings get replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def class_files(folder: Path, root: Path) -> tuple[list[Path], list[Refused]]:
    """Image files (by their suffix) in a folder and those within it, sorted; hidden ones are not looked at.

    Args:
        folder: folder of one class.
        root: folder of the source; symbolic links that lead out of it are refused.
    """
    if not inside(root, folder):
        return [], [Refused(shown(folder, root), "it is a symbolic link that leaves the source folder")]
    files: list[Path] = []
    refused: list[Refused] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in [*names, *links]:
            path = Path(place, name)
            suffix = path.suffix.lower() if name in names else ""
            if name.startswith(".") or (name in names and suffix not in IMAGE_SUFFIXES | UNREAD_SUFFIXES):
                continue
            if path.is_symlink() and not inside(root, path):
                refused.append(Refused(shown(path, root), "it is a symbolic link that leaves the source folder"))
            elif name in links:
                refused.append(Refused(shown(path, root), "links to folders within a class are not followed"))
            elif suffix in UNREAD_SUFFIXES:
                refused.append(Refused(shown(path, root), why_unread(suffix)))
            else:
                files.append(path)
    return sorted(files, key=str), sorted(refused, key=str)  # paths as keys would cost a kilobyte each


def read_image(root: Path, path: Path) -> Found | Refused:
    """An encoded image from a file of the source `root`; refused where it is no file in it or cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Refused(shown(path, root), "it is no file")
        if not inside(root, path):
            return Refused(shown(path, root), "it is a symbolic link that leaves the source folder")
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
