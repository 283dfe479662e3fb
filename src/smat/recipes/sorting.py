"""Copies of images in one folder per label."""

import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.progress import track

from smat.domains.folders import inside, printable
from smat.errors import ConfigError
from smat.files import check_folder, writing
from smat.left_out import leave_out
from smat.signals import held_back

_UNFINISHED = ".unfinished"  # folder of the copies until all are made
_LONGEST = 200  # bytes of a name, of the 255 that file systems allow
# What is no name of a folder on some system: the disks that people carry are read by several.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|^[.\s]+|[.\s]+$')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_sort_folder(out: str, sources: Mapping[str, str], files: Mapping[str, str | None]) -> Path:
    """Make sure, before long work, that images can be sorted into a folder.

    Args:
        out: the folder.
        sources: folders that it must lie apart from, by option.
        files: files that must not lie in it, by option.

    Raises:
        ConfigError: it is not empty, lies in one of the sources, has one of the files, or cannot be written to.
    """
    folder = check_folder(out, "--sort")
    for option, source in sources.items():
        if inside(Path(source), folder):
            raise ConfigError(
                f"--sort '{out}' lies in the folder of {option}, '{source}', where its copies would be taken for "
                "images to use; choose a folder elsewhere"
            )
    for option, file in files.items():
        if file and inside(folder, Path(file)):
            raise ConfigError(f"{option} '{file}' lies in the folder of --sort, which holds copies alone; move either")
    if folder.is_dir() and any(entry.name != _UNFINISHED for entry in folder.iterdir()):
        raise ConfigError(f"--sort '{out}' is not empty; empty it, or choose a new folder")
    return folder


def sort_copies(folder: Path, root: Path, names: Sequence[Path], labels: Sequence[str], console: Console) -> int:
    """Copy images into one folder per label; all of the copies are there in the end, or none.

    Args:
        folder: where the folders are made.
        root: folder of the images.
        names: the images, relative to that.
        labels: label of each.
        console: where the progress is shown, and folders that are called otherwise than their class.

    Returns:
        The number of copies; images that are gone, or cannot be read any more, are left out with a word.

    Raises:
        ConfigError: a copy cannot be written.
    """
    folders = folder_names(dict.fromkeys(labels))
    targets = [Path(folders[label], name) for label, name in zip(labels, copy_names(names, labels), strict=True)]
    unfinished, made, gone = folder / _UNFINISHED, not folder.exists(), []
    try:
        with writing(folder):
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            for name in folders.values():
                (unfinished / name).mkdir(parents=True)
            pairs = list(zip(names, targets, strict=True))
            for name, target in track(
                pairs, "copying", console=console, transient=True, disable=not console.is_terminal
            ):
                try:
                    shutil.copy2(root / name, unfinished / target)
                except OSError:
                    if os.access(root / name, os.R_OK):
                        raise
                    gone.append(printable(str(root / name)))
            with held_back():
                for name in folders.values():
                    (unfinished / name).rename(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    leave_out("image", "it cannot be read any more, so that there is no copy of it", gone)
    for label, name in folders.items():
        if label != name:
            console.print(f"images of '{label}' are in the folder '{name}'", soft_wrap=True, markup=False)
    return len(names) - len(gone)


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A folder name for each label: the label itself, where every system can have folders of these names together."""
    taken: set[str] = set()
    return {label: _free(_numbered(_folder_name(label)), taken) for label in labels}


def copy_names(names: Iterable[Path], labels: Iterable[str]) -> list[str]:
    """The file name of each copy: the image's, after the folders that it lies in where its label has that name."""
    taken: dict[str, set[str]] = {}
    pairs = zip(names, labels, strict=True)
    return [_free(_file_names(name), taken.setdefault(label, set())) for name, label in pairs]


def _file_names(name: Path) -> Iterator[str]:
    yield name.name
    yield from _numbered(_end(" - ".join([*name.parent.parts, name.stem])), name.suffix)


def _folder_name(label: str) -> str:
    name = _end(_FORBIDDEN.sub("_", label)) or "_"
    return f"{name}_" if _DEVICES.fullmatch(name) else name


def _end(text: str) -> str:
    """As much of the end of a text as a name may have."""
    while len(os.fsencode(text)) > _LONGEST:
        text = text[1:]
    return text


def _numbered(stem: str, suffix: str = "") -> Iterator[str]:
    yield f"{stem}{suffix}"
    yield from (f"{stem} ({number}){suffix}" for number in count(2))


def _free(names: Iterable[str], taken: set[str]) -> str:
    """The first name that is not taken, also on a system that does not tell capitals or accents' forms apart."""
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key not in taken:
            taken.add(key)
            return name
    raise AssertionError("names go on without end")
