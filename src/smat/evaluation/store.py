"""Finished results in a file of JSON lines, from which tables are made and an interrupted comparison goes on."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from smat.errors import CheckpointError
from smat.files import check_writable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellKey:
    """Everything that a result depends on.

    Attributes:
        method: what was evaluated.
        seed: its training seed; 0 for what is not trained.
        adapt: `none`, `full` or `lora`.
        learning_rate: the rule that chose the fine-tuning's learning rate; `""` without fine-tuning.
        domain: name of the domain.
        split: whose classes.
        protocol: the episodes' settings but for their number, and those of the fine-tuning.
        data: the domain's fingerprint.
        checkpoint: the pool's fingerprint.
    """

    method: str
    seed: int
    adapt: str
    learning_rate: str
    domain: str
    split: str
    protocol: dict[str, Any]
    data: str
    checkpoint: str

    def text(self) -> str:
        """The key as JSON; equal keys, and keys that were stored and read again, have equal texts."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Cell:
    """The results of one method on episodes of one domain.

    Attributes:
        key: what they depend on.
        role: the domain's: `id`, `ood` or `""`.
        first: number of the first episode.
        accuracies: of each episode, in order; the same episodes for all keys of one protocol and domain.
        calibration: queries, right answers and sum of the confidence by bins of confidence (`calibration_bins`).
        seconds: the method's own time, without the images and their frozen features.
        rates: learning rates of the episodes' fine-tuning, in order; none without.
    """

    key: CellKey
    role: str
    first: int
    accuracies: list[float]
    calibration: list[list[float]]
    seconds: float
    rates: list[float]

    def __add__(self, more: "Cell") -> "Cell":
        """Together with the episodes that follow."""
        return replace(
            self,
            accuracies=self.accuracies + more.accuracies,
            calibration=np.add(self.calibration, more.calibration).tolist(),
            seconds=self.seconds + more.seconds,
            rates=self.rates + more.rates,
        )


class Store:
    """Cells in a file, a line each; a cell that was added is there for good.

    A cell can be of some of a method's episodes on a domain; those that follow one another are found as one. A line
    that was being written when its process died is dropped, with a note, so that it is computed again.

    Args:
        path: the file; it and its folder are made where they are missing.

    Raises:
        CheckpointError: a line before the last is damaged.
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_writable(path)
        self._cells: dict[str, dict[int, dict[int, Cell]]] = {}  # by key, first episode and number of episodes
        content = self.path.read_bytes() if self.path.exists() else b""
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
                self._keep(Cell(**values | {"key": CellKey(**values["key"])}))
            except (ValueError, TypeError, KeyError) as error:
                raise CheckpointError(
                    f"line {number} of {self.path} is damaged ({error}): delete that line, and its result will be "
                    "computed again"
                ) from error
        if torn:
            _log.warning("%s ends within a line: that result is dropped, and computed again", self.path)
            os.truncate(self.path, len(content) - len(torn))

    def __len__(self) -> int:
        """Number of methods on domains."""
        return len(self._cells)

    def __iter__(self) -> Iterator[CellKey]:
        """Keys of what is stored, in the order in which it came."""
        return (CellKey(**json.loads(text)) for text in self._cells)

    def _keep(self, cell: Cell) -> None:
        starts = self._cells.setdefault(cell.key.text(), {})
        starts.setdefault(cell.first, {})[len(cell.accuracies)] = cell

    def find(self, key: CellKey, episodes: int) -> Cell | None:
        """What there is of that key's episodes from 0 on, at most so many; None if nothing."""
        starts, found, done = self._cells.get(key.text(), {}), None, 0
        while fitting := [n for n in starts.get(done, ()) if done + n <= episodes]:
            cell = starts[done][max(fitting)]
            found = found + cell if found else cell
            done += max(fitting)
        return found

    def add(self, cell: Cell) -> None:
        """Write a cell, by one call of the system, and make sure that it is on the disk."""
        line = json.dumps(asdict(cell)) + "\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
        self._keep(cell)
