"""The command line: one function of `smat.recipes` for each command."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.markup import escape

from smat.cli.commands import command_of
from smat.cli.parser import build_parser, recipe_of, settings_of
from smat.errors import SmatError, SomethingWrong
from smat.left_out import LeftOut, collecting
from smat.options import instantiated, underscored


def _run(arguments: list[str]) -> Any:
    used, group = command_of(arguments)
    parser = build_parser(used, group)
    given = [underscored(a) for a in arguments]
    recipe = recipe_of(used) if used else None
    kinds = [recipe, *settings_of(recipe).values()] if recipe else []
    options = instantiated(parser, given[1:] if group else given, _config_files(given), *kinds)
    values = vars(options[options["command"]])
    assert recipe  # without a command, the parser has ended this
    del values["config"]
    if "allow_import" in values:
        values["allow_imports"] = values.pop("allow_import")
    for name, kind in settings_of(recipe).items():
        values[name] = kind(**{f.name: values.pop(f.name) for f in fields(kind)})
    return recipe(**values)


def _config_files(arguments: list[str]) -> list[str]:
    """The files that settings come from."""
    named = [value for option, value in pairwise(arguments) if option == "--config"]
    named += [argument.removeprefix("--config=") for argument in arguments if argument.startswith("--config=")]
    return [name for name in named if "\n" not in name and not name.lstrip().startswith("{")]


@contextmanager
def _saying_what_was_left_out(console: Console) -> Iterator[None]:
    """One line for each reason that something was not used for, at the end."""
    entries: list[LeftOut] = []
    try:
        with collecting() as entries:
            yield
    finally:
        for entry in entries:
            console.print(f"[yellow]{escape(str(entry))}[/]", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    A mistake of the user's ends in a message and exit status 2, an interruption in 130, and something wrong that a
    command was asked to look for in 1. Classes named by import path may lie in the current folder.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it hides nothing; worker processes get the path from this one
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("smat").setLevel(logging.INFO)
    console = Console(stderr=True)
    try:
        with _saying_what_was_left_out(console):
            _run(arguments)
    except SomethingWrong as error:
        console.print(f"[bold red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
        raise SystemExit(1) from error
    except SmatError as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt as interruption:
        console.print(f"\nStopped. {interruption}".rstrip(), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(130) from interruption
