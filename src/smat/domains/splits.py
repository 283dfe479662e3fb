"""Which classes are for training, for validation and for testing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smat.domains.domain import ROLES, SPLITS, Role
from smat.errors import ConfigError, DataError
from smat.rng import numpy_generator
from smat.schema import read_json

ClassSplits = dict[str, tuple[str, ...]]
Fractions = tuple[float, float, float]


class Said(NamedTuple):
    """What a splits file says of a domain: class splits, role, and the pattern of its tracks where it has one."""

    splits: ClassSplits
    role: Role
    tracks: str | None


def read_splits(path: str | Path, name: str) -> Said:
    """A domain's class splits, role and tracks from a splits file.

    The file is JSON: `{domain: {"role": "id" | "ood" | "validation", "tracks": pattern, "train": [class names], "val":
    [...], "test": [...]}}`; each of them may be left out.

    Raises:
        DataError: no such file, no JSON of this form, or no such domain in it.
    """
    content = _read_json(Path(path))
    if name not in content:
        raise DataError(
            f"'{path}' has no domain '{name}'; it has {', '.join(sorted(content)) or 'none'}. Give the "
            "domain one of these names (by default it has that of its file or folder), or add it to the file"
        )
    entry = content[name]
    lists: dict[str, Any] = dict(entry) if isinstance(entry, dict) else {"": None}
    role, tracks = lists.pop("role", ""), lists.pop("tracks", None)
    named = all(_is_names(value) for value in lists.values())
    if role not in ROLES or not isinstance(tracks, str | None) or not named:
        raise DataError(
            f"'{path}' says of domain '{name}' something that is no class split; expected "
            '{"role": "id", "ood" or "validation", "tracks": pattern, "train": [class names], "val": [...], "test": '
            "[...]}"
        )
    return Said({split: tuple(classes) for split, classes in lists.items()}, role, tracks)


def splits_beside(source: Path, name: str) -> Said | None:
    """What a `splits.json` next to a file or folder says of a domain; None if it says nothing."""
    path = source.resolve().parent / "splits.json"
    return read_splits(path, name) if path.is_file() and name in _read_json(path) else None


def draw_splits(names: Sequence[str], fractions: Fractions, seed: int) -> ClassSplits:
    """Classes divided at random: a function of the class names, the fractions and the seed.

    Args:
        names: class names.
        fractions: shares of training, validation and test classes, which sum to 1.
        seed: random seed, 0 or more.

    Raises:
        ConfigError: fractions that are no shares.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(
            f"fractions are {fractions}; give three shares for train, val and test that sum to 1, such as "
            "[0.6, 0.15, 0.25]"
        )
    order = numpy_generator(seed, "class split").permutation(sorted(names)).tolist()
    first, second = round(len(order) * fractions[0]), round(len(order) * (fractions[0] + fractions[1]))
    parts = order[:first], order[first:second], order[second:]
    return {split: tuple(sorted(part)) for split, part in zip(SPLITS, parts, strict=True)}


def check_known(splits: Mapping[str, Sequence[str]], counts: Mapping[str, int], name: str) -> None:
    """Raise a `DataError` for classes of a split that the data do not have.

    Args:
        splits: class names of each split.
        counts: number of images of each class in the data.
        name: name of the domain.
    """
    for split, classes in splits.items():
        missing = [f"'{label}'" for label in classes if not counts.get(label)]
        if missing:
            raise DataError(
                f"the {split} split of domain '{name}' names classes without images in the data: "
                f"{', '.join(missing)}; the data have {len(counts)} classes, such as "
                f"{', '.join(sorted(counts)[:3])}. "
                "Correct the names or take these out of the split"
            )


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, dict, DataError, "Give a splits file: an object with one entry per domain")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
