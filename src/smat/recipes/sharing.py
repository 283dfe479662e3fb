"""How work is shared among processes that are given one folder."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from rich.console import Console

from smat.files import locked, shared, write_whole, writing

SPAN = 100
"""Episodes that a process takes at a time: a multiple of those between two saves of a comparison."""

_LEASES = ".leases"
_PAUSE = 2.0  # seconds between two looks at what others do

Found = TypeVar("Found")


@dataclass
class Sharing:
    """What a process has of the work in a folder.

    A process takes a part of the work by a lock of the file system, which is free again when it dies.

    Attributes:
        folder: the folder.
        joined: whether others may work in it too, all of them knowing of each other; if not, it is this process's own.
    """

    folder: Path
    joined: bool
    _said: str = ""

    def new_name(self) -> str:
        """A name for this process that no other has, also on other machines; empty where it is alone."""
        return secrets.token_hex(6) if self.joined else ""

    def held(self) -> AbstractContextManager[None]:
        """The folder, for as long as the work takes.

        Raises:
            InUseError: another process has it for itself, or this one wants to and others are in it.
        """
        return shared(self.folder) if self.joined else locked(self.folder)

    def spans(self, episodes: int, most: int | None = None) -> list[tuple[int, int]]:
        """Episodes that are evaluated in one go, each as the first one and the one after the last.

        Args:
            episodes: number of all.
            most: number of those that are taken at a time, `SPAN` by default.
        """
        step = (most or SPAN) if self.joined else episodes
        return [(first, min(first + step, episodes)) for first in range(0, episodes, step)]

    @contextmanager
    def lease(self, *what: object) -> Iterator[bool]:
        """Take a part of the work, unless another process has it: whether this one may do it."""
        if not self.joined:
            yield True
            return
        lock = FileLock(self._lock(*what), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def one_after_another(self, *what: object) -> AbstractContextManager[object]:
        """Do what all processes do, but not at once: the others find what the first has written."""
        return FileLock(self._lock(*what)) if self.joined else nullcontext()

    def agreed(self, name: str, find: Callable[[], str]) -> str:
        """What the first process found, for all."""
        if not self.joined:
            return find()
        path = self.folder / name
        with self.one_after_another(name):
            if not path.exists():
                write_whole(path, find())
            return path.read_text()

    def wait(self, what: str, console: Console) -> None:
        """Wait a little for the others, and say what for when that is something new."""
        if what != self._said:
            console.print(f"waiting for others: {what}", soft_wrap=True, markup=False, highlight=False)
            self._said = what
        time.sleep(_PAUSE)

    def _lock(self, *what: object) -> Path:
        folder = self.folder / _LEASES
        with writing(folder):
            folder.mkdir(exist_ok=True)
        return folder / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}.lock"
