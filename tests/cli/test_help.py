"""What `--help` and `--help-all` show, and that every text of theirs can be read alone."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from smat.cli import main
from smat.cli.commands import COMMANDS
from smat.cli.parser import build_parser, recipe_of, texts_of
from smat.plugins import Plugin

# Beginnings of a text that only makes sense after the name of its option.
FRAGMENT = re.compile(
    r"(of|in|for|from|to|on|at|by|with|within|as|that|those|these|this|its|their|them|they|whose|another|how|which"
    r"|likewise|also|the same|than)\b",
    re.IGNORECASE,
)


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["--help"], capsys)
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command_teaches_by_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "--help-all"):
        text = shown([*name.split(), option], capsys)
        assert COMMANDS[name].example.splitlines()[0] in text
        assert text.startswith(f"usage: smat {name} [options]")
        assert "(default: None)" not in text
        options = [line for line in text.splitlines() if line.startswith("  --")]
        assert not [option for option in options if "_" in option.split()[0]]
        alone = [
            option
            for option, below in pairwise([*text.splitlines(), ""])
            if option.startswith("  --") and "  " not in option.strip() and not below.startswith(20 * " ")
        ]
        assert alone == []


@pytest.mark.parametrize("name", sorted(name for name, command in COMMANDS.items() if command.basic))
def test_short_help_shows_what_is_used_most(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    short, full = shown([*name.split(), "--help"], capsys), shown([*name.split(), "--help-all"], capsys)
    options = [re.findall(r"^  (?:-h, )?(--[\w.-]+)", text, flags=re.MULTILINE) for text in (short, full)]
    assert options[0] == [f"--{option.replace('_', '-')}" for option in COMMANDS[name].basic]
    assert set(options[0]) < set(options[1])
    assert f"{len(options[0])} of " in short
    assert "--help-all" in short


@pytest.mark.parametrize("name", sorted(name for name, command in COMMANDS.items() if not command.basic))
def test_a_command_of_few_options_shows_all(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown([*name.split(), "--help"], capsys)
    assert len(re.findall("^  --", text, flags=re.MULTILINE)) <= 15
    assert text == shown([*name.split(), "--help-all"], capsys)


def test_help_says_what_happens_without_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(["evaluate", "--help-all"], capsys).split())
    assert "--steps STEPS number of fine-tuning steps. (default: 50)" in text
    assert "(default: False)" not in text


def settings_in(annotation: Any) -> Iterator[type]:
    """The classes of settings that an annotation leads to: dataclasses, nested ones too, and smat's own plug-ins."""
    for part in typing.get_args(annotation):
        yield from settings_in(part)
    if isinstance(annotation, type) and issubclass(annotation, Plugin):
        if annotation.__module__.startswith("smat.") and not inspect.isabstract(annotation):
            yield annotation
        for kind in annotation.__subclasses__():
            yield from settings_in(kind)
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
        for hint in typing.get_type_hints(annotation).values():
            yield from settings_in(hint)


def texts(name: str) -> dict[str, str | None]:
    """Every text of a command's help, and of all settings that can be reached from it, by where it stands."""
    group, _, _ = name.rpartition(" ")
    parser = build_parser(name, group or None)
    child = parser._subparsers._group_actions[0].choices[name.removeprefix(f"{group} ")]  # type: ignore[union-attr]
    found = {f"{name} --{action.dest}": action.help for action in child._actions}
    recipe = recipe_of(name)
    for hint in (hint for parameter, hint in typing.get_type_hints(recipe).items() if parameter != "return"):
        for kind in settings_in(hint):
            own, settings = texts_of(kind), inspect.signature(kind.__init__).parameters.values()
            named = [p.name for p in settings if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self"]
            found |= {f"{kind.__name__}.{setting}": own.get(setting) for setting in named}
    return found


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_text_can_be_read_alone(name: str) -> None:
    bad = {where: text for where, text in texts(name).items() if not text or FRAGMENT.match(text)}
    assert not bad
