"""Extension points: classes named by import path, whose settings can be written down and read back.

The settings of such a class are its constructor's arguments, kept as attributes of the same name (a dataclass does so
by itself). `describe` writes an object down as `{"class_path": ..., "init_args": {...}}`, the form that configuration
files have too; `restore` makes it again.
"""

import importlib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import core_schema

from smat.errors import CheckpointError, ConfigError, SmatError
from smat.schema import unmade


class Plugin:
    """What the classes of every extension point inherit from."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """In a file, an object is what `describe` says of it (`smat.schema`)."""

        def made(value: Any, info: Any) -> Any:
            described = isinstance(value, Mapping) and "class_path" in value
            if isinstance(value, cls) or (unmade(info.context) and (described or isinstance(value, str))):
                return value
            if described:
                return restore(value, cls, info.context or ())
            raise ValueError(f"expected class_path and init_args of a {cls.__name__}")

        return core_schema.with_info_plain_validator_function(made)


T = TypeVar("T", bound=Plugin)


def import_object(path: str) -> Any:
    """What an import path such as `my_lab.heads.Mahalanobis` names.

    Raises:
        ConfigError: there is no such module, it cannot be imported, or it has no such name.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigError(f"{path!r} is no import path: give the module too, such as my_lab.heads.Mahalanobis")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{path!r} names module '{error.name}', which is not found: it must be installed, or lie in the folder "
                f"that the command is run from ({Path.cwd()})"
            ) from error
        raise ConfigError(
            f"{path!r} cannot be imported: its module needs '{error.name}', which is not found"
        ) from error
    except Exception as error:  # whatever the user's own code does while it is imported
        raise ConfigError(f"{path!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        raise ConfigError(f"{path!r}: module '{module}' ({found.__file__}) has no '{name}'")
    return getattr(found, name)


def import_path(kind: type) -> str:
    """The path that a class is imported by."""
    return f"{kind.__module__}.{kind.__qualname__}"


def describe(thing: Plugin) -> dict[str, Any]:
    """An object of an extension point as plain data: its import path and its settings.

    Raises:
        ConfigError: a setting that the object does not keep as an attribute.
    """
    path, settings = import_path(type(thing)), {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(thing, name):
            raise ConfigError(f"{path} does not keep its setting '{name}': write self.{name} = {name} in its __init__")
        settings[name] = plain(getattr(thing, name))
    return {"class_path": path, "init_args": settings}


def restore(description: Mapping[str, Any], base: type[T], allow_imports: Collection[str] = ()) -> T:
    """The object that `describe` wrote down, with those that are among its settings.

    A file that was downloaded must not have code imported: what lies outside smat needs the caller's permission.

    Args:
        description: `{"class_path": ..., "init_args": {...}}`.
        base: class that the object must be of.
        allow_imports: packages or modules, besides smat, whose code may be imported.

    Raises:
        CheckpointError: code that may not be imported; the message names it.
        ConfigError: what it names is not there, is no such class, or does not take these settings.
    """
    path, given = str(description["class_path"]), description.get("init_args") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"init_args of {path} are {given!r}; give settings by name")
    check_import(path, allow_imports)
    kind = import_object(path)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigError(f"{path} is no {import_path(base)}: give a class that inherits from it")
    settings = {
        name: restore(value, Plugin, allow_imports) if isinstance(value, Mapping) and "class_path" in value else value
        for name, value in given.items()
    }
    try:
        return kind(**settings)
    except SmatError:
        raise
    except Exception as error:  # whatever a class does with settings of another type
        raise ConfigError(f"{path} does not take the settings {dict(given)}: {error}") from error


def check_import(path: str, allow_imports: Collection[str]) -> None:
    """Raise a `CheckpointError` unless code of that import path is smat's own or may be imported."""
    if not any(path.startswith(f"{allowed}.") for allowed in ("smat", *allow_imports)):
        package = path.partition(".")[0]
        raise CheckpointError(
            f"it was made with {path}, code outside smat, and nothing is imported because a file says so. If you trust "
            f"that code, allow it: --allow-import {package} (in Python allow_imports=[{package!r}])"
        )


def packages_named(settings: Any) -> set[str]:
    """The packages that hold the code which settings, as plain data, name by import path."""
    if isinstance(settings, Mapping):
        path = settings.get("class_path")
        return set().union({str(path).partition(".")[0]} if path else (), *map(packages_named, settings.values()))
    if isinstance(settings, list | tuple):
        return set().union(*map(packages_named, settings))
    own = isinstance(settings, str) and settings.startswith("module:")
    return {settings.removeprefix("module:").partition(".")[0]} if own else set()


def plain(value: Any) -> Any:
    """Settings as plain data, for JSON, YAML and comparisons.

    Objects of an extension point become what `describe` says of them, other dataclasses and mappings dicts, sequences
    lists, paths strings.
    """
    if isinstance(value, Plugin):
        return describe(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # an array or a tensor; importing torch for its name would make `--help` wait
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    raise ConfigError(f"a setting is of type {type(value).__name__}; give numbers, texts, lists, dicts or dataclasses")
