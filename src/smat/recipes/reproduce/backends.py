"""Where the processes of a comparison run, if not here: on a Ray cluster, or as jobs of SLURM."""

import importlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from smat.errors import ConfigError, one_line
from smat.schema import Count, NotNegative

Backend = Literal["ray", "slurm"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jobs:
    """Processes elsewhere that share the work.

    Attributes:
        backend: what starts them: `ray`, on the cluster of the address in RAY_ADDRESS, or one of this machine; or
            `slurm`. They work as with `join`, in a folder that all of them see.
        jobs: number of these processes.
        job_cpus: number of processor cores of each.
        job_gpus: number of GPUs of each; with `ray` also a share of one.
        slurm: further options of the jobs, as submitit names them, such as `{slurm_partition: gpu, timeout_min: 720}`.
    """

    backend: Backend | None = None
    jobs: Count = 2
    job_cpus: Count = 1
    job_gpus: NotNegative = 0.0
    slurm: dict[str, Any] = field(default_factory=dict)

    def run(self, work: Callable[[], object], folder: Path, console: Console) -> None:
        """Have all processes do the work, and wait until they have ended; one that fails is told of.

        Args:
            work: what each of them does.
            folder: where SLURM's jobs write what they say.
            console: where to write.

        Raises:
            ConfigError: the backend is not installed, or refuses the jobs; all processes failed.
        """
        console.print(f"{self.jobs} processes by {self.backend}", highlight=False)
        errors = self._by_ray(work) if self.backend == "ray" else self._by_slurm(work, folder)
        for error in errors:
            _log.warning("a process of %s failed: %s", self.backend, error)
        if len(errors) == self.jobs:
            raise ConfigError(f"all processes of {self.backend} failed: {errors[0]}")

    def _by_ray(self, work: Callable[[], object]) -> list[str]:
        ray = _imported("ray", "ray")
        mine = not ray.is_initialized()
        try:
            if mine:
                ray.init(log_to_driver=False)
            remote = ray.remote(num_cpus=self.job_cpus, num_gpus=self.job_gpus, max_retries=2)(_do)
            errors = []
            for reference in [remote.remote(work) for _ in range(self.jobs)]:
                try:
                    ray.get(reference)
                except ray.exceptions.RayError as error:
                    errors.append(one_line(error)[-300:])
            return errors
        except (ConnectionError, ValueError) as error:
            raise ConfigError(f"Ray cannot be used: {one_line(error)}. Look at RAY_ADDRESS") from error
        finally:
            if mine:
                ray.shutdown()

    def _by_slurm(self, work: Callable[[], object], folder: Path) -> list[str]:
        submitit = _imported("submitit", "slurm")
        if _CLUSTER == "slurm" and not shutil.which("sbatch"):
            raise ConfigError("there is no SLURM here (no sbatch): start this on a machine that can submit its jobs")
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=_CLUSTER)
        gpus: Mapping[str, Any] = {"gpus_per_node": int(self.job_gpus)} if self.job_gpus else {}
        try:
            executor.update_parameters(cpus_per_task=self.job_cpus, **gpus, **self.slurm)
        except NameError as error:
            raise ConfigError(f"--slurm is {self.slurm}: {one_line(error)}") from error
        jobs = [executor.submit(work) for _ in range(self.jobs)]
        return [one_line(error)[-300:] for job in jobs if (error := job.exception()) is not None]


_CLUSTER = "slurm"  # `local` in tests


def _do(work: Callable[[], object]) -> None:
    """Ray takes functions, and nothing else that can be called."""
    work()


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--backend {extra} needs {module}, which is not installed: pip install 'smat-fewshot[{extra}]'"
        ) from error
