"""Finished results in a file of JSON lines, from which tables are made and an interrupted comparison resumes."""

import errno
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from smat.errors import CheckpointError
from smat.evaluation.cells import Cell, CellKey
from smat.files import check_writable, writing
from smat.schema import parse_json

_log = logging.getLogger(__name__)


class Store:
    """Cells in a file, one per line; a cell that was added is there for good.

    A cell can hold some of a method's episodes on a domain; cells that follow one another are found as one. A line that
    was being written when its process died is dropped, with a warning, so that it is computed again.

    Several processes can share the work: each adds to a file of its own, and all files are read as one.

    Args:
        path: the file; it and its folder are made where they are missing.
        worker: name of a process among several: it adds to a file beside `path` that has this name in its own.

    Raises:
        CheckpointError: if a line before the last is damaged.
        ConfigError: if the file cannot be written.
    """

    def __init__(self, path: str | Path, worker: str = "") -> None:
        self.path = check_writable(path)
        self._own = self.path.with_stem(f"{self.path.stem}-{worker}") if worker else self.path
        self._cells: dict[str, dict[int, dict[int, Cell]]] = {}  # by key, first episode and number of episodes
        self._read: dict[Path, tuple[int, int]] = {}  # bytes and lines of each file so far
        self.refresh()
        if not worker and self.path.exists() and (torn := self.path.stat().st_size - self._read[self.path][0]):
            _log.warning("%s ends within a line: that result is dropped, and computed again", self.path)
            os.truncate(self.path, self.path.stat().st_size - torn)

    def refresh(self) -> None:
        """Read what other processes have added."""
        for path in sorted(self.path.parent.glob(f"{self.path.stem}*{self.path.suffix}")):
            start, count = self._read.get(path, (0, 0))
            with path.open("rb") as file:
                file.seek(start)
                content = file.read()
            *lines, torn = content.split(b"\n")  # what is torn may still be written
            for number, line in enumerate(lines, start=count + 1):
                where = f"line {number} of '{path}' is damaged, and"
                advice = "Please delete that line, and its result will be computed again"
                self._keep(parse_json(line, Cell, where, CheckpointError, advice))
            self._read[path] = start + len(content) - len(torn), count + len(lines)

    def __len__(self) -> int:
        """Number of keys: of methods on domains."""
        return len(self._cells)

    def __iter__(self) -> Iterator[CellKey]:
        """The keys, in the order in which they were added."""
        return (CellKey(**json.loads(text)) for text in self._cells)

    def _keep(self, cell: Cell) -> None:
        starts = self._cells.setdefault(cell.key.text(), {})
        starts.setdefault(cell.first, {})[len(cell.accuracies)] = cell

    def find(self, key: CellKey, episodes: int, first: int = 0) -> Cell | None:
        """What is stored of that key's episodes first..episodes-1 without a gap; None if there is nothing."""
        starts, found, done = self._cells.get(key.text(), {}), None, first
        while fitting := [n for n in starts.get(done, ()) if done + n <= episodes]:
            cell = starts[done][max(fitting)]
            found = found + cell if found else cell
            done += max(fitting)
        return found

    def add(self, cell: Cell) -> None:
        """Write a cell in one system call, and make sure that it is on the disk.

        Raises:
            ConfigError: it cannot be written, as on a full disk.
        """
        line = (json.dumps(asdict(cell)) + "\n").encode()
        with writing(self._own), self._own.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(line) < len(line):  # where the disk became full
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        self._keep(cell)
        self._read[self._own] = before + len(line), self._read.get(self._own, (0, 0))[1] + 1
