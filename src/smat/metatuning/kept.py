"""The pools that a run keeps for good on its way: `kept/task-000100` after 100 tasks."""

import re
import shutil
from pathlib import Path

KEPT = "kept"
"""Folder within that of a run."""


def kept_folder(tasks: int) -> str:
    """Where a pool of so many tasks is kept, within the folder of its run."""
    return f"{KEPT}/task-{tasks:06d}"


def kept_pools(folder: str | Path) -> dict[int, Path]:
    """The pools that the run in a folder has kept, by number of tasks, in their order; none where it kept none."""
    found = Path(folder, KEPT).glob("task-*")
    tasks = {path: re.fullmatch(r"task-(\d{6,})", path.name) for path in found if path.is_dir()}
    return dict(sorted((int(match[1]), path) for path, match in tasks.items() if match))


def drop_kept(folder: Path, after: int) -> None:
    """Remove the pools of more than so many tasks, from where a run does not go on."""
    for tasks, path in kept_pools(folder).items():
        if tasks > after:
            shutil.rmtree(path, ignore_errors=True)
