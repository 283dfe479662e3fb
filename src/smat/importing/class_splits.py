"""How the classes of a source are divided into those for training, validation and testing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from smat.domains.domain import SPLITS
from smat.domains.splits import ClassSplits, Said, check_known
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


def own_splits(
    source: Path, classes: Sequence[str], found: Mapping[str, Sequence[str]], what: str, beside: Said | None
) -> tuple[ClassSplits, tuple[str, ...]]:
    """The split that a source without an official one has of itself, and what to say of it.

    Where it divides the images of a class, these are joined. Then, and where there is none, a `splits.json` beside the
    source divides the classes, if it has all of them; otherwise all are for testing.

    Args:
        source: folder or file of the source.
        classes: class names.
        found: classes that have images in each split; empty if the source has no splits.
        what: what the splits are, such as `folders`.
        beside: what a `splits.json` beside the source says of it.

    Raises:
        DataError: it names classes that there are not.
    """
    total = [label for labels in found.values() for label in labels]
    if found and len(total) == len(set(total)):
        return {split: tuple(found[split]) for split in SPLITS if split in found}, ()
    note = f"its {what} {', '.join(found)} divide the images of a class, not the classes: they are joined; "
    note *= bool(found)
    if beside and beside.splits:
        check_known(beside.splits, dict.fromkeys(classes, 1), source.resolve().stem)
        rest = sorted({*classes} - {label for labels in beside.splits.values() for label in labels})
        if not rest:
            return beside.splits, (f"{note}its classes are divided as {source.resolve().parent / 'splits.json'} says",)
        note += f"the splits.json beside it says nothing of {len(rest)} classes, such as '{rest[0]}', and is not used; "
    return {"test": tuple(classes)}, (f"{note}all classes are for testing, unless they are given other splits",)
