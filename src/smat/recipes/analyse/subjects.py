"""The pools that are analysed, and the runs that they are of."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from smat.adaptation import open_model
from smat.analysis.curves import RunCurves, read_curves
from smat.errors import CheckpointError, ConfigError
from smat.evaluation import same_backbone
from smat.experts import SparseInterpolatedExperts
from smat.recipes.run_folder import SETTINGS

LOG = "log.jsonl"


@dataclass(frozen=True)
class Subject:
    """A pool that is analysed.

    Attributes:
        name: what it is called.
        path: where it was loaded from.
        pool: on the device, in evaluation mode.
        run: folder of its run, where that was given.
        curves: what the log of the run says.
    """

    name: str
    path: str
    pool: SparseInterpolatedExperts
    run: Path | None = None
    curves: RunCurves | None = None

    @property
    def experts(self) -> int:
        """M."""
        return self.pool.config.experts


def open_subject(given: str, device: torch.device, allow_imports: Collection[str] = ()) -> Subject:
    """The pool of a checkpoint, or the best one of a run; the last one, where none was the best.

    Raises:
        CheckpointError: there is none, it is damaged, or it has no experts.
        ConfigError: a backbone alone.
    """
    folder, run = Path(given), None
    path = given
    if (folder / SETTINGS).is_file() and not (folder / "config.json").is_file():
        run = folder
        found = [name for name in ("best", "last") if (folder / name).is_dir()]
        if not found:
            raise CheckpointError(
                f"the run in '{given}' has no pool yet, neither best/ nor last/: let it go on (smat train --out {given} "
                "--resume), or give another run or checkpoint"
            )
        path = str(folder / found[0])
    pool = open_model(path, device, allow_imports)
    if not pool.config.experts:
        raise ConfigError(
            f"'{given}' has no experts, so there is nothing to analyse: give a run or checkpoint of a pool that was "
            "meta-tuned (smat train)"
        )
    curves = read_curves(run) if run and (run / LOG).is_file() else None
    return Subject(_name(folder), path, pool.eval(), run, curves)


def check_alike(first: Subject, second: Subject) -> None:
    """Raise a `ConfigError` unless two pools are around networks of one structure that take the same images."""
    one, other = first.pool, second.pool
    if (one.layout.names, one.layout.shapes) != (other.layout.names, other.layout.shapes):
        raise ConfigError(
            f"--against '{second.path}' is a pool around another network ({_network(second)}) than '{first.path}' "
            f"({_network(first)}), and experts are compared parameter by parameter: give one of the same network"
        )
    formats = one.backbone.spec.image_format, other.backbone.spec.image_format
    if formats[0] != formats[1]:
        raise ConfigError(
            f"--against '{second.path}' takes other images ({formats[1]}) than '{first.path}' ({formats[0]}): give a "
            "pool that takes the same"
        )


def names_of(subjects: list[Subject]) -> list[str]:
    """What the pools are called: by the last part of their paths, or where that is the same, by the whole paths."""
    names = [subject.name for subject in subjects]
    return names if len(set(names)) == len(names) else [subject.path for subject in subjects]


def of_one_backbone(first: Subject, second: Subject) -> bool:
    """Whether the pre-trained parameters are the same."""
    return same_backbone(first.pool, second.pool)


def _network(subject: Subject) -> str:
    return f"{subject.pool.backbone.spec.name}, {subject.pool.layout.size:,} parameters"


def _name(folder: Path) -> str:
    parts = folder.absolute().parts
    return "/".join(parts[-2:]) if parts[-1] in ("best", "last") and len(parts) > 1 else parts[-1]
