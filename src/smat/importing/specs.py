"""What the Meta-Dataset converter writes beside its records: `dataset_spec.json`, of all three kinds."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeAlias

from smat.domains.hierarchy import Hierarchy
from smat.errors import DataError

SPECIFICATION = "dataset_spec.json"
_SPLITS = {"TRAIN": "train", "VALID": "val", "TEST": "test"}
_ENOUGH = 2**28  # bytes; the largest official one has a third of a million


@dataclass(frozen=True)
class Specification:
    """A dataset's classes, as its specification has them.

    Attributes:
        name: name of the dataset.
        classes: class names by class number, ascending; the number is the label in the records.
        images: number of images that a class should have, by class number; without an entry it is not said.
        splits: class names by `train`, `val` and `test`.
        hierarchy: alphabets of characters, or the graph of concepts; None for a plain dataset.
        sharded: whether a class has files `{number}_{shard}` instead of one file `{number}`.
    """

    name: str
    classes: Mapping[int, str]
    images: Mapping[int, int]
    splits: Mapping[str, tuple[str, ...]]
    hierarchy: Hierarchy | None = None
    sharded: bool = False


def read_specification(path: Path) -> Specification:
    """The specification in a `dataset_spec.json`: plain, of two levels (Omniglot) or a graph (ImageNet).

    In the first two, classes are numbered through: those of `train` first, then `val`, then `test`. In a graph the
    classes are the leaves, and `class_names` says their numbers.

    Raises:
        DataError: it cannot be read, is none, or contradicts itself.
    """
    try:
        if path.stat().st_size > _ENOUGH:
            raise _Wrong(f"it has {path.stat().st_size} bytes, far more than any specification")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise _Wrong("it is no JSON object")
        json.dumps(content, ensure_ascii=False).encode()  # halves of characters are valid JSON, but no text
        kind = content.get("__class__")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise _Wrong(f"its '__class__' is {kind!r}; it should be one of {', '.join(_KINDS)}")
        name = content.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w .+-]*", name):
            raise _Wrong(f"its 'name' is {name!r}; it should be one that a folder can have, such as 'aircraft'")
        pattern = content.get("file_pattern")
        if pattern not in ("{}.tfrecords", "{}_{}.tfrecords"):
            raise _Wrong(
                f"its 'file_pattern' is {pattern!r}; it should be '{{}}.tfrecords', or '{{}}_{{}}.tfrecords' "
                "where a class has several files"
            )
        classes, images, splits, hierarchy = _KINDS[kind](content)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, _Wrong) else f"it is no JSON ({error})"
        raise DataError(
            f"'{path}' is no specification of a dataset: {problem}. Take the one that the Meta-Dataset converter wrote "
            "with these records"
        ) from error
    return Specification(name, classes, images, splits, hierarchy, sharded=pattern != "{}.tfrecords")


class _Wrong(ValueError):
    """What is wrong with a specification."""


_Parts: TypeAlias = tuple[dict[int, str], dict[int, int], dict[str, tuple[str, ...]], Hierarchy | None]


def _plain(content: dict[str, Any]) -> _Parts:
    sizes = {
        split: _whole(size, "classes_per_split") for split, size in _by_split(content, "classes_per_split").items()
    }
    classes = _distinct(_names(content, "class_names", sum(sizes.values())))
    splits = _cut([classes[number] for number in range(len(classes))], sizes)
    return classes, _images(_mapping(content, "images_per_class"), classes), splits, None


def _two_levels(content: dict[str, Any]) -> _Parts:
    sizes = {
        split: _whole(size, "superclasses_per_split")
        for split, size in _by_split(content, "superclasses_per_split").items()
    }
    groups = _distinct(_names(content, "superclass_names", sum(sizes.values())))
    found = _by_number(content, "classes_per_superclass", len(groups))
    members = {group: _whole(found[number], "classes_per_superclass") for number, group in groups.items()}
    names = _names(content, "class_names", sum(members.values()))
    start = 0
    for group, size in members.items():  # "Greek-character01" of "Greek", as the converter calls it
        for number in range(start, start + size):
            if names[number].startswith(f"{group}-"):
                names[number] = f"{group}/{names[number][len(group) + 1 :]}"
        start += size
    classes = _distinct(names)
    inside = _cut([classes[number] for number in range(len(classes))], members)
    tree = {split: {group: inside[group] for group in some} for split, some in _cut(list(members), sizes).items()}
    splits = {split: tuple(name for group in some.values() for name in group) for split, some in tree.items()}
    return classes, _images(_mapping(content, "images_per_class"), classes), splits, Hierarchy("groups", tree)


def _graph(content: dict[str, Any]) -> _Parts:
    classes = _names(content, "class_names", len(_mapping(content, "class_names")))
    numbers = {name: number for number, name in classes.items()}
    if len(numbers) < len(classes):
        raise _Wrong("its 'class_names' has a name twice")
    counted = _by_split(content, "images_per_class")
    images: dict[int, int] = {}
    owner: dict[str, str] = {}
    tree: dict[str, dict[str, tuple[str, ...]]] = {}
    for split, nodes in _by_split(content, "split_subgraphs").items():
        spans, words = _spans(nodes, split)
        for leaf in (node for node, below in spans.items() if below == {node}):
            if leaf not in numbers:
                raise _Wrong(f"its {split} graph has the leaf '{leaf}', which is not in 'class_names'")
            if leaf in owner:
                raise _Wrong(f"its {owner[leaf]} and {split} graphs both have the leaf '{leaf}'")
            owner[leaf] = split
            if not isinstance(counted[split], dict):
                raise _Wrong(f"its 'images_per_class' has no numbers for {split}")
            if leaf in counted[split]:
                images[numbers[leaf]] = _whole(counted[split][leaf], "images_per_class")
        tree[split] = {
            f"{node} {words[node]}".strip(): tuple(sorted(below, key=numbers.__getitem__))
            for node, below in spans.items()
            if below != {node}
        }
    lost = sorted(numbers.keys() - owner.keys())
    if lost:
        raise _Wrong(f"its class '{lost[0]}' is no leaf of any split's graph")
    splits = {split: tuple(name for name in classes.values() if owner[name] == split) for split in tree}
    return classes, images, splits, Hierarchy("graph", tree)


_KINDS = {
    "DatasetSpecification": _plain,
    "BiLevelDatasetSpecification": _two_levels,
    "HierarchicalDatasetSpecification": _graph,
}


def _spans(nodes: Any, split: str) -> tuple[dict[str, set[str]], dict[str, str]]:
    """The leaves that each node of a graph spans (a leaf: itself), and the nodes' words."""
    down: dict[str, set[str]] = {}
    up: dict[str, set[str]] = {}
    words: dict[str, str] = {}
    for node in nodes if isinstance(nodes, list) else [None]:
        if not isinstance(node, dict) or not isinstance(node.get("wn_id"), str):
            raise _Wrong(f"its {split} graph should be a list of nodes with a 'wn_id'")
        name = node["wn_id"]
        if name in down:
            raise _Wrong(f"its {split} graph has the node '{name}' twice")
        for key, links in (("children_ids", down), ("parents_ids", up)):
            others = node.get(key)
            if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
                raise _Wrong(f"its node '{name}' should have a list of names as '{key}'")
            links[name] = set(others)
        words[name] = str(node.get("words", ""))
    for name, children in down.items():
        for child in children:
            if child not in down:
                raise _Wrong(f"its node '{name}' has the child '{child}', which the {split} graph does not have")
            if name not in up[child]:
                raise _Wrong(f"its node '{name}' has the child '{child}', which does not have it as a parent")
        for parent in up[name]:
            if name not in down.get(parent, ()):
                raise _Wrong(f"its node '{name}' has the parent '{parent}', which does not have it as a child")
    spans: dict[str, set[str]] = {}
    try:
        for name in TopologicalSorter(down).static_order():
            spans[name] = set().union(*(spans[child] for child in down[name])) or {name}
    except CycleError as error:
        raise _Wrong(f"its {split} graph goes round in a circle: {' -> '.join(error.args[1])}") from error
    return {name: spans[name] for name in down}, words


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise _Wrong(f"its '{key}' should be a JSON object")
    return value


def _by_split(content: dict[str, Any], key: str) -> dict[str, Any]:
    """Values by `train`, `val` and `test`, in this order; the file calls them by name or by number."""
    value = _mapping(content, key)
    names = {str(place): split for place, split in enumerate(_SPLITS.values())} | _SPLITS
    if sorted(names.get(name, "") for name in value) != sorted(_SPLITS.values()):
        raise _Wrong(f"its '{key}' has {', '.join(value) or 'nothing'}; it should have {', '.join(_SPLITS)}")
    found = {names[name]: item for name, item in value.items()}
    return {split: found[split] for split in _SPLITS.values()}


def _by_number(content: dict[str, Any], key: str, count: int) -> dict[int, Any]:
    """Values by number, ascending, of which there must be 0 to count-1."""
    value = _mapping(content, key)
    if len(value) != count:
        raise _Wrong(f"its '{key}' has {len(value)} entries; by its other numbers there should be {count}")
    lost = next((number for number in range(count) if str(number) not in value), None)
    if lost is not None:
        raise _Wrong(f"its '{key}' has no entry '{lost}'; it should have 0 to {count - 1}")
    return {number: value[str(number)] for number in range(count)}


def _whole(value: Any, key: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _Wrong(f"its '{key}' has {value!r}, which is no number of things")
    return value


def _images(counts: dict[str, Any], classes: Mapping[int, str]) -> dict[int, int]:
    """Images by class number; where the source has pools of a class's images: of all pools."""
    numbers = {str(number): number for number in classes}
    images: dict[int, int] = {}
    for key, count in counts.items():
        if key not in numbers:
            raise _Wrong(f"its 'images_per_class' has class '{key}'; there are 0 to {len(classes) - 1}")
        pools = count.values() if isinstance(count, dict) else [count]
        images[numbers[key]] = sum(_whole(pool, "images_per_class") for pool in pools)
    return images


def _names(content: dict[str, Any], key: str, count: int) -> dict[int, str]:
    """Names by number; the official ones of traffic signs are whole numbers."""
    names = _by_number(content, key, count)
    if not names:
        raise _Wrong("it has no classes")
    if not all(isinstance(name, str | int) for name in names.values()):
        raise _Wrong(f"its '{key}' should have strings")
    return {number: str(name) for number, name in names.items()}


def _distinct(names: Mapping[int, str]) -> dict[int, str]:
    """Names, each once: those that several share get their numbers."""
    times = Counter(names.values())
    distinct = {number: name if times[name] == 1 else f"{name} ({number})" for number, name in names.items()}
    if len(set(distinct.values())) < len(distinct):
        raise _Wrong("it has a class name twice")
    return distinct


def _cut(names: Sequence[str], sizes: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Names divided into consecutive runs of the given sizes."""
    runs: dict[str, tuple[str, ...]] = {}
    start = 0
    for key, size in sizes.items():
        runs[key] = tuple(names[start : start + size])
        start += size
    return runs
