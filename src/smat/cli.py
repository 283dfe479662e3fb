"""The command line: one function of `smat.recipes` for each command."""

import importlib
import inspect
import logging
import sys
from argparse import Action, ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

import docstring_parser
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.markup import escape

import smat
from smat.errors import ConfigError, SmatError, SomethingWrong


@dataclass(frozen=True)
class Command:
    """A command: its function (`module:name` in `smat.recipes`), a summary, an example, and what it takes a list of.

    Only the command that is used is imported.
    """

    function: str
    summary: str
    example: str
    many: str | None = None


COMMANDS = {
    "quickstart": Command(
        "quickstart:quickstart",
        "meta-tune and evaluate a small network on images made by formulas: no download, a few minutes",
        "smat quickstart",
    ),
    "train": Command(
        "train:train",
        "meta-tune a backbone on several domains",
        "smat train --config src/smat/configs/real_small.yaml --out runs/first\n"
        "  smat train --config src/smat/configs/real_small.yaml --method pmf --out runs/pmf\n"
        "  smat train --config runs/first/config.yaml --out runs/first --resume\n"
        "  smat train --config src/smat/configs/pocket.yaml --tuning.tasks 200 --out runs/short",
    ),
    "evaluate": Command(
        "evaluate:evaluate",
        "measure a checkpoint, and the untouched backbone, on few-shot tasks of domains",
        "smat evaluate runs/first/best ../shared/data/flowers.parquet ../shared/data/cars.parquet --output two.json\n"
        "  smat evaluate runs/first/best pocket-ood --episodes 100",
        many="domains",
    ),
    "predict": Command(
        "predict:predict",
        "label a folder of images, given a few labelled ones",
        "smat predict runs/first/best --support photos/labelled --query photos/new --output labels.csv\n"
        "  smat predict runs/first/best --support photos/labelled --query photos/new --adapt lora",
    ),
    "reproduce": Command(
        "reproduce.run:reproduce",
        "train and evaluate what a comparison of the paper needs, on the same tasks, and make its tables",
        "smat reproduce table1 src/smat/configs/real_small.yaml --out runs/compare --workers 0\n"
        "  smat reproduce table2 src/smat/configs/real_small.yaml --checkpoint [smat=runs/first/best]",
    ),
    "methods": Command("methods:methods", "list the systems that can be trained and compared", "smat methods"),
    "bench": Command(
        "bench.run:bench",
        "time training tasks, evaluation episodes and the interpolation against plain eager code",
        "smat bench --output bench.json\n  smat bench data --help",
    ),
    "bench data": Command(
        "bench.data:bench_data",
        "time reading episodes of images from disk, against one HDF5 file a class",
        "smat bench data --output bench_data.json",
    ),
    "data import": Command(
        "data.imports:data_import",
        "bring in Meta-Dataset and other image collections as they are on disk",
        "smat data import metadataset /data/records data/\n"
        "  smat data import cifar downloads/cifar-100-python data/\n"
        "  smat data import folder photos/birds data/ --max-side 512",
    ),
    "data doctor": Command(
        "data.doctor:data_doctor",
        "look for what is wrong with a domain, and say how to mend it",
        "smat data doctor data/cifar100",
    ),
    "data show": Command(
        "data.show:data_show",
        "a contact sheet of a domain's classes, or of an episode as the network sees it",
        "smat data show data/cifar100 --output sheet.png\n  smat data show data/cifar100 --episode 3",
    ),
    "data episodes": Command(
        "data.episodes:data_episodes",
        "write down which images episodes are made of, so that two systems see the same tasks",
        "smat data episodes data/cifar100 --episodes 600 --output cifar100.jsonl\n"
        "  smat evaluate runs/first/best data/cifar100 --episodes-from cifar100.jsonl",
        many="domains",
    ),
}
_GROUPS = {
    "": "Few-shot image classification with sparse interpolated experts. Begin with: smat quickstart",
    "data": "Image collections: from their authors' files to domains that episodes are drawn from.",
}


class _HelpFormatter(RawDescriptionHelpFormatter, ArgumentDefaultsHelpFormatter):
    """Descriptions with their own line breaks, and the default of each option that has one."""

    def _get_help_string(self, action: Action) -> str | None:
        nothing = action.default in (None, []) or action.nargs == 0  # of a switch it is always off
        return action.help if nothing else super()._get_help_string(action)


def build_parser(used: str | None = None, group: str | None = None) -> ArgumentParser:
    """The parser of all commands; only the one that is used gets its arguments, so that the others import nothing.

    Args:
        used: the command that is used.
        group: first word of the commands to show, by their second; None: all of them.
    """
    parser = ArgumentParser(
        prog=f"smat {group}" if group else "smat",
        description=_GROUPS.get(group or ""),
        epilog=f"Every command explains itself: smat {'data import' if group else 'evaluate'} --help",
        version=smat.__version__,
        formatter_class=_HelpFormatter,
    )
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    shown = {name: name.removeprefix(f"{group} ") for name in COMMANDS if not group or name.startswith(f"{group} ")}
    for name, command in ((name, COMMANDS[name]) for name in shown):
        child = ArgumentParser(
            description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\nfor example:\n  {command.example}",
            formatter_class=_HelpFormatter,
        )
        if name == used:
            _add_arguments(child, name, command)
        commands.add_subcommand(shown[name], child, help=command.summary)
    return parser


def _recipe(name: str) -> Callable[..., Any]:
    module, _, function = COMMANDS[name].function.partition(":")
    return getattr(importlib.import_module(f"smat.recipes.{module}"), function)


def _add_arguments(parser: ArgumentParser, name: str, command: Command) -> None:
    """The recipe's parameters: required ones by position, switches as flags, a `config` as a file and its settings."""
    recipe = _recipe(name)
    parameters = inspect.signature(recipe).parameters
    texts = _texts(recipe)
    grouped = _grouped(recipe)
    flags = {p.name for p in parameters.values() if p.default is False}
    skip: set[str | int] = {*grouped, command.many or "config", *flags}
    parser.add_argument("--config", action="config", help="YAML file of settings; those given after it override it")
    if name == "train":
        parser.add_argument(
            "--method",
            metavar="NAME",
            help="a method's settings over those before it (of BASE.yaml also BASE/NAME.yaml): see smat methods",
        )
    for kind in grouped.values():
        settings = {f.name for f in fields(kind) if f.default is False}
        for base in reversed(kind.__mro__):
            texts |= _texts(base)
        parser.add_class_arguments(kind, skip={*settings})
        flags |= settings
    parser.add_function_arguments(recipe, as_positional="config" not in grouped, skip=skip)
    if command.many:
        parser.add_argument(command.many, nargs="+", type=str, help=texts.get(command.many))
    for flag in sorted(flags):
        parser.add_argument(f"--{flag}", action="store_true", help=texts.get(flag))


def _texts(documented: Any) -> dict[str, str | None]:
    return {p.arg_name: p.description for p in docstring_parser.parse(documented.__doc__ or "").params}


def _grouped(recipe: Callable[..., Any]) -> dict[str, Any]:
    """Parameters whose settings are options of their own, by name: those that take a dataclass."""
    return {p.name: p.annotation for p in inspect.signature(recipe).parameters.values() if is_dataclass(p.annotation)}


def _underscored(argument: str) -> str:
    """An option's name with underscores, as settings have them, also where it was given with dashes."""
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def _with_method_files(arguments: Sequence[str]) -> list[str]:
    """`train --method NAME` as `--config` of the method's files, so that these lie over what was given before it."""
    split = ("--method=", "--config=")
    given = [part for a in arguments for part in (a.split("=", 1) if a.startswith(split) else [a])]
    if given[:1] != ["train"] or "--method" not in given:
        return list(arguments)
    from smat.metatuning.methods import method_files

    place = given.index("--method")
    if place + 1 == len(given):
        raise ConfigError("--method needs a name: `smat methods` lists them")
    bases = [path for option, path in pairwise(given[:place]) if option == "--config"]
    configs = [part for path in method_files(given[place + 1], *bases) for part in ("--config", str(path))]
    return [*given[:place], *configs, *given[place + 2 :]]


def _run(arguments: Sequence[str]) -> Any:
    first, two = " ".join(arguments[:1]), " ".join(arguments[:2])
    group = first if first and (first in _GROUPS or (two != first and two in COMMANDS)) else None
    used = two if group else next((a for a in arguments if a in COMMANDS), None)
    parser = build_parser(used, group)
    given = _with_method_files([_underscored(a) for a in arguments])
    options = parser.instantiate(parser.parse_args(given[1:] if group else given))
    values = vars(options[options["command"]])
    command = two if group else options["command"]
    recipe = _recipe(command)
    for name in ("config", "method") if command == "train" else ("config",):
        values.pop(name, None)
    for parameter, kind in _grouped(recipe).items():
        values[parameter] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
    return recipe(**values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    A mistake of the user's ends in a message and exit status 2, an interruption in 130, and something wrong that a
    command was asked to look for in 1.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("smat").setLevel(logging.INFO)
    console = Console(stderr=True)
    try:
        result = _run(arguments)
        if getattr(result, "complete", True) is False:
            raise KeyboardInterrupt("the results so far are kept")
    except SomethingWrong as error:
        console.print(f"[bold red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
        raise SystemExit(1) from error
    except SmatError as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt as interruption:
        console.print(f"\nStopped. {interruption}".rstrip(), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(130) from interruption


if __name__ == "__main__":
    main()
