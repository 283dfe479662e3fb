"""A deployed classifier as a graph of tensor operations, for any number of images."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram

from smat.errors import ConfigError, one_line
from smat.export.deployed import Deployed


def traced(deployed: Deployed) -> ExportedProgram:
    """The graph; its one input is `[n, side, side, 3]` for any n.

    Raises:
        ConfigError: the network does something that cannot be written down as tensor operations.
    """
    pictures = torch.zeros(2, deployed.side, deployed.side, 3, dtype=torch.uint8)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(deployed, (pictures,), dynamic_shapes=({0: Dim("n", min=1)},))
    except Exception as error:  # whatever the network's own code does
        raise not_exportable(deployed, error) from error


def not_exportable(deployed: Deployed, error: Exception) -> ConfigError:
    """What to say of a network or head that cannot be exported."""
    spec = deployed.backbone.spec
    heads = ", ".join(sorted({type(member.classifier).__name__ for member in deployed.members}))  # pyright: ignore
    return ConfigError(
        f"the classifier cannot be exported: backbone {spec.name!r} with {heads} computes what has no form as fixed "
        f"tensor operations ({type(error).__name__}: {one_line(error)}). Use another backbone or head, or this one "
        "within Python, where it is loaded with FewShotClassifier.load"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """What the exporters say of packages that are not needed is not shown."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
