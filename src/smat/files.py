"""Files that are whole or not there, and folders that one process at a time writes to."""

import errno
import logging
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from smat.errors import ConfigError, InUseError

Content = str | Callable[[Path], object]
"""A text, or a function that writes a file of the path that it is given."""

_log = logging.getLogger(__name__)

_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")  # names of what this process has open


_LOCK = ".lock"
_IN_USE = (
    "{} is in use by another process: wait until it has ended, or choose another folder (--out); to share the work of "
    "smat reproduce give --join to all of them"
)


def check_writable(path: str | Path, what: str = "output") -> Path:
    """Make sure, before long work, that a file can be written there; makes its folder.

    Args:
        path: the file.
        what: what an error calls it.

    Raises:
        ConfigError: it is a folder, its name is too long, or its folder cannot be made or written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ConfigError(f"{what} '{path}' is a folder; give the name of a file")
        if _written_in_place(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return path
        folder = _target(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{what} '{path}' cannot be written: {_why(error)}; {_advice(error)}") from error
    return path


def check_folder(folder: str | Path, what: str = "folder", mark: str = "") -> Path:
    """Make sure, before long work, that files can be written to a folder; where it is not there, it is not made.

    Args:
        folder: the folder.
        what: what an error calls it.
        mark: file by which a folder is known that `write_folder` will replace; without, other files may be in it.

    Raises:
        ConfigError: it is a file, its name is too long, it cannot be made or written to, or has other files.
    """
    folder = Path(folder)
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"'{nearest}' is a file")
        with tempfile.TemporaryFile(dir=nearest):
            pass
        foreign = mark and folder.exists() and not (folder / mark).is_file() and any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{what} '{folder}' cannot be written to: {_why(error)}; {_advice(error)}") from error
    if foreign:
        raise ConfigError(f"{what} '{folder}' has other files in it; give an empty or a new folder")
    return folder


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Within the block, that a file cannot be written is a `ConfigError` that says so, and what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be written: {_why(error)}; {_advice(error)}") from error


def write_whole(path: str | Path, content: Content, *, keep: bool = False) -> None:
    """Write a file so that nobody ever sees half of it: beside it first and to the disk, then renamed.

    Its mode is what the umask leaves. Of a link the target is replaced. What is no regular file, such as a device or a
    pipe, is written into.

    Args:
        path: the file.
        content: what to write.
        keep: whether the content took work: where it cannot be written, it is kept in the temporary folder, or shown.

    Raises:
        ConfigError: it cannot be written; the message says where the content is kept.
    """
    path = Path(path)
    try:
        with writing(path):
            _write(path, content)
    except ConfigError as error:
        if not keep:
            raise
        raise ConfigError(f"{error}. {_kept_elsewhere(path, content)}") from error


def _write(path: Path, content: Content) -> None:
    in_place, target = _written_in_place(path), _target(path)
    folder = Path(tempfile.gettempdir()) if in_place else target.parent
    beside = folder / f".{secrets.token_hex(8)}{path.suffix[:16]}"  # the suffix says the format, as of a figure
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        mode = stat.S_IMODE(beside.stat().st_mode)
        if isinstance(content, str):
            beside.write_text(content, encoding="utf-8", newline="")
        else:
            content(beside)
        if in_place:
            with beside.open("rb") as made, path.open("ab") as into:
                shutil.copyfileobj(made, into)
            return
        beside.chmod(mode)  # safetensors, for one, makes files that nobody else may read
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _kept_elsewhere(path: Path, content: Content) -> str:
    """Write what has no place to the temporary folder, or else to the screen; says where it is."""
    try:
        elsewhere = Path(tempfile.mkdtemp(prefix="smat-")) / (path.name[-64:] or "output")
        _write(elsewhere, content)
        return f"What should be in it is kept in {elsewhere}"
    except (OSError, SafetensorError):
        if not isinstance(content, str):
            return "The temporary folder has no room for it either"
        sys.stdout.write(content)
        return "What should be in it was printed: the temporary folder has no room either"


def write_folder(folder: str | Path, fill: Callable[[Path], object], mark: str, what: str = "output") -> None:
    """Make a folder that is whole or not there: beside it first, then renamed.

    Args:
        folder: the folder.
        fill: writes its files into the folder that it is given.
        mark: file by which an earlier folder of the kind is known, which is replaced.
        what: what an error calls it.

    Raises:
        ConfigError: there is something else in its place, or it cannot be written.
    """
    folder = check_folder(folder, what, mark)
    target = _target(folder)
    beside = target.parent / f".{secrets.token_hex(8)}"
    with writing(folder):
        try:
            (beside / "new").mkdir(parents=True)
            fill(beside / "new")
            if target.exists():
                target.rename(beside / "old")
            (beside / "new").rename(target)
        finally:
            if (beside / "old").exists() and not target.exists():
                (beside / "old").rename(target)
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within the block no other process enters such a block of the folder, which is made; a kill frees it too.

    Raises:
        InUseError: another process is in it.
        ConfigError: the folder cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InUseError(_IN_USE.format(folder)) from error
    except (OSError, NotImplementedError) as error:
        _log.warning("%s cannot be locked (%s): see to it that no two commands write to it at once", folder, error)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Within the block other processes may be in such a block of the folder too, but none in one of `locked`.

    Raises:
        InUseError: another process has the folder for itself.
        ConfigError: the folder cannot be written to.
    """
    import fcntl  # not on Windows

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _LOCK
        while True:
            file = path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise InUseError(_IN_USE.format(folder)) from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    break
            file.close()  # whoever had it has removed the file since it was opened
    with file:
        yield


def _written_in_place(path: Path) -> bool:
    """Whether it is not to be replaced by another file: a device, a pipe, or a stream of this process."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False
    return not regular or str(path.absolute()).startswith(_STREAMS)


def _target(path: Path) -> Path:
    """The file that a link leads to, or the file itself."""
    return Path(os.path.realpath(path))


def _why(error: OSError | SafetensorError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _advice(error: OSError | SafetensorError) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return "make room, or choose another place"
    if code == errno.ENAMETOOLONG:
        return "choose a shorter name"
    return "choose a place that you may write to"
