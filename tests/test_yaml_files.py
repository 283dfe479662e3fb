"""YAML that would take long, or much memory, is refused before it is read."""

from itertools import pairwise
from pathlib import Path

import pytest

from smat.yaml_files import Unreadable, check_yaml, load_yaml, yaml_text

BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"] + [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefgh")]
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [*a]", "line 1: .*a is a part of itself"),
        (BOMB, "at most 100000 values"),
        ("[" * 1000, "50 levels"),
        ("a: 1\n- b", "while parsing"),
        ("a: \x00", "unacceptable character"),
        ("%YAML 9.9\n---\n", "incompatible"),
    ],
)
def test_yaml_that_cannot_be_settings(text: str, says: str) -> None:
    with pytest.raises(Unreadable, match=says) as raised:
        check_yaml(text)
    assert len(str(raised.value)) <= 400


@pytest.mark.parametrize("text", ["", "a: 1", "a: &x [1, 2]\nb: [*x, *x]", "- {a: [b, c]}\n- 3\n"])
def test_other_yaml_is_fine(text: str) -> None:
    check_yaml(text)


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    for content, says in ((b"\xff\xfe", "no text in UTF-8"), (b"a" * (2**20 + 1), "more than 1 MB")):
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=says):
            yaml_text(path)
    path.write_text("when: 2020-99-99")
    with pytest.raises(Unreadable):
        load_yaml(path)
