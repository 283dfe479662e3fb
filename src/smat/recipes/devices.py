"""The processes of a training, one per device: started here, or before by torchrun or SLURM."""

import os
from collections.abc import Callable
from typing import TypeVar

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from smat.errors import ConfigError, SmatError

Found = TypeVar("Found")


def launch(accelerator: str, devices: int | None) -> Fabric:
    """Fabric, with its processes running.

    Args:
        accelerator: `auto`, `cpu` or `cuda`.
        devices: number of devices; None: as many as there are processes, or 1 where nothing has started several.

    Raises:
        ConfigError: other processes were started than asked for, or there are no such devices.
    """
    by, processes, nodes = _started()
    if processes > 1 and devices not in (None, processes):
        raise ConfigError(
            f"--devices is {devices}, but {by} has started {processes} processes, one per device: leave --devices out, "
            f"or give --devices {processes}"
        )
    try:
        per_node, nodes = (processes // nodes, nodes) if processes > 1 else (devices or 1, 1)
        fabric = Fabric(accelerator=accelerator, devices=per_node, num_nodes=nodes, strategy="auto")
        fabric.launch()
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"--accelerator is {accelerator} and --devices {devices}: {error}") from error
    return fabric


def _started() -> tuple[str, int, int]:
    """What has started this process, how many like it, and on how many machines."""
    if TorchElasticEnvironment.detect():
        processes = int(os.environ["WORLD_SIZE"])
        return "torchrun", processes, max(1, processes // int(os.environ["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        return "SLURM", int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", 1))
    return "", 1, 1


def by_first(fabric: Fabric, find: Callable[[], Found]) -> Found:
    """What the first process finds, for all; an error of it is raised in all, so that none waits for the others."""
    found: Found | SmatError | None = None
    if fabric.is_global_zero:
        try:
            found = find()
        except SmatError as error:
            found = error
    found = fabric.broadcast(found)
    if isinstance(found, SmatError):
        raise found
    return found  # pyright: ignore[reportReturnType]
