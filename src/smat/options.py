"""Names of options as they are shown, and what a parser of options found wrong in words of the command line."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from smat.errors import ConfigError
from smat.plugins import import_object

# An option of several types is tried as each of them; what these are called in Python helps nobody.
_DROPPED = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes:|Errors:|Given value type:|Given value: NestedArg"
    r"|- Expected a <class 'NoneType'>"
)
_REWORDED = (
    (r"Expected a typing\.Literal\[(.*?)\]", r"expected one of \1"),
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


def dashed(name: str) -> str:
    """An option's name as it is shown: `--learning-rate-from` of `learning_rate_from`, nested names too."""
    return name.replace("_", "-")


def underscored(argument: str) -> str:
    """An argument of the command line with the underscores that settings have, where it is an option."""
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def paired(arguments: Sequence[str]) -> list[str]:
    """Arguments of the command line, where `--range LOW HIGH` has its two numbers as one value."""
    rest, given = list(arguments), []
    while rest:
        if rest[0] == "--range" and len(rest) > 2 and _is_number(rest[1]) and _is_number(rest[2]):
            rest[:3] = [f"--range=[{rest[1]},{rest[2]}]"]
        given.append(rest.pop(0))
    return given


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def readable(message: str) -> str:
    """A message of the parser, for whoever typed the command."""
    if required := re.match(r"(the following arguments are required: )(.*)", message):
        return required[1] + ", ".join(dashed(name.rpartition(".")[2]) for name in required[2].split(", "))
    if unknown := re.match(r"(unrecognized arguments: )(.*)", message):
        return unknown[1] + re.sub(r"(?<!\S)--[\w.]+", lambda option: dashed(option[0]), unknown[2])
    message = re.sub(r"Group '([\w.]+)' does not accept option '(\w+)'", r"there is no setting '\1.\2'", message)
    message = re.sub("Subcommand '.*' does not accept option", "there is no setting", message)
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
