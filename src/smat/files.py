"""Files that are whole or not there."""

import os
import tempfile
from pathlib import Path

from smat.errors import ConfigError


def check_writable(path: str | Path, what: str = "output") -> Path:
    """Make sure, before long work, that a file can be written there; makes its folder.

    Args:
        path: the file.
        what: what an error calls it.

    Raises:
        ConfigError: it is a folder, or its folder cannot be made or written to.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{what} '{path}' is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"{what} '{path}' cannot be written: {error.strerror}; choose a folder that you may write to"
        ) from error
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that nobody ever sees half of it: beside it first and to the disk, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
