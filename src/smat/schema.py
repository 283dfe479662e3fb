"""What files and settings may hold: one check for all of them, by the annotations of dataclasses.

JSON and YAML become objects, or one error of smat that names the file, the key, what was found and what was expected.
Ranges stand in the annotations, as in `way: Count`, so that files, Python callers and the command line get the same
check. `checked` has a dataclass check what it is made with.
"""

import inspect
import json
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

import smat
from smat.errors import ConfigError, SmatError, one_line
from smat.yaml_files import Unreadable, load_yaml, read_content

T = TypeVar("T")
P = ParamSpec("P")
Error = type[SmatError]

_LARGEST = 256 * 2**20  # bytes of a JSON file
_LONGEST_NAME = 255  # bytes of the name of a file
_SHOWN = 3  # faults that a message lists

# What pydantic calls a kind of fault, as what was expected instead.
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "a text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "settings by name",
    "mapping": "settings by name",
    "dataclass": "settings by name",
    "none": "null",
}


@dataclass(frozen=True)
class Range:
    """Bounds of a number, for annotations: `Annotated[int, Range(1, 100)]`.

    Attributes:
        low: smallest number.
        high: largest number.
        above: whether the number must be larger than `low`, which then does not belong to the range itself.
        below: whether it must be smaller than `high`, likewise.
    """

    low: int | float = -math.inf
    high: int | float = math.inf
    above: bool = False
    below: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """The check of the type, then that of the bounds."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, value: Any) -> Any:
        """The number; raises a ValueError that says what was expected."""
        low = self.low < value if self.above else self.low <= value
        high = value < self.high if self.below else value <= self.high
        if not (low and high and math.isfinite(value)):
            raise ValueError(f"expected {self}")
        return value

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if self.high >= 2**31 - 1:  # beyond that, sizes are for machines to worry about
            return low or "a finite number"
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        return (
            f"{self.low:g} to {self.high:g}" if low and not (self.above or self.below) else f"{low}, {high}".strip(", ")
        )


Count = Annotated[int, Range(1, 2**31 - 1)]
Number = Annotated[int, Range(0, 2**31 - 1)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Processes = Annotated[int, Range(0, 1024)]
Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]


# -- files -------------------------------------------------------------------------------------------------------------


def read_json(path: Path, schema: type[T], error: Error, advice: str, *, extra: Any = "forbid") -> T:
    """An object of the schema from a JSON file.

    Args:
        path: the file.
        schema: dataclass, or any type that annotations can name.
        error: class of the error where the file cannot be used.
        advice: what to do then.
        extra: what becomes of keys that the schema does not have: `forbid` or `ignore`.

    Raises:
        SmatError: of the class `error`: the file cannot be read, is no JSON, or does not fit the schema.
    """
    try:
        content = read_content(path, _LARGEST)
    except Unreadable as found:
        raise error(f"'{path}' cannot be read: {found}. {advice}") from found
    return parse_json(content, schema, f"'{path}'", error, advice, extra=extra)


def read_versioned(path: Path, newest: int, name: str, error: Error, advice: str) -> dict[str, Any]:
    """The keys of a JSON file that has `format` and `smat_version`.

    Args:
        path: the file.
        newest: the newest format that is known.
        name: what an error calls what the file belongs to.
        error: class of the error where the file cannot be used.
        advice: what to do where it is damaged.

    Raises:
        SmatError: of the class `error`: the file cannot be read, is no JSON, or has a newer format.
    """
    said = read_json(path, dict, error, advice)
    form = said.get("format")
    if type(form) is int and form > newest:
        raise error(
            f"{name} has format {form} (smat {shortened(said.get('smat_version'))}), but this is smat "
            f"{smat.__version__}, which reads up to format {newest}: upgrade smat"
        )
    return said


def parse_json(
    text: str | bytes, schema: type[T], where: str, error: Error, advice: str, *, extra: Any = "forbid"
) -> T:
    """An object of the schema from JSON.

    Args:
        text: the JSON.
        schema: dataclass, or any type that annotations can name.
        where: what an error calls the text, such as the quoted name of its file.
        error: class of the error where it cannot be used.
        advice: what to do then.
        extra: what becomes of keys that the schema does not have: `forbid` or `ignore`.

    Raises:
        SmatError: of the class `error`: the text is no JSON, or does not fit the schema.
    """
    try:
        return _adapter(schema).validate_json(text, strict=True, extra=extra)
    except ValidationError as found:
        raise error(f"{where} cannot be used: {_faults(found, text)}. {advice}") from found


def from_plain(values: Mapping[str, Any], schema: type[T], name: str, error: Error, context: Any = None) -> T:
    """An object of the schema from plain data, which may have gone through JSON.

    Args:
        values: the data.
        schema: dataclass.
        name: where the data lie in a configuration, such as `pool`; errors have it before their keys.
        error: class of the error where they do not fit.
        context: what `smat.plugins` is to know when it makes an object: the packages whose code may be imported.

    Raises:
        SmatError: of the class `error`: the data do not fit the schema.
    """
    try:
        return _adapter(schema).validate_json(json.dumps(values), strict=True, extra="forbid", context=context)
    except ValidationError as found:
        raise error(_faults(found, values, name)) from found


def read_yaml(path: Path, schema: type[T], error: Error, advice: str, *, extra: Any = "forbid") -> T:
    """An object of the schema from a YAML file; arguments and errors are those of `parse_json`."""
    try:
        values = json.dumps(load_yaml(path))
    except (Unreadable, TypeError, ValueError) as found:  # the last two: dates and other things that JSON has not
        raise error(f"'{path}' cannot be used: {one_line(found)}. {advice}") from found
    return parse_json(values, schema, f"'{path}'", error, advice, extra=extra)


# -- settings ----------------------------------------------------------------------------------------------------------


def checked(section: str = "") -> Callable[[type[T]], type[T]]:
    """Decorator beneath `@dataclass`: what one is made with is checked against the annotations.

    Its own `__post_init__` runs after that. Raises a `ConfigError` that names the setting.

    Args:
        section: where the settings lie in a configuration, such as `pool.gates`; errors have it before their names.
    """

    def decorate(kind: type[T]) -> type[T]:
        own = kind.__dict__.get("__post_init__")

        def __post_init__(self: Any) -> None:
            for name, annotation in _annotations(type(self)).items():
                check_setting(f"{section}.{name}".lstrip("."), getattr(self, name), annotation)
            if own:
                own(self)

        kind.__post_init__ = __post_init__  # type: ignore[attr-defined]
        return kind

    return decorate


def check_setting(name: str, value: Any, annotation: Any) -> None:
    """Raise a `ConfigError` for a value that an annotation does not allow.

    Args:
        name: what an error calls the setting.
        value: what was given: plain data, numbers of NumPy, or objects; lists, tuples and ranges are alike.
        annotation: type, with ranges; see above.
    """
    adapter = _adapter(annotation)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    elif isinstance(value, range):
        value = list(value)
    try:
        adapter.validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
    except ValidationError as found:
        try:
            adapter.validate_python(list(value) if isinstance(value, tuple) else value, strict=True)
        except ValidationError:
            raise ConfigError(f"{_faults(found, value, name)}") from found


def checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: arguments of numbers are checked against the ranges in the annotations.

    Raises a `ConfigError` that names the argument.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        given = signature.bind(*args, **kwargs).arguments
        for name, annotation in _annotations(function).items():
            if name in given and "Range(" in repr(annotation):
                check_setting(name, given[name], annotation)
        return function(*args, **kwargs)

    return call


def check_settings(settings: Mapping[str, Any], kind: Any, shown: Callable[[str], str], path: str = "") -> None:
    """Raise a `ConfigError` for settings, as plain data, that cannot make an object of the kind.

    Args:
        settings: by name; those of a dataclass within it are settings by name in turn.
        kind: dataclass or function, whose annotations say what is allowed.
        shown: what an error calls a setting, by its path, such as `pool.gates.beta`.
        path: where the settings lie in others.
    """
    for name, annotation in _annotations(kind).items():
        if name not in settings or (not is_dataclass(kind) and is_dataclass(annotation)):  # its settings are options
            continue
        value, place = settings[name], f"{path}{name}"
        if not is_dataclass(annotation):
            _check_plain(shown(place), value, annotation)
        elif isinstance(value, Mapping):
            check_settings(value, annotation, shown, f"{place}.")
        elif not isinstance(value, annotation):  # type: ignore[arg-type]
            raise ConfigError(f"{shown(place)} is {shortened(value)}; expected settings by name")


def _check_plain(name: str, value: Any, annotation: Any) -> None:
    for text in value if isinstance(value, list) else [value]:
        # no system has files with such names, and asking for one is an error of its own
        parts = text.split("/") if isinstance(text, str) and "," not in text else []
        if any(len(part.encode(errors="surrogatepass")) > _LONGEST_NAME or "\0" in part for part in parts):
            raise ConfigError(f"{name} is {shortened(text)}; names have at most {_LONGEST_NAME} bytes, none of them 0")
    try:
        _adapter(annotation).validate_python(value, context=_UNMADE)
    except ValidationError as found:
        raise ConfigError(_faults(found, value, name)) from found


_UNMADE = object()  # the context in which plug-ins are still names and settings


def unmade(context: Any) -> bool:
    """Whether objects of extension points need not have been made yet from what names them."""
    return context is _UNMADE


# -- messages ----------------------------------------------------------------------------------------------------------


def shortened(value: Any) -> str:
    """A value as a message shows it: as in a file, in at most about 60 characters."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    short = reprlib.Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxstring, short.maxother, short.maxlong = 2, 3, 3, 60, 60, 20
    return short.repr(value)


def _faults(found: ValidationError, given: Any, name: str = "") -> str:
    """What is wrong, key by key."""
    errors = found.errors(include_url=False)
    if errors[0]["type"] == "json_invalid":
        return f"it is no JSON ({errors[0]['msg'].removeprefix('Invalid JSON: ')})"
    value = from_json(given, allow_inf_nan=True) if isinstance(given, str | bytes) and not name else given
    faults: dict[str, list[str]] = {}
    for error in [each for each in errors if each["type"] != "too_short"] or errors:  # an item that fails is none
        key = ".".join([*([name] if name else []), *_path(error["loc"], value, error["type"])])
        faults.setdefault(key, []).append(_fault(error))
    said = [_sentence(key, parts) for key, parts in faults.items()]
    return "; ".join(said[:_SHOWN]) + (f"; and {len(said) - _SHOWN} more" if len(said) > _SHOWN else "")


def _sentence(key: str, parts: list[str]) -> str:
    """The faults of one key, of which each of several allowed types has one."""
    first, alternatives = parts[0], [part.partition("; expected ")[2] for part in parts]
    if all(alternatives):
        first = f"{first.partition('; expected ')[0]}; expected {' or '.join(dict.fromkeys(alternatives))}"
    return f"{key or 'it'} {first}" if first.startswith("is ") else first


def _fault(error: Any) -> str:
    kind, given = error["type"], error["input"]
    if kind in ("missing", "missing_argument"):
        return "is missing"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return "is not known to this version of smat; a newer smat may have written it"
    if kind == "value_error":
        said = str(error["ctx"]["error"])
        return f"is {shortened(given)}; {said}" if said.startswith("expected ") else said
    if kind == "too_short":
        return f"is {shortened(given)}; expected {error['ctx']['min_length']} or more of them"
    if kind == "literal_error":
        return f"is {shortened(given)}; expected {error['ctx']['expected']}"
    expected = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    return f"is {shortened(given)}; expected {expected or one_line(error['msg']).removeprefix('Input should be ')}"


def _path(location: tuple[int | str, ...], value: Any, kind: str) -> Iterator[str]:
    """The keys among a fault's location, which also has the names of types that were tried."""
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(value, Mapping) and (part in value or (last and "missing" in kind)):
            yield str(part)
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int):
            yield str(part)
            value = value[part] if part < len(value) else None
        elif is_dataclass(value) and isinstance(part, str) and hasattr(value, part):
            yield part
            value = getattr(value, part)


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, or of a function's parameters."""
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else [n for n in hints if n != "return"]
    return {name: hints[name] for name in names if name in hints}


def _adapter(schema: Any) -> TypeAdapter:
    try:
        return _kept_adapter(schema)
    except TypeError:  # a type that cannot be hashed, such as one with a list among its ranges
        return TypeAdapter(schema)


@cache
def _kept_adapter(schema: Any) -> TypeAdapter:
    return TypeAdapter(schema)
