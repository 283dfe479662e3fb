"""Packages that exporting needs, and using smat does not: the extra `export`."""

import importlib
from types import ModuleType

from smat.errors import ConfigError


def needed(name: str) -> ModuleType:
    """A module of such a package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"exporting to ONNX needs {name.partition('.')[0]}, which cannot be imported ({error}): "
            "pip install 'smat-fewshot[export]'"
        ) from error
