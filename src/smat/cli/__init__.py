"""The command line: one function of `smat.recipes` for each command."""

import argparse
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import fields
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from smat.cli.commands import command_of
from smat.cli.parser import build_parser, recipe_of, settings_of, with_settings_of_run
from smat.cli.report import Report
from smat.errors import SmatError, SomethingWrong
from smat.files import check_writable
from smat.left_out import collecting
from smat.options import instantiated, underscored
from smat.signals import StopSignals

_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h


def _run(arguments: list[str], report: Report) -> None:
    used, group = command_of(arguments)
    parser = build_parser(used, group)
    given = [underscored(a) for a in arguments]
    if used == "train":
        given = with_settings_of_run(given)
    recipe = recipe_of(used) if used else None
    kinds = [recipe, *settings_of(recipe).values()] if recipe else []
    options = instantiated(parser, given[1:] if group else given, _config_files(given), *kinds)
    values = vars(options[options["command"]])
    assert used, "without a command, the parser has ended this"
    assert recipe
    report.command = used
    del values["config"]
    if file := values.pop("json"):
        report.path = check_writable(file, "--json")
    if "allow_import" in values:
        values["allow_imports"] = values.pop("allow_import")
    for name, kind in settings_of(recipe).items():
        values[name] = kind(**{f.name: values.pop(f.name) for f in fields(kind)})
    report.settings = values
    report.result = recipe(**values)
    report.complete = True


def _config_files(arguments: list[str]) -> list[str]:
    """The files that settings come from."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    known.add_argument("--config", "--method", dest="files", action="append", default=[])
    try:
        given, _ = known.parse_known_args(arguments)
    except argparse.ArgumentError:  # an option without its value, which the parser says in turn
        return []
    return [name for name in given.files if os.path.isfile(name)]


def _carry_out(arguments: list[str], console: Console) -> None:
    """Run a command; at its end one line for each reason that something was not used for, and `--json`."""
    report = Report()
    try:
        with collecting() as report.left_out:
            _run(arguments, report)
    except BaseException as error:
        report.error = str(error) or type(error).__name__
        report.complete = isinstance(error, SomethingWrong)
        report.result = getattr(error, "result", None)
        _say_what_was_left_out(report, console)
        try:
            report.write()
        except SmatError as unwritten:  # how the command ended is said last
            _say(console, "[bold red]Error:[/] ", str(unwritten))
        raise
    _say_what_was_left_out(report, console)
    report.write()


def _say_what_was_left_out(report: Report, console: Console) -> None:
    for entry in report.left_out:
        console.print(f"[yellow]{escape(str(entry))}[/]", highlight=False, soft_wrap=True)


def _say(console: Console, mark: str, text: str) -> None:
    console.print(f"{mark}{escape(text)}", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    The exit status is 2 after a mistake of the user's, 130 after an interruption (Ctrl-C) and 143 after SIGTERM, 1
    where something is wrong that a command was asked to look for, and 70 after an error of smat's own, whose traceback
    is kept in a file. Classes named by import path may lie in the current folder.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it hides nothing; worker processes get the path from this one
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("smat").setLevel(logging.INFO)
    console = Console(stderr=True)
    stop = StopSignals(raising=True)
    try:
        with stop:
            _carry_out(arguments, console)
    except SomethingWrong as error:
        _say(console, "[bold red]", f"{error}")
        raise SystemExit(1) from error
    except SmatError as error:
        _say(console, "[bold red]Error:[/] ", str(error))
        raise SystemExit(2) from error
    except KeyboardInterrupt as interruption:
        if stop.asked:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more changes nothing while Python ends
        _say(console, "", f"\nStopped. {interruption}".rstrip())
        raise SystemExit(128 + (stop.asked or signal.SIGINT)) from interruption
    except Exception as error:
        _end_unexpectedly(error, console)


def _end_unexpectedly(error: Exception, console: Console) -> NoReturn:
    """Say an error of smat's own in a line, and keep its traceback."""
    what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="smat-", suffix=".txt", delete=False, errors="replace") as file:
            traceback.print_exception(error, file=file)
        where = f"The traceback is in {file.name}"
    except OSError:
        traceback.print_exception(error)
        where = "The traceback is above"
    _say(console, "[bold red]Unexpected error:[/] ", f"{what}. {where}; please report it with the command")
    raise SystemExit(_UNEXPECTED) from error
