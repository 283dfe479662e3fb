"""Networks of the user's own: `module:my_lab.nets.small` names a function or class that makes one."""

import copy
import inspect
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from torch import nn

from smat.backbones.backbone import Backbone
from smat.backbones.spec import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec
from smat.errors import BackboneError, CheckpointError, SmatError
from smat.plugins import check_import, import_object
from smat.rng import seeded_torch


def load_own(name: str, image_size: int | None) -> tuple[BackboneSpec, nn.Module]:
    """The network that a function or class gives, which is called without arguments or, if it has one, `image_size`.

    What it draws at random, such as initial weights, is the same each time.

    Args:
        name: what was asked for, `"module:PATH"`, with the import path of the function or class.
        image_size: in pixels; None for the default of the argument `image_size`, or the network's attribute of that
            name.

    Raises:
        BackboneError: it gives no network, or neither it nor `image_size` says the size of the images.
        ConfigError: nothing of that path can be imported.
    """
    path = name.removeprefix("module:")
    make = import_object(path)
    argument = inspect.signature(make).parameters.get("image_size") if callable(make) else None
    if argument and image_size is None and argument.default is not argument.empty:
        image_size = argument.default
    arguments = {"image_size": image_size} if argument and image_size is not None else {}
    made = _make(name, path, arguments)
    size = image_size or (made.spec.image_size if isinstance(made, Backbone) else getattr(made, "image_size", None))
    if not isinstance(size, int) or size < 1:
        raise BackboneError(
            f"image_size is missing: the network of {name!r} does not say what it is made for; give image_size, or the "
            "network an attribute image_size"
        )
    config: dict[str, Any] = {"path": path, "arguments": arguments, "fixed_size": False}
    if not isinstance(made, Backbone):
        return BackboneSpec("own", name, config, size, IMAGENET_MEAN, IMAGENET_STD, "output"), made
    if size != made.spec.image_size:
        raise BackboneError(
            f"image_size is {size}, but {path} gives a Backbone for images of {made.spec.image_size} pixels: give "
            "that, or let it take image_size as an argument"
        )
    config |= {"fixed_size": made.fixed_size, "num_attention_heads": made.attention_heads}
    return replace(made.spec, kind="own", name=name, config=config), made.network


def build_own(spec: BackboneSpec, allow_imports: Collection[str]) -> nn.Module:
    """The network of a description, made by the same code.

    Args:
        spec: description of a backbone that `load_own` gave; it may come from a file of somebody else's.
        allow_imports: packages or modules whose code may be imported.

    Raises:
        CheckpointError: code that may not be imported; the message names it.
        BackboneError: it gives no network.
    """
    path, arguments = str(spec.config.get("path")), spec.config.get("arguments", {})
    check_import(path, allow_imports)
    # A file must not choose among smat's own functions, nor what code is called with.
    if path.startswith("smat.") or not set(arguments) <= {"image_size"}:
        raise CheckpointError(f"it says that its network is {path}({arguments}), which no smat writes: it was changed")
    made = _make(spec.name, path, arguments)
    return made.network if isinstance(made, Backbone) else made


def _make(name: str, path: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        with seeded_torch(0, "backbone"):
            made = import_object(path)(**arguments)
    except SmatError:
        raise
    except Exception as error:  # whatever the user's own code does
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise BackboneError(
            f"backbone {name!r} cannot be made: {path}({given}) raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, nn.Module):
        raise BackboneError(
            f"backbone {name!r}: {path} gives a {type(made).__name__}; it must give an nn.Module that maps images "
            "[n, 3, h, w] to features [n, d], or a smat.backbones.Backbone"
        )
    return copy.deepcopy(made)  # it may give the same one each time
