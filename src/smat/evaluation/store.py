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

    Args:
        path: the file; it and its folder are made where they are missing.

    Raises:
        CheckpointError: if a line before the last is damaged.
        ConfigError: if the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_writable(path)
        self._cells: dict[str, dict[int, dict[int, Cell]]] = {}  # by key, first episode and number of episodes
        content = self.path.read_bytes() if self.path.exists() else b""
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            where = f"line {number} of '{self.path}' is damaged, and"
            advice = "Please delete that line, and its result will be computed again"
            self._keep(parse_json(line, Cell, where, CheckpointError, advice))
        if torn:
            _log.warning("%s ends within a line: that result is dropped, and computed again", self.path)
            os.truncate(self.path, len(content) - len(torn))

    def __len__(self) -> int:
        """Number of keys: of methods on domains."""
        return len(self._cells)

    def __iter__(self) -> Iterator[CellKey]:
        """The keys, in the order in which they were added."""
        return (CellKey(**json.loads(text)) for text in self._cells)

    def _keep(self, cell: Cell) -> None:
        starts = self._cells.setdefault(cell.key.text(), {})
        starts.setdefault(cell.first, {})[len(cell.accuracies)] = cell

    def find(self, key: CellKey, episodes: int) -> Cell | None:
        """What is stored of that key's episodes from 0 on, at most so many; None if there is nothing."""
        starts, found, done = self._cells.get(key.text(), {}), None, 0
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
        with writing(self.path), self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(line) < len(line):  # where the disk became full
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        self._keep(cell)
