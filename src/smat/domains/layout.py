"""Folders of labelled images: which folders are classes, which are splits, and what else there is.

Every command reads folders by the rules of `read_layout`; docs/data.md states them for users.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smat.domains.domain import SPLITS, Split
from smat.domains.folders import Scan, Tree, Unused, printable, say_unused
from smat.errors import DataError

CLASSES_FILE = "classes.txt"
"""File in a folder that says, a line for each, which of its folders are classes though they are called like splits."""

_SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train", "training": "train", "trainset": "train",
    "val": "val", "valid": "val", "validation": "val", "valset": "val", "dev": "val", "devset": "val",
    "test": "test", "testing": "test", "testset": "test",
}  # fmt: skip
_CONTAINERS = frozenset({
    "data", "dataset", "image", "images", "img", "imgs", "jpeg", "jpegimages", "jpg", "photo", "photos", "picture",
    "pictures", "png",
})  # fmt: skip
_BESIDE = _CONTAINERS | {"set", "split", "seg", "folder"}  # words beside that of a split: `train_images`, `Test Set`
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xml", ".mat", ".xlsx")


@dataclass(frozen=True)
class Part:
    """Class folders that lie in one folder.

    Attributes:
        folder: that folder.
        split: the split that it is of; None: of none.
        classes: images of each class, sorted.
    """

    folder: Path
    split: Split | None
    classes: dict[str, list[Path]]


@dataclass(frozen=True)
class Layout:
    """What a folder of labelled images holds.

    Attributes:
        root: the folder.
        parts: its class folders: one part without a split, or one for each split folder, sorted.
        unused: what is not used, and why.
    """

    root: Path
    parts: tuple[Part, ...]
    unused: tuple[Unused, ...]

    @property
    def images(self) -> dict[str, list[Path]]:
        """Images of each class, all parts joined; the classes sorted."""
        names = sorted({name for part in self.parts for name in part.classes})
        return {name: [path for part in self.parts for path in part.classes.get(name, ())] for name in names}

    @property
    def splits(self) -> dict[str, tuple[str, ...]] | None:
        """Classes of each split; None where there are no split folders, or where they divide the images of a class."""
        return None if self.divides_images else self.by_split or None

    @property
    def divides_images(self) -> bool:
        """Whether split folders have classes in common: they divide images, not classes."""
        owners = Counter(name for names in self.by_split.values() for name in names)
        return any(count > 1 for count in owners.values())

    @property
    def by_split(self) -> dict[str, tuple[str, ...]]:
        """Classes that have images in each split folder."""
        found = {s: [name for part in self.parts if part.split == s for name in part.classes] for s in SPLITS}
        return {split: tuple(dict.fromkeys(names)) for split, names in found.items() if names}


def read_layout(folder: str | Path, *, stay_inside: bool = False) -> Layout:
    """Find the class folders in a folder, and the split folders around them where there are some.

    Args:
        folder: class folders; split folders of class folders; or a folder around either.
        stay_inside: whether symbolic links that leave the folder are not used.

    Raises:
        DataError: there is no such folder, no class folder in it, or folders that may be meant in two ways.
    """
    root = Path(folder)
    scan = Scan(root, stay_inside=stay_inside)
    top = _unwrapped(scan.tree(root), scan)
    _leave_loose(top, scan)
    tops = top.populated()
    if not tops:
        raise DataError(_nothing(root, top, scan))
    said = _said_classes(top, scan)
    splits: dict[int, Split] = {
        id(tree): split for tree in tops if (split := split_of(tree.name)) and tree.name not in said
    }
    named = [tree for tree in tops if id(tree) in splits]
    others = [tree for tree in tops if id(tree) not in splits]
    divided = [tree for tree in named if tree.populated()]
    flat = [tree for tree in named if not tree.populated()]
    if others and not divided and [tree.name.lower() for tree in flat] == ["train"] and len(others) > 1:
        others, flat = tops, []  # trains, beside other things
    if (others and divided and len(named) == 1) or not (others or divided):
        raise DataError(_ambiguous(root, top, named, others))
    for tree in flat:
        scan.leave("folder", tree.path, f"it is called like a split, but has no class folders; {_way(top)}")
    if divided:
        for tree in others:
            scan.leave("folder", tree.path, f"it lies beside the split folders {_names(divided)}, and is none")
        alone = len(divided) == 1 and bool(flat)  # what it was divided from has no labels: all classes are in it
        parts = [_split_part(tree, None if alone else splits[id(tree)], scan) for tree in divided]
    else:
        _check_labelled(root, others, scan)
        parts = [Part(top.path, None, _classes(others, top, scan))]
    return Layout(root, tuple(parts), tuple(scan.unused))


def read_class_folders(folder: str | Path) -> tuple[list[Path], list[int], list[str]]:
    """Images and labels of a folder that holds one folder per class.

    A class's images may lie in folders within its own. Where there are split folders around the class folders, the
    images are those of `train`. What is not used is left out with a word.

    Returns:
        The paths, class by class; their labels, 0..classes-1; the class names, sorted.

    Raises:
        DataError: as for `read_layout`; or several split folders, and none of them is for training.
    """
    layout = read_layout(folder)
    parts = [part for part in layout.parts if part.split in ("train", None)] or list(layout.parts)
    if len(parts) > 1 and parts[0].split != "train":
        names = ", ".join(f"'{part.folder.name}'" for part in parts)
        raise DataError(
            f"'{folder}' has the split folders {names} and none for training; give {parts[0].folder}, or another"
        )
    used, first = Layout(layout.root, tuple(parts), layout.unused), parts[0].folder.name
    others = [part.folder for part in layout.parts if part not in parts]
    reason = f"the labelled images are those of '{first}'; to use others, give the folder itself"
    say_unused([*layout.unused, *(Unused("folder", printable(path.name), reason) for path in others)])
    images = used.images
    labels = [label for label, paths in enumerate(images.values()) for _ in paths]
    return [path for paths in images.values() for path in paths], labels, list(images)


def split_of(name: str) -> Split | None:
    """The split that a folder of this name holds, such as `train`, `Testing`, `val_images` or `train2017`; or None."""
    words = [word for word in re.findall(r"[^\W\d_]+", name.lower()) if word not in _BESIDE]
    return _SPLIT_WORDS.get(words[0]) if len(words) == 1 else None


def _unwrapped(tree: Tree, scan: Scan) -> Tree:
    """The folder that has several folders with images, or split folders: this one, or one that lies in it alone."""
    inner, levels = tree, []
    while not inner.images and len(folders := inner.populated()) == 1 and not split_of(folders[0].name):
        inner = folders[0]
        levels.append(inner)
    if inner is tree or inner.images:
        return tree
    reason = f"it alone has images, so the folders in it are taken for the classes; give {inner.path}"
    for level in levels:
        scan.leave("folder level", level.path, reason)
    return inner


def _split_part(tree: Tree, split: Split | None, scan: Scan) -> Part:
    """The classes of a split folder, which may have one folder too many, such as `seg_train/seg_train`."""
    inner, inside = tree, tree.populated()
    while not inner.images and len(inside) == 1 and inside[0].populated() and _is_level(inside[0], tree):
        inner, inside = inside[0], inside[0].populated()
        scan.leave(
            "folder level", inner.path, "it is the only one in a split folder: the folders in it are the classes"
        )
    _leave_loose(inner, scan)
    return Part(tree.path, split, _classes(inside, inner, scan))


def _is_level(inner: Tree, outer: Tree) -> bool:
    """Whether the only folder in a split folder is no class."""
    return inner.name.lower() in _CONTAINERS or split_of(inner.name) is not None or inner.name == outer.name


def _classes(folders: list[Tree], around: Tree, scan: Scan) -> dict[str, list[Path]]:
    """Images by class; folders without any are left out with a word."""
    classes: dict[str, list[Path]] = {}
    for tree in folders:
        scan.leave_links(tree)
        files = list(tree.files())
        if tree.name in classes:
            raise DataError(
                f"'{around.path}' has two folders that are both called '{tree.name}' in Unicode; rename one"
            )
        if files:
            classes[tree.name] = files
    for tree in around.folders:
        if not (tree.unreadable or tree.populated() or tree.images):
            scan.leave("folder", tree.path, "no images in this folder; put some there, or remove it")
    return classes


def _leave_loose(tree: Tree, scan: Scan) -> None:
    for name in tree.images if tree.populated() else ():
        scan.leave("file", tree.path / name, "it lies outside class folders")


def _said_classes(top: Tree, scan: Scan) -> set[str]:
    """Folders that the file of classes names."""
    path = top.path / CLASSES_FILE
    if not path.is_file():
        return set()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    said = {tree.name for tree in top.populated()} & {line.strip() for line in lines}
    if said:
        scan.unused = [entry for entry in scan.unused if scan.root / entry.name != path]
    return said


def _check_labelled(root: Path, classes: list[Tree], scan: Scan) -> None:
    """Folders that are called `images` and the like are no classes, nor is a single one beside tables."""
    tables = [entry.name for entry in scan.unused if "/" not in entry.name and entry.name.lower().endswith(_TABLES)]
    if all(tree.name.lower() in _CONTAINERS for tree in classes) or (len(classes) == 1 and tables):
        beside = f" beside {', '.join(sorted(tables)[:4])}, which may have the labels" if tables else ""
        raise DataError(
            f"'{root}' has its images in {_names(classes)}{beside}, not in a folder for each class; give a folder that "
            "has these, or import it as what it is (smat data import --help lists the kinds)"
        )


def _ambiguous(root: Path, top: Tree, named: list[Tree], others: list[Tree]) -> str:
    if others:
        return (
            f"'{root}' has the split folder {_names(named)} beside {_names(others)}, which are none; give "
            f"{named[0].path}, or put the others elsewhere; {_way(top)}"
        )
    return (
        f"'{root}' has images in {_names(named)}, which are called like splits, but no class folders; put each class's "
        f"images into a folder of its name; {_way(top)}"
    )


def _way(top: Tree) -> str:
    return f"if it is a class, write its name into {printable(str(top.path / CLASSES_FILE))}, a line for each"


def _names(trees: list[Tree]) -> str:
    more = f" and {len(trees) - 4} more" if len(trees) > 4 else ""
    return " and ".join(f"'{tree.name}'" for tree in trees[:4]) + more


def _nothing(root: Path, top: Tree, scan: Scan) -> str:
    if top.images:
        return f"'{root}' has images but no class folders; put each class's images into a folder of its name"
    why = "".join(f"\n  {entry.name}: {entry.reason}" for entry in scan.unused[:20])
    if top.folders or why:
        return f"'{root}' has no class folders with images; put one folder per class into it, with its images{why}"
    return f"'{root}' is empty; put one folder per class into it, with its images"
