"""Folders of images: one folder per class, or just images."""

from collections.abc import Iterator
from pathlib import Path

from smat.domains.formats import IMAGE_SUFFIXES
from smat.errors import DataError

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The split that a folder of this name holds."""


def list_images(folder: str | Path) -> list[Path]:
    """Image files (by their suffix) in a folder and the folders within it, sorted; hidden ones left out.

    Raises:
        DataError: there is no such folder.
    """
    root = _existing(folder)
    return sorted(path for path in root.rglob("*") if _is_image(path, root))


def read_class_folders(folder: str | Path) -> tuple[list[Path], list[int], list[str]]:
    """Images and labels of a folder that holds one folder per class.

    A class's images may lie in folders within its own.

    Returns:
        The paths, class by class; their labels, 0..classes-1; the class names, sorted.

    Raises:
        DataError: no such folder, nothing in it, images but no class folders, or an empty class folder.
    """
    root = _existing(folder)
    names = [path.name for path in class_folders(root)]
    paths: list[Path] = []
    labels: list[int] = []
    empty: list[str] = []
    for label, name in enumerate(names):
        images = list_images(root / name)
        paths += images
        labels += [label] * len(images)
        if not images:
            empty.append(str(root / name))
    if not names:
        raise DataError(
            f"'{root}' has images but no class folders; put each class's images into a folder of its name"
            if any(_is_image(path, root) for path in root.iterdir())
            else f"'{root}' is empty; put one folder per class into it, with its images"
        )
    if empty:
        raise DataError(
            f"no images in {', '.join(empty)}; put images ({', '.join(sorted(IMAGE_SUFFIXES))}) there, or "
            "remove the folder"
        )
    return paths, labels, names


def class_folders(root: Path) -> Iterator[Path]:
    """Folders directly in `root`, sorted; hidden ones left out."""
    return iter(sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))


def split_folders(root: Path) -> list[Path]:
    """The `train`, `val` and `test` folders in `root`; none where there are others, or one without class folders."""
    tops = list(class_folders(root))
    divided = all(top.name in SPLIT_FOLDERS and any(class_folders(top)) for top in tops)
    return tops if divided else []


def _existing(folder: str | Path) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"'{root}' is no folder; give the path of a folder of images")
    return root


def _is_image(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()
