"""`--json`: what a command was given and what came of it, as a file for programs."""

import json
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import smat
from smat.files import write_whole
from smat.left_out import LeftOut
from smat.plugins import Plugin, describe

_LARGEST = 100_000  # numbers of an array that is written


@dataclass
class Report:
    """The course of a command.

    Attributes:
        path: where to write; None: nowhere.
        command: the command, as it is typed.
        settings: all its settings, by the names of Python.
        result: what it returned, or what it had found when it was stopped.
        left_out: what was not used.
        complete: whether it came to its end.
        error: how it ended otherwise; empty if it did not.
    """

    path: Path | None = None
    command: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    left_out: list[LeftOut] = field(default_factory=list)
    complete: bool = False
    error: str = ""

    def write(self) -> None:
        """Write the file, where there is one to write.

        Raises:
            ConfigError: it cannot be written.
        """
        if self.path is None:
            return
        content = {
            "command": self.command,
            "version": smat.__version__,
            "complete": self.complete,
            "error": self.error or None,
            "settings": as_data(self.settings),
            "result": as_data(self.result),
            "left_out": [
                {"what": entry.what, "reason": entry.reason, "count": len(entry.names), "names": list(entry.names)}
                for entry in self.left_out
            ],
        }
        write_whole(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n", keep=True)


def as_data(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity are null, and of a large array there is only the shape."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, type):
        return str(value)
    if isinstance(value, Plugin):
        return as_data(describe(value))
    if is_dataclass(value):
        return {each.name: as_data(getattr(value, each.name)) for each in fields(value) if each.name[0] != "_"}
    if isinstance(value, Mapping):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Set):
        return [as_data(item) for item in value]
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # arrays, tensors, and their single numbers
        large = math.prod(value.shape) > _LARGEST
        return {"shape": list(value.shape), "type": str(value.dtype)} if large else as_data(value.tolist())
    return str(value)
