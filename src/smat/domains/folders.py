"""What is in a folder: the images, and what is not used and why."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smat.domains.formats import IMAGE_SUFFIXES, why_unread
from smat.errors import DataError
from smat.left_out import leave_out

LEAVES = "it is a symbolic link that leaves the source folder"
_LINK = "links to folders are not followed here, so that no image is used twice"
HIDDEN = "what is hidden, or made by a system or a disk station, is not looked at"
# In lower case; besides these, what begins with a dot: .DS_Store, .ipynb_checkpoints, AppleDouble's ._NAME.
_OF_SYSTEMS = frozenset({
    "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "~snapshot", "__macosx", "__pycache__", "$recycle.bin",
    "recycler", "lost+found", "system volume information", "network trash folder", "temporary items", "thumbs.db",
    "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
})  # fmt: skip
_DEEPEST = 64  # folders within folders
_LINKED = 4  # so deep, links to folders are followed: class folders may be links


@dataclass(frozen=True)
class Unused:
    """Something in a folder that is not used.

    Attributes:
        what: what it is, as for `leave_out`.
        name: where it is, from the folder on.
        reason: why, with what to do where that is not plain.
    """

    what: str
    name: str
    reason: str


def say_unused(unused: Sequence[Unused]) -> None:
    """Leave these out with a word."""
    names: dict[tuple[str, str], list[str]] = {}
    for entry in unused:
        names.setdefault((entry.what, entry.reason), []).append(entry.name)
    for (what, reason), some in names.items():
        leave_out(what, reason, some)


@dataclass
class Tree:
    """A folder with its images and the folders in it, without what is not used.

    Attributes:
        path: the folder.
        images: names of the images that lie in it directly, sorted.
        folders: the folders in it, sorted.
        link: whether it is a symbolic link.
        unreadable: whether it could not be looked into.
    """

    path: Path
    images: list[str] = field(default_factory=list)
    folders: list["Tree"] = field(default_factory=list)
    link: bool = False
    unreadable: bool = False

    @property
    def name(self) -> str:
        """Its name, printable whatever its bytes."""
        return printable(self.path.name)

    def populated(self) -> list["Tree"]:
        """The folders in it that have images, or folders with images."""
        return [folder for folder in self.folders if folder.images or folder.populated()]

    def files(self) -> Iterator[Path]:
        """All images in it and the folders within it, sorted; links to folders are not followed."""
        inner = {folder.path.name: folder for folder in self.folders if not folder.link}
        for name in sorted([*self.images, *inner]):
            if name in inner:
                yield from inner[name].files()
            else:
                yield self.path / name


class Scan:
    """Looks through folders, and remembers what is not used.

    Args:
        root: the folder that names of what is not used start from.
        stay_inside: whether symbolic links that leave it are not used.

    Attributes:
        unused: what is not used, as it is met.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path, *, stay_inside: bool = False) -> None:
        if not root.is_dir():
            raise DataError(f"'{root}' is no folder; give the path of a folder of images")
        self.root, self.stay_inside = root, stay_inside
        self.unused: list[Unused] = []

    def leave(self, what: str, path: Path, reason: str) -> None:
        """Remember that something is not used."""
        self.unused.append(Unused(what, shown(path, self.root), reason))

    def tree(self, folder: Path, around: Sequence[tuple[int, int]] = (), link: bool = False) -> Tree:
        """What is in a folder and the folders within it.

        Args:
            folder: the folder.
            around: device and inode of the folders that it lies in, so that no link leads round in circles.
            link: whether it is a symbolic link.
        """
        tree = Tree(folder, link=link)
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            status = folder.stat()
        except OSError as error:
            self.leave("folder", folder, f"it cannot be read: {error.strerror}")
            tree.unreadable = True
            return tree
        around = (*around, (status.st_dev, status.st_ino))
        for entry in entries:
            path = folder / entry.name
            is_folder = os.path.isdir(path)
            reason = self._folder_reason(path, around) if is_folder else self._file_reason(path, entry)
            if reason:
                self.leave("folder" if is_folder else "file", path, reason)
            elif is_folder:
                tree.folders.append(self.tree(path, around, entry.is_symlink()))
            else:
                tree.images.append(entry.name)
        return tree

    def leave_links(self, tree: Tree) -> None:
        """Remember that links to folders within a class are not followed."""
        for folder in tree.folders:
            if folder.link:
                self.leave("folder", folder.path, _LINK)
            else:
                self.leave_links(folder)

    def _folder_reason(self, path: Path, around: Sequence[tuple[int, int]]) -> str:
        """Why a folder is not looked at; empty if it is."""
        if _is_hidden(path.name):
            return HIDDEN
        if len(around) > _DEEPEST:
            return f"folders more than {_DEEPEST} deep are not looked at"
        if path.is_symlink():
            if self.stay_inside and not inside(self.root, path):
                return LEAVES
            status = path.stat()
            if (status.st_dev, status.st_ino) in around or len(around) > _LINKED:
                return _LINK
        return ""

    def _file_reason(self, path: Path, entry: os.DirEntry[str]) -> str:
        """Why a file is not used; empty if it is."""
        if _is_hidden(path.name):
            return HIDDEN
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return why_unread(path.suffix.lower())
        if entry.is_symlink() and not path.exists():
            return "it is a symbolic link that points nowhere"
        if self.stay_inside and entry.is_symlink() and not inside(self.root, path):
            return LEAVES
        return "" if path.is_file() else "it is no file"


def list_images(folder: str | Path) -> list[Path]:
    """Image files (by their suffix) in a folder and the folders within it, sorted; the rest is left out with a word.

    Raises:
        DataError: there is no such folder.
    """
    root = Path(folder)
    scan = Scan(root)
    tree = scan.tree(root)
    scan.leave_links(tree)
    say_unused(scan.unused)
    return list(tree.files())


def inside(root: Path, path: Path) -> bool:
    """Whether a path, with its symbolic links followed, is in the folder `root`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def shown(path: Path, root: Path) -> str:
    """A path for messages and image names: from `root` on, with `/`, and printable whatever its bytes."""
    return printable(path.relative_to(root).as_posix())


def printable(name: str) -> str:
    """A name as valid Unicode: bytes that are no UTF-8 are written as in `caf\\xe9.png`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_SYSTEMS
