"""Files and YAML that can be read in little time and memory, whatever they hold."""

from pathlib import Path
from typing import Any

import yaml

from smat.errors import one_line

_LARGEST = 2**20  # bytes of a YAML file; PyYAML reads about as much in a second
_MOST_VALUES, _DEEPEST = 100_000, 50  # of a YAML document, its aliases written out
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_WITH_TUPLES = type("_WithTuples", (_LOADER,), {})  # also knows the tag of Python's tuples, and no other
_WITH_TUPLES.add_constructor("tag:yaml.org,2002:python/tuple", _LOADER.construct_yaml_seq)


class Unreadable(yaml.YAMLError):
    """What is wrong with a file, or with the YAML in it, in one line."""


def read_content(path: Path, largest: int) -> bytes:
    """What a file holds; raises `Unreadable` where it cannot be read or is larger than that, in bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if len(content) > largest:
        raise Unreadable(f"it has more than {largest // 2**20} MB")
    return content


def load_yaml(path: Path, *, tuples: bool = False) -> Any:
    """What a YAML file holds; raises `Unreadable` where it cannot be read.

    Args:
        path: the file.
        tuples: whether Python's tuples, as PyYAML writes them, are read too, as lists.
    """
    try:
        return yaml.load(yaml_text(path), _WITH_TUPLES if tuples else _LOADER)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise Unreadable(one_line(error)) from error


def yaml_text(path: Path) -> str:
    """The text of a YAML file; raises `Unreadable` where it cannot be read, or not in little time."""
    try:
        text = read_content(path, _LARGEST).decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is no text in UTF-8 ({one_line(error)})") from error
    check_yaml(text)
    return text


def check_yaml(text: str) -> None:
    """Raise `Unreadable` for YAML that is none, or that cannot be read in little time and memory.

    That is a document that holds itself, has very many values once its aliases are written out, or is nested deeply. It
    costs one pass over the text.
    """
    sizes: dict[str | None, int] = {}  # by anchor: values, written out
    opened: list[tuple[str | None, int]] = []  # collections: anchor, and the values before them
    count = 0
    try:
        for event in yaml.parse(text, _LOADER):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                if any(anchor == event.anchor for anchor, _ in opened):
                    raise Unreadable(f"line {line}: *{event.anchor} is a part of itself")
                count += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, count))
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = opened.pop()
                count += 1
                sizes[anchor] = count - before
            elif isinstance(event, yaml.ScalarEvent):
                count += 1
                sizes[event.anchor] = 1
            if count > _MOST_VALUES or len(opened) > _DEEPEST:
                raise Unreadable(f"line {line}: settings have at most {_MOST_VALUES} values, and {_DEEPEST} levels")
    except (yaml.YAMLError, RecursionError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable(one_line(error)) from error
