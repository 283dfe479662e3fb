"""The checks of shapes and types in smat's functions while the tests run: as strict as jaxtyping's own, in less time.

jaxtyping binds the arguments of every function to the names of sizes: here only where a shape is given, and beartype
alone checks the types of the others. And jaxtyping makes a function's checks whenever its definition runs, those of a
function within another at every call of the other one: here once, where there is no shape.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, _decorator, install_import_hook

_jaxtyped, _stand_in = jaxtyping.jaxtyped, _decorator._make_fn_with_signature
_same_stand_in = lru_cache(1000)(_stand_in)
same_check = lru_cache(1000)(beartype)


def _made_once(*signature: Any, **settings: Any) -> Callable[..., Any] | tuple[Callable[..., Any], str]:
    """The function whose arguments and result are checked in place of one of this signature."""
    try:
        return _same_stand_in(*signature, **settings)
    except TypeError:  # a default without a hash
        return _stand_in(*signature, **settings)


def _has_shape(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(_has_shape, get_args(hint)))


def checked(definition: Any = None, *, typechecker: Any) -> Any:
    """What jaxtyping decorates all functions and classes with."""
    if definition is None:
        return partial(checked, typechecker=typechecker)
    defined_once = inspect.isfunction(definition) and "<locals>" not in definition.__qualname__
    if defined_once and not any(map(_has_shape, definition.__annotations__.values())):
        return beartype(definition)
    return _jaxtyped(definition, typechecker=typechecker)


def check_shapes() -> None:
    """Check whatever of smat is imported from here on."""
    _decorator._make_fn_with_signature, jaxtyping.jaxtyped = _made_once, checked
    install_import_hook("smat", "checks.same_check")
