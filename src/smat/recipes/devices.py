"""The processes of a training, one per device: started here, or before by torchrun or SLURM."""

import logging
import os
from collections.abc import Callable
from typing import TypeVar

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core import rank_zero

from smat.errors import ConfigError, SmatError

Found = TypeVar("Found")


def launch(accelerator: str, devices: int | None, num_nodes: int | None = None) -> Fabric:
    """Fabric, with its processes running.

    Args:
        accelerator: `auto`, `cpu` or `cuda`.
        devices: number of devices of each machine; None: one per process that was started, or 1 where none was.
        num_nodes: number of machines; None: those on which processes were started.

    Raises:
        ConfigError: other processes were started than asked for, none on other machines, or there are no such devices.
    """
    rank_zero.log.addFilter(_not_of_tensor_cores)
    by, processes, nodes = _started()
    per_node = processes // nodes
    if by and (devices or per_node, num_nodes or nodes) != (per_node, nodes):
        given = [f"--devices is {devices}"] * (devices is not None) + [f"--num-nodes {num_nodes}"] * bool(num_nodes)
        raise ConfigError(
            f"{' and '.join(given)}, but {by} has started {per_node} processes, one per device, on {nodes} "
            f"machine{'s' if nodes > 1 else ''}: leave these options out, or give --devices {per_node} --num-nodes "
            f"{nodes}"
        )
    if not by and (num_nodes or 1) > 1:
        raise ConfigError(
            f"--num-nodes is {num_nodes}, but this process was started by itself: start the command on every machine "
            "by torchrun or SLURM's srun"
        )
    try:
        per_node = per_node if by else devices or 1
        fabric = Fabric(accelerator=accelerator, devices=per_node, num_nodes=nodes, strategy="auto")
        fabric.launch()
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"--accelerator is {accelerator} and --devices {per_node}: {error}") from error
    return fabric


def _not_of_tensor_cores(record: logging.LogRecord) -> bool:
    """Leave out Lightning's advice to round products of float32, which is what `precision` decides here."""
    return "Tensor Cores" not in record.getMessage()


def _started() -> tuple[str, int, int]:
    """What has started this process, how many like it, and on how many machines."""
    if TorchElasticEnvironment.detect():
        processes = int(os.environ["WORLD_SIZE"])
        return "torchrun", processes, max(1, processes // int(os.environ["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        processes = int(os.environ["SLURM_NTASKS"])
        return "SLURM" if processes > 1 else "", processes, int(os.environ.get("SLURM_NNODES", 1))
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
