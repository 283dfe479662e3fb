"""The parser: a command's options from the signature and the docstring of its recipe."""

import argparse
import importlib
import inspect
from argparse import SUPPRESS, Action
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, get_origin

import docstring_parser
from jsonargparse import ArgumentParser

import smat
from smat.cli.commands import COMMANDS, GROUPS
from smat.cli.help import HelpFormatter
from smat.errors import ConfigError
from smat.options import YAML, paired, readable
from smat.plugins import plain


class CommandParser(ArgumentParser):
    """A parser whose help shows what people use most, and whose errors are smat's.

    Attributes:
        basic: options that the short help shows; none: all of them.
        command: the command that is used, as it is typed.
    """

    basic: Sequence[str] = ()
    command: str = "smat"

    def __init__(self, *, formatter_class: type[argparse.HelpFormatter] = HelpFormatter, **settings: Any) -> None:
        super().__init__(**{"formatter_class": formatter_class, "parser_mode": YAML} | settings)

    def format_help(self, formatter: Any = None) -> str:
        """Help with the basic options, where they are a choice."""
        groups = self._action_groups
        options = {action.dest: action for action in self._actions if action.option_strings}
        if self.basic:
            positional, chosen = copy(groups[0]), copy(groups[1])
            positional._group_actions = [action for action in self._actions if not action.option_strings]
            chosen._group_actions = [options[name] for name in self.basic]
            chosen.title = f"options ({len(self.basic)} of {len(options)}; --help-all shows the others)"
            self._action_groups = [positional, chosen]
        try:
            return super().format_help(formatter)
        finally:
            self._action_groups = groups

    def parse_args(self, args: Sequence[str] | None = None, *others: Any, **settings: Any) -> Any:
        """Parse arguments, in which an option of two values has them one after the other."""
        return super().parse_args(None if args is None else paired(args), *others, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a `ConfigError`."""
        if not self.exit_on_error:  # a parser within another, which says it in turn
            raise argparse.ArgumentError(None, message) from ex
        raise ConfigError(f"{readable(message)}\nOptions are explained by: {self.command} --help") from ex


class _HelpAll(Action):
    """Shows all options."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, SUPPRESS, nargs=0, default=SUPPRESS, help="show all options and exit")

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.basic = ()
        parser.print_help()
        parser.exit()


class _Method(Action):
    """Lays a method's files over what was given before it, as `--config` would."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from smat.metatuning.methods import method_files

        config = next(action for action in parser._actions if action.dest == "config")
        for path in method_files(values, *(str(base) for base in namespace.get("config") or ())):
            config(parser, namespace, str(path))


def build_parser(used: str | None = None, group: str | None = None) -> CommandParser:
    """The parser of all commands; only the one that is used gets its arguments, so that the others import nothing.

    Args:
        used: the command that is used.
        group: first word of the commands to show, by their second; None: all of them.
    """
    parser = CommandParser(
        prog=f"smat {group}" if group else "smat",
        description=GROUPS.get(group or ""),
        epilog=f"Every command explains itself: smat {'data import' if group else 'evaluate'} --help",
        version=smat.__version__,
    )
    parser.command = f"smat {used or group or ''}".rstrip()
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    shown = {name: name.removeprefix(f"{group} ") for name in COMMANDS if not group or name.startswith(f"{group} ")}
    for name, command in ((name, COMMANDS[name]) for name in shown):
        child = CommandParser(
            description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\nfor example:\n  {command.example}",
        )
        if name == used:
            child.basic, child.command = command.basic, parser.command
            _add_arguments(child, name)
        commands.add_subcommand(shown[name], child, help=command.summary)
    return parser


def recipe_of(name: str) -> Callable[..., Any]:
    """A command's function."""
    module, _, function = COMMANDS[name].function.partition(":")
    return getattr(importlib.import_module(f"smat.recipes.{module}"), function)


def with_settings_of_run(arguments: list[str]) -> list[str]:
    """The arguments of `train`; a run that is resumed has its own settings where none are given as a file or method."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    known.add_argument("--out")
    known.add_argument("--resume", action="store_true")
    known.add_argument("--config")
    known.add_argument("--method")
    try:
        given, _ = known.parse_known_args(arguments)
    except argparse.ArgumentError:  # which the command's own parser says better
        return arguments
    settings = Path(given.out or "", "config.yaml")
    if not given.resume or not given.out or given.config or given.method or not settings.exists():
        return arguments
    place = arguments.index("train") + 1
    return [*arguments[:place], f"--config={settings}", *arguments[place:]]


def settings_of(recipe: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a recipe that are dataclasses of settings, whose fields are options of the command."""
    parameters = inspect.signature(recipe, eval_str=True).parameters.values()
    return {p.name: p.annotation for p in parameters if is_dataclass(p.annotation)}


def texts_of(documented: Any) -> dict[str, str | None]:
    """What docstrings say of the parameters of a function, or of the attributes of a class and its bases."""
    sources = reversed(documented.__mro__) if isinstance(documented, type) else [documented]
    parsed = (docstring_parser.parse(source.__doc__ or "") for source in sources)
    return {p.arg_name: p.description for docstring in parsed for p in docstring.params}


def _add_arguments(parser: CommandParser, name: str) -> None:
    """The recipe's parameters: those before its `*` by position, switches as flags, dataclasses as their settings."""
    recipe = recipe_of(name)
    parameters = inspect.signature(recipe, eval_str=True).parameters
    settings = settings_of(recipe)
    lists = {
        p.name: "+" if p.default is p.empty else "*"
        for p in parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD and get_origin(p.annotation) is list
    }
    switches = {p.name: texts_of(recipe).get(p.name) for p in parameters.values() if p.default is False}
    parser.add_argument("--help_all", action=_HelpAll)
    parser.add_argument("--config", action="config", help="YAML file of settings; those given after it override it")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=str,
        help="JSON file for programs: the settings, what the command found, and what was left out and why",
    )
    if name == "train":
        parser.add_argument(
            "--method",
            action=_Method,
            metavar="NAME",
            default=SUPPRESS,
            help="method whose settings are laid over those given before it (of BASE.yaml also BASE/NAME.yaml): one of "
            "`smat methods`, or a YAML file of your own",
        )
    optional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is None]
    for parameter in optional:
        text = texts_of(recipe).get(parameter.name)
        parser.add_argument(parameter.name, nargs="?", type=parameter.annotation, help=text)
    skipped: set[str | int] = {*settings, *lists, *switches, *(p.name for p in optional), "allow_imports"}
    parser.add_function_arguments(recipe, as_group=False, as_positional=True, skip=skipped)
    for parameter, kind in settings.items():
        own = {f.name: texts_of(kind).get(f.name) for f in fields(kind) if f.default is False}
        given = parameters[parameter].default
        defaults = {} if given is inspect.Parameter.empty else plain(given)
        shown = {name: value for name, value in defaults.items() if name not in own}
        parser.add_class_arguments(kind, as_group=False, skip={*own}, default=shown)
        switches |= own
    for parameter, nargs in lists.items():
        parser.add_argument(parameter, nargs=nargs, type=str, help=texts_of(recipe).get(parameter))
    for flag, text in switches.items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    if "allow_imports" in parameters:
        parser.add_argument(
            "--allow_import",
            action="append",
            default=[],
            metavar="NAME",
            help="package or module, besides smat, whose code a checkpoint may name and have imported; may be repeated",
        )
