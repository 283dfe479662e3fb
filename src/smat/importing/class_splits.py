"""How the classes of a source are divided into those for training, validation and testing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from smat.domains.domain import SPLITS
from smat.domains.splits import ClassSplits
from smat.importing.kind import Kind

META_DATASET: Mapping[str, Mapping[str, Sequence[str]]] = json.loads(
    Path(__file__).with_name("metadataset_splits.json").read_text(encoding="utf-8")
)
"""Class names by source and split in Meta-Dataset (Triantafillou et al. 2020); of Omniglot only the alphabets for
validation."""


def numbered_names(kind: Kind) -> dict[int, str]:
    """The kind's class names by the source's number of the class, which they begin with, as `001.pink primrose`."""
    names = (name for split in (kind.splits or {}).values() for name in split)
    return {int(name.partition(".")[0]): name for name in sorted(names)}


def divided(kind: Kind, classes: Sequence[str]) -> tuple[ClassSplits, tuple[str, ...]]:
    """The kind's split of some classes, and what to say of it.

    All classes are for testing where the kind has no split, and so are those that its split does not have.
    """
    if kind.splits is None:
        return {"test": tuple(classes)}, (f"{kind.divided_by} has no split of these classes: all are for testing",)
    owner = {name: split for split, names in kind.splits.items() for name in names}
    splits = {split: tuple(name for name in classes if owner.get(name, "test") == split) for split in SPLITS}
    notes: list[str] = []
    unknown = [name for name in classes if name not in owner]
    lacking = sorted({*owner} - {*classes})
    if unknown:
        who = f"{len(unknown)} classes that {kind.divided_by} does not have, such as '{unknown[0]}'"
        notes.append(f"{who}, are for testing")
    if lacking:
        who = f"{len(lacking)} classes that {kind.divided_by} has, such as '{lacking[0]}'"
        notes.append(f"{who}, are not in this source")
    return {split: names for split, names in splits.items() if names}, tuple(notes)
