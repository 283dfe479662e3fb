"""Files and settings become objects, or one error that names file, key, what was found and what was expected."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from smat.errors import CheckpointError, ConfigError, DataError
from smat.schema import (
    Count,
    Finite,
    NotNegative,
    Number,
    Positive,
    Range,
    Share,
    check_setting,
    check_settings,
    checked,
    checked_arguments,
    from_plain,
    parse_json,
    read_json,
    read_yaml,
)

ADVICE = "Write it again"


@dataclass(frozen=True)
@checked("box")
class Box:
    side: Positive = 1.0
    corners: tuple[Finite, Finite] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.corners[0] > self.corners[1]:
            raise ConfigError(f"box.corners is {self.corners}; give the lower one first")


@dataclass(frozen=True)
class Shelf:
    name: str
    boxes: list[Box]
    kind: Literal["open", "closed"] = "open"
    depth: Count | None = None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": None}, "name is null; expected a text"),
        ({"boxes": 3}, "boxes is 3; expected a list"),
        ({"boxes": [{"side": 0}]}, "boxes.0.side is 0; expected above 0"),
        ({"boxes": [{"corners": [1]}]}, "boxes.0.corners.1 is missing"),
        ({"boxes": [{"corners": [2, 1]}]}, "give the lower one first"),
        ({"kind": "shut"}, "kind is 'shut'; expected 'open' or 'closed'"),
        ({"depth": 1.5}, "depth is 1.5; expected a whole number"),
        ({"depth": True}, "depth is true; expected a whole number"),
        ({"depth": 10**30}, "depth is 1000.*; expected 1 or more"),
        ({"height": 1}, "height is not known to this version of smat; a newer smat may have written it"),
        ({"name": "x" * 10_000, "kind": "x" * 10_000}, "kind is 'xxx"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "shelf.json"
    path.write_text(json.dumps({"name": "a", "boxes": []} | change))
    with pytest.raises(DataError, match=rf"'.*shelf.json' cannot be used: .*{says}.*\. Write it again$") as raised:
        read_json(path, Shelf, DataError, ADVICE)
    assert len(str(raised.value)) < 500


def test_what_fits_is_an_object_of_the_schema() -> None:
    said = parse_json('{"name": "a", "boxes": [{"side": 2, "corners": [0, 3]}]}', Shelf, "it", DataError, ADVICE)
    assert said == Shelf("a", [Box(2.0, (0.0, 3.0))])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is no JSON"),
        (b'{"name": ', "it is no JSON .*line 1 column"),
        (b"\xff\xfe{}", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON .*recursion limit"),
        (b"[]", "it is .*expected settings by name"),
        (b"{}", "name is missing; boxes is missing"),
    ],
)
def test_what_is_no_json_of_that_kind_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(CheckpointError, match=f"line 3 cannot be used: {says}"):
        parse_json(content, Shelf, "line 3", CheckpointError, ADVICE)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=rf"'{path}' cannot be read: .*\. Write it again"):
            read_json(path, dict, DataError, ADVICE)
        with pytest.raises(DataError, match=rf"'{path}' cannot be used: .*\. Write it again"):
            read_yaml(path, dict, DataError, ADVICE)


def test_yaml_is_checked_as_json_is(tmp_path: Path) -> None:
    path = tmp_path / "shelf.yaml"
    path.write_text("name: a\nboxes: [{side: 2.5}]\n")
    assert read_yaml(path, Shelf, DataError, ADVICE) == Shelf("a", [Box(2.5)])
    for text, says in (
        ("name: 1\nboxes: []", "name is 1"),
        ("{", "while parsing"),
        ("name: 2020-01-01\nboxes: []", "date"),
        ("", "null"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=f"cannot be used: .*{says}"):
            read_yaml(path, Shelf, DataError, ADVICE)


def test_alternatives_are_told_together() -> None:
    @dataclass
    class Either:
        value: str | int

    with pytest.raises(DataError, match=r"^value is null; expected a text or a whole number$"):
        from_plain({"value": None}, Either, "", DataError)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Count, [1, 2**31 - 1], [0, -1, 2**31, 1.0, "1", None, True]),
        (Number, [0], [-1]),
        (Share, [0, 0.5, 1.0], [-0.1, 1.1, float("nan")]),
        (Positive, [1e-9, 3], [0.0, float("inf"), float("nan")]),
        (NotNegative, [0.0], [-1e-9]),
        (Finite, [-1e300], [float("-inf")]),
        (Annotated[float, Range(0, 1, below=True)] | None, [0.0, None], [1.0]),
        (tuple[float, ...], [(1.0, 2.0), [1.0]], [("a",), 1.0]),
    ],
)
def test_ranges(annotation: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check_setting("it", value, annotation)
    for value in bad:
        with pytest.raises(ConfigError, match=r"^it(\.0)? is .*; expected "):
            check_setting("it", value, annotation)


def test_dataclasses_and_functions_check_what_they_are_given() -> None:
    @checked_arguments
    def build(boxes: Count, *, depth: Count | None = None) -> int:
        return boxes

    assert build(2) == 2
    with pytest.raises(ConfigError, match=r"^boxes is 0; expected 1 or more"):
        build(0)
    with pytest.raises(ConfigError, match=r"^depth is -1; expected 1 or more"):
        build(1, depth=-1)
    with pytest.raises(ConfigError, match=r"^box\.side is -1\.0; expected above 0"):
        Box(-1.0)


def test_settings_are_checked_by_their_place() -> None:
    @dataclass
    class Room:
        box: Box = Box()
        shelf: str = ""

    def check(**settings: Any) -> None:
        check_settings(settings, Room, lambda place: f"mine.yaml: {place}")

    check(box={"side": 1.0}, shelf="a")
    for settings, says in (
        ({"box": 5}, "box is 5; expected settings by name"),
        ({"box": {"side": None}}, r"box\.side is null; expected a number"),
        ({"box": {"side": -1}}, r"box\.side is -1; expected above 0"),
        ({"shelf": "a" * 300}, "shelf is .* at most 255 bytes"),
    ):
        with pytest.raises(ConfigError, match=f"^mine.yaml: {says}"):
            check(**settings)
