"""The pools that are analysed, and the runs that they are of."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from smat.adaptation import open_model
from smat.analysis.curves import RunCurves, read_curves
from smat.errors import CheckpointError, ConfigError, DataError
from smat.evaluation import same_backbone
from smat.experts import SparseInterpolatedExperts
from smat.left_out import leave_out
from smat.metatuning import TuningConfig
from smat.metatuning.kept import kept_pools
from smat.metatuning.run_config import load_config
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

    def tuning(self) -> TuningConfig:
        """Objective and head of its run, or the defaults where only a checkpoint was given.

        Raises:
            ConfigError: the settings of the run cannot be read.
        """
        return load_config([self.run / SETTINGS]).resolved().tuning if self.run else TuningConfig()


def open_subject(given: str, device: torch.device, allow_imports: Collection[str] = ()) -> Subject:
    """The pool of a checkpoint, or that of a run: the best, or else the last, or the last that was kept on the way.

    Raises:
        CheckpointError: there is none, it is damaged, or it has no experts.
        ConfigError: a backbone alone.
    """
    folder, run = Path(given), None
    path = given
    if (folder / SETTINGS).is_file() and not (folder / "config.json").is_file():
        run = folder
        found = [place for place in (folder / "best", folder / "last") if place.is_dir()]
        found += list(kept_pools(folder).values())[-1:]
        if not found:
            raise CheckpointError(
                f"the run in '{given}' has no pool yet, neither best/ nor last/ nor kept/: let it go on (smat train "
                f"--out {given} --resume), or give another run or checkpoint"
            )
        path = str(found[0])
    pool = open_model(path, device, allow_imports)
    if not pool.config.experts:
        raise ConfigError(
            f"'{given}' has no experts, so there is nothing to analyse: give a run or checkpoint of a pool that was "
            "meta-tuned (smat train)"
        )
    return Subject(_name(folder), path, pool.eval(), run, _curves(run) if run else None)


def _curves(run: Path) -> RunCurves | None:
    """What the log of a run says; of a run that has just begun, nothing."""
    try:
        return read_curves(run)
    except DataError as error:
        leave_out("file", f"it says nothing of the course of the run ({error})", [str(run / LOG)])
        return None


def check_alike(first: Subject, second: Subject, margin: float | None) -> None:
    """Raise a `ConfigError` unless two pools are around networks of one structure that take the same images.

    Args:
        first: the pool.
        second: what it is compared with.
        margin: margin that images are cut with; None for that of the pools.
    """
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
    margins = one.backbone.spec.margin, other.backbone.spec.margin
    if margin is None and margins[0] != margins[1]:
        raise ConfigError(
            f"'{first.path}' and '{second.path}' were trained with different margins, {margins[0]:g} and "
            f"{margins[1]:g}: choose one with --margin"
        )


def told_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """The pools, called by their paths where the last parts of these are the same; raises a `ConfigError` if all is."""
    names, paths = ([getattr(subject, what) for subject in subjects] for what in ("name", "path"))
    if len(set(names)) == len(names):
        return list(subjects)
    if len(set(paths)) < len(paths):
        raise ConfigError(f"--against '{paths[0]}' is the pool that is analysed: give another one")
    return [replace(subject, name=subject.path) for subject in subjects]


def of_one_backbone(first: Subject, second: Subject) -> bool:
    """Whether the pre-trained parameters are the same."""
    return same_backbone(first.pool, second.pool)


def _network(subject: Subject) -> str:
    return f"{subject.pool.backbone.spec.name}, {subject.pool.layout.size:,} parameters"


def _name(folder: Path) -> str:
    place = folder.absolute()
    return f"{place.parent.name}/{place.name}" if place.name in ("best", "last") else place.name
