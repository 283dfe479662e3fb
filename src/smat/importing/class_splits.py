"""How Meta-Dataset divides the classes of its sources (Triantafillou et al. 2020)."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from smat.domains.domain import SPLITS
from smat.domains.splits import ClassSplits


@cache
def meta_dataset_splits() -> dict[str, dict[str, list[str]]]:
    """Class names by kind of source and split; of Omniglot, only the alphabets for validation."""
    return json.loads((Path(__file__).parent / "metadataset_splits.json").read_text(encoding="utf-8"))


def numbered_names(kind: str) -> dict[int, str]:
    """Meta-Dataset's class names that begin with the source's number of the class, as `001.pink primrose`, by it."""
    names = (name for split in meta_dataset_splits()[kind].values() for name in split)
    return {int(name.partition(".")[0]): name for name in sorted(names)}


def divided(kind: str, classes: Sequence[str]) -> tuple[ClassSplits, tuple[str, ...]]:
    """Meta-Dataset's split of some classes, and what to say of it.

    All classes are for testing where Meta-Dataset has no split of the source, and so are those that it does not know.
    """
    official = meta_dataset_splits().get(kind)
    if official is None:
        return {"test": tuple(classes)}, ("Meta-Dataset has no split of these classes: all are for testing",)
    owner = {name: split for split, names in official.items() for name in names}
    splits = {split: tuple(name for name in classes if owner.get(name, "test") == split) for split in SPLITS}
    notes: list[str] = []
    unknown = [name for name in classes if name not in owner]
    lacking = sorted({*owner} - {*classes})
    if unknown:
        notes.append(f"{len(unknown)} classes that Meta-Dataset does not have, such as '{unknown[0]}', are for testing")
    if lacking:
        notes.append(f"{len(lacking)} classes that Meta-Dataset has, such as '{lacking[0]}', are not in this source")
    return {split: names for split, names in splits.items() if names}, tuple(notes)
