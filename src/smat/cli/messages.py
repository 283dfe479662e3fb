"""What the parser found wrong, in words of the command line."""

import re
from pathlib import Path

from smat.cli.help import dashed
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


def readable(message: str) -> str:
    """A message of the parser, for whoever typed the command."""
    if required := re.match(r"(the following arguments are required: )(.*)", message):
        return required[1] + ", ".join(name.partition(".")[2] for name in required[2].split(", "))
    if unknown := re.match(r"(unrecognized arguments: )(.*)", message):
        return unknown[1] + re.sub(r"(?<!\S)--[\w.]+", lambda option: dashed(option[0]), unknown[2])
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
