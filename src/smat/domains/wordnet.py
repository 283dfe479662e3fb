"""Words for WordNet's numbers, which the classes of ImageNet are called by."""

import re
from collections.abc import Iterable
from pathlib import Path

from smat.domains.folders import printable

_FILES = ("LOC_synset_mapping.txt", "words.txt")  # as ImageNet's authors and Kaggle distribute them
_AROUND = 4  # folders between the images and the file, at most
_LINE = re.compile(r"(n\d{8})\s+([^,\n]+)", re.ASCII)
_NAMED = re.compile(r" \((n\d{8})\)$", re.ASCII)


def wordnet_names(folder: Path, classes: Iterable[str]) -> tuple[dict[str, str], Path | None]:
    """Names such as `tench (n01440764)` for those classes that are called by a number of WordNet.

    The words are read from `LOC_synset_mapping.txt` or `words.txt`, in the folder or one around it: no library here has
    them.

    Args:
        folder: folder of the images.
        classes: class names.

    Returns:
        The names of the classes for which there are words, by number, and the file that has these; None: there is none.
    """
    numbers = {name for name in classes if re.fullmatch(r"n\d{8}", name, re.ASCII)}
    if not numbers:
        return {}, None
    for place in [folder.resolve(), *folder.resolve().parents][: _AROUND + 1]:
        for path in (place / name for name in _FILES):
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
                found = [match for line in lines if (match := _LINE.match(line)) and match[1] in numbers]
                if found:
                    return {match[1]: printable(f"{match[2].strip()} ({match[1]})") for match in found}, path
    return {}, None


def numbers_of(classes: Iterable[str]) -> dict[str, str]:
    """The classes that `wordnet_names` named, by number."""
    return {match[1]: name for name in classes if (match := _NAMED.search(name))}
