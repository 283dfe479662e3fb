"""Settings from YAML files and the command line: their names as they are shown, their checks, and what is wrong."""

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, get_loader, set_loader

from smat.errors import ConfigError, SmatError, one_line
from smat.plugins import import_object
from smat.schema import check_settings
from smat.yaml_files import Unreadable, check_yaml, load_yaml

# An option of several types is tried as each of them; what these are called in Python helps nobody.
_DROPPED = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes:|Errors:|Given value type:|Given value: NestedArg"
    r"|- Expected a <class 'NoneType'>"
)
_REWORDED = (
    (r"Expected a typing\.Literal\[(.*?)\]", r"expected one of \1"),
    (r"Expected a <class 'tuple'>", "expected two values, one after the other"),
    (r"Expected a <class '([\w.]+)'>", r"expected \1"),
    (
        r"Expected a dot import path string: \S+",
        "expected the import path of a class, such as my_lab.Mahalanobis",
    ),
    (r"Import path does not correspond to a subclass of (\w+)", r"this class does not inherit from \1"),
    (r"Expected an instantiatable class, but ([\w.]+) is abstract", r"name a class that inherits from \1 first"),
    (r"Problem with given class_path '([\w.]+)'", r"\1"),
    (r"Option '(\w+)' is not accepted", r"there is no setting '\1'"),
    (r"(\. Got|Given) value:", r"; given:"),
)
_LONGEST = 600  # characters of a message
_NEWER = "; where a newer smat wrote it, upgrade smat"

YAML = "yaml that is read in little time"
"""The mode of parsers that read YAML: as jsonargparse does, after `check_yaml`."""


def _load(text: str) -> Any:
    check_yaml(text)
    return get_loader("yaml")(text)


set_loader(YAML, _load, (yaml.YAMLError,))


def instantiated(parser: ArgumentParser, arguments: Sequence[str], sources: Sequence[str], *kinds: Any) -> Namespace:
    """What a command or a configuration is given, checked, with the objects that it names.

    Args:
        parser: the parser.
        arguments: what it parses.
        sources: files that the arguments take settings from, which errors name.
        kinds: functions and dataclasses whose annotations say what is allowed.

    Raises:
        ConfigError: a setting that cannot be; the message names it.
        ArgumentError: likewise, of a parser that does not end the command.
    """
    given = {underscored(argument).partition("=")[0] for argument in arguments}

    def shown(path: str) -> str:
        return f"{' and '.join(sources)}: {path}" if sources and f"--{path}" not in given else f"--{dashed(path)}"

    for source in sources:
        if os.path.isfile(source):
            try:
                if not isinstance(load_yaml(Path(source)), dict):
                    raise Unreadable("it holds no settings by name")
            except Unreadable as error:
                raise ConfigError(f"'{source}' cannot be used: {error}. Give a YAML file of settings") from error
    try:
        options = parser.parse_args(list(arguments))
        settings = options.get(options.get("command") or "", options)
        for kind in kinds:
            check_settings(settings.as_dict(), kind, shown)
        return parser.instantiate(options)
    except (SmatError, ArgumentError):
        raise
    except Exception as error:  # whatever the parser does with values that it did not expect
        where = f"{' and '.join(sources)}: " if sources else ""
        raise ConfigError(f"{where}the settings cannot be read ({type(error).__name__}: {one_line(error)})") from error


def dashed(name: str) -> str:
    """An option's name as it is shown: `--learning-rate-from` of `learning_rate_from`, nested names too."""
    return name.replace("_", "-")


def underscored(argument: str) -> str:
    """An argument of the command line with the underscores that settings have, where it is an option."""
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def paired(arguments: Sequence[str]) -> list[str]:
    """Arguments of the command line, where `--range LOW HIGH` has its two numbers as one value.

    So has `bench --against official CLONE`; `evaluate` has an option of that name that takes one word.
    """
    rest, given = list(arguments), []
    while rest:
        if rest[0] == "--range" and len(rest) > 2 and _is_number(rest[1]) and _is_number(rest[2]):
            rest[:3] = [f"--range=[{rest[1]},{rest[2]}]"]
        if rest[:2] == ["--against", "official"] and len(rest) > 2 and arguments[0] == "bench":
            rest[:3] = [f"--against={json.dumps(rest[1:3])}"]
        given.append(rest.pop(0))
    return given


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def readable(message: str) -> str:
    """A message of the parser, for whoever typed the command, in at most a few hundred characters."""
    text = _reworded(message)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _reworded(message: str) -> str:
    if required := re.match(r"(the following arguments are required: )(.*)", message):
        return required[1] + ", ".join(dashed(name.rpartition(".")[2]) for name in required[2].split(", "))
    if unknown := re.match(r"(unrecognized arguments: )(.*)", message):
        return unknown[1] + re.sub(r"(?<!\S)--[\w.]+", lambda option: dashed(option[0]), unknown[2])
    refused = r"(?:Group '(?P<group>[\w.]+)'|Subcommand '.*?') does not accept option '(?P<option>[\w.]+)'"
    if found := re.search(refused, message):
        name = ".".join(filter(None, [found["group"], found["option"]]))
        message = message.replace(found[0], f"there is no setting '{name}'{_NEWER}")
    if re.search(r"No module named", message):
        message += f"; it must be installed, or lie in the folder that the command is run from ({Path.cwd()})"
    if not (key := re.match(r'Parser key "([\w.]+)":?\s*', message)):
        return message
    if named := re.search(r"Problem with given class_path '([\w.]+)'", message):
        try:
            import_object(named[1])
        except ConfigError as error:
            return f"--{dashed(key[1])}: {error}"
    lines = [line.strip() for line in message[key.end() :].splitlines()]
    text = "; ".join(line.removeprefix("- ") for line in lines if line and not _DROPPED.match(line))
    for pattern, wording in (*_REWORDED, (r'Parser key "([\w.]+)"', r"\1"), (":; ", ": "), ("; ;", ";")):
        text = re.sub(pattern, wording, text)
    return f"--{dashed(key[1])}: {text}"
