"""What the folder of a training holds, and what a run that goes on must share with the one that began."""

import hashlib
import logging
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smat.domains import Domain
from smat.errors import CheckpointError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.checkpoints import STATES
from smat.metatuning.kept import KEPT
from smat.metatuning.run_log import LOG
from smat.process import versions
from smat.recipes.rate_search import RECORD
from smat.schema import read_yaml

_log = logging.getLogger(__name__)

SETTINGS, ORIGINS = "config.yaml", "versions.yaml"
ANEW = "Start a new run in another folder"
FREE = (
    "workers",
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "loggers",
    "callbacks",
    "verify",
    "max_pixels",
    "test_domains",
    "tuning.checkpoint_every",
    "tuning.record_alignment",
    "tuning.keep_every",
    "tuning.activation_checkpointing",
    "tuning.compile",  # but for rounding, which is said
)
"""Settings that a resumed run may change: they do not change its numbers."""

COLLAPSE = "collapse.yaml"  # there from a collapse until the run is resumed at another pace


def is_begun(folder: Path) -> bool:
    """Whether a folder has anything that a run can go on from; if not, a run begins there as in an empty one.

    Settings alone are left by a run that was killed before it saved its first state, or that failed at its start.
    """
    return any((folder / name).exists() for name in (*STATES, "last", RECORD, COLLAPSE))


def clear(folder: Path) -> None:
    """Remove what a run that is not begun left behind, where a new one does not write anew."""
    (folder / LOG).unlink(missing_ok=True)
    for name in ("tensorboard", KEPT):
        shutil.rmtree(folder / name, ignore_errors=True)


def origins_of(
    domains: Sequence[Domain], pool: SparseInterpolatedExperts, init: str | None = None, *, compiled: bool = False
) -> dict[str, Any]:
    """What a run's numbers depend on besides its settings: versions, and fingerprints of backbone and data.

    Args:
        domains: the run's domains.
        pool: what it begins with.
        init: where that is from, if not new.
        compiled: whether experts are merged by compiled kernels.
    """
    packages = versions("torch", "transformers", "lightning", "kornia", "datasets")
    return {
        "versions": packages | {"python": platform.python_version()},
        "compiled": compiled,
        "backbone": backbone_fingerprint(pool),
        "data": {domain.name: domain.fingerprint for domain in domains},
    } | ({} if init is None else {"init": pool.fingerprint()})


def backbone_fingerprint(pool: SparseInterpolatedExperts) -> str:
    """A hash of the frozen parameters and the buffers of a pool's network."""
    digest = hashlib.sha256()
    for name, value in sorted({"": pool.pretrained, **dict(pool.backbone.named_buffers())}.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Origins:
    """What going on needs to know of `versions.yaml`; the first runs wrote the data only."""

    data: dict[str, str]
    backbone: str | None = None
    init: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    compiled: bool = False


def read_origins(folder: Path) -> dict[str, Any]:
    """What `origins_of` gave when the run in a folder began, with whatever else is written there.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    read_yaml(folder / ORIGINS, _Origins, CheckpointError, ANEW, extra="ignore")
    return read_yaml(folder / ORIGINS, dict, CheckpointError, ANEW)


def check_origins(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Compare what a run began with, and what it would go on with; other versions are only warned of.

    Args:
        before: what `read_origins` gives.
        now: as `origins_of` gives it; versions and kernels may be left out, and are not compared then.
        folder: folder of the run.

    Raises:
        CheckpointError: the data, the weights of the backbone or the checkpoint to begin with have changed.
    """
    was, data = before["data"], now["data"]
    if was != data:
        names = sorted(name for name in was | data if was.get(name) != data.get(name))
        raise CheckpointError(f"the data of the run in {folder} have changed: {', '.join(names)}. Start a new run")
    if "backbone" not in before:
        _log.info("the run in %s does not say which weights its backbone had: they are taken to be the same", folder)
    elif before["backbone"] != now.get("backbone", before["backbone"]):
        raise CheckpointError(
            f"the backbone of the run in {folder} has changed: its weights are not those that the run began with. Put "
            "these back, or start a new run (--out)"
        )
    if before.get("init") != now.get("init"):
        raise CheckpointError(
            f"the checkpoint that the run in {folder} began with (init) has changed: put it back, or start a new run "
            "(--out)"
        )
    began, goes_on = before.get("versions", {}), now.get("versions", {})
    changed = [f"{name} {began[name]}, now {new}" for name, new in goes_on.items() if began.get(name, new) != new]
    if "compiled" in now and now["compiled"] != before.get("compiled", False):
        changed.append("plain code, now compiled kernels" if now["compiled"] else "compiled kernels, now plain code")
    if changed:
        _log.warning(
            "the run in %s began with %s: its numbers may differ from those of a run in one go",
            folder,
            "; ".join(changed),
        )
