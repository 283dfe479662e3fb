"""The examples of a page of the documentation: files to write, and commands to run.

A block of code whose first line is a comment with a path (`# my_lab/heads.py`) is a file. A `console` block has
commands, each after `$ `, and below each what it prints, with `...` for what differs from run to run.
"""

import doctest
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (?P<path>[\w/.-]+\.\w+)\n")
LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Example:
    """A section of a page.

    Attributes:
        files: what the section writes, by path.
        commands: what it runs, and what that must print; "" where the page does not say.
        loose: blocks of Python or YAML that are no file, so that nothing would run them.
    """

    files: dict[str, str] = field(default_factory=dict)
    commands: list[tuple[str, str]] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)


def examples(page: Path) -> dict[str, Example]:
    """The sections of a page that have examples, by heading."""
    heads = re.split(r"^## (.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {head: example(text) for head, text in zip(["", *heads[1::2]], heads[::2], strict=True)}
    return {head: made for head, made in found.items() if made != Example()}


def example(section: str) -> Example:
    """The blocks of a section."""
    made = Example()
    for block in FENCE.finditer(section):
        language, text = block["language"], block["text"]
        name = FILE.match(text)
        if language == "console":
            made.commands += commands(text)
        elif name:
            made.files[name["path"]] = text
        elif language in ("python", "yaml"):
            made.loose.append(text)
    return made


def commands(text: str) -> list[tuple[str, str]]:
    """Commands and what each prints."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", text, flags=re.MULTILINE)
    if parts[0].strip():
        raise ValueError(f"a console block begins with a command after '$ ', not with: {parts[0]}")
    return list(zip(parts[1::2], parts[2::2], strict=True))


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files into a folder."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def differs(expected: str, printed: str) -> str:
    """How what was printed differs from what the page shows; "" if it does not, or the page shows nothing."""
    if not expected.strip() or doctest.OutputChecker().check_output(expected, printed, LIKE):
        return ""
    return f"the page shows:\n{expected}\nbut this was printed:\n{printed}"
