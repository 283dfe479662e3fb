"""Finished results in a file of JSON lines, from which tables are made and an interrupted comparison goes on."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smat.errors import CheckpointError
from smat.evaluation.files import check_writable

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
        protocol: the episodes' settings, and those of the fine-tuning.
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
    """The results of one method on one domain.

    Attributes:
        key: what they depend on.
        role: the domain's: `id`, `ood` or `""`.
        accuracies: of each episode, in order; the same episodes for all keys of one protocol and domain.
        confidence: mean confidence over all queries.
        calibration_error: expected calibration error, in 0..1.
        seconds: the method's own time, without the images and their frozen features.
        rates: learning rates of the episodes' fine-tuning, in order; none without.
    """

    key: CellKey
    role: str
    accuracies: list[float]
    confidence: float
    calibration_error: float
    seconds: float
    rates: list[float]


class Store:
    """Cells in a file, a line each; a cell that was added is there for good.

    A line that was being written when its process died is dropped, with a note, so that it is computed again.

    Args:
        path: the file; it and its folder are made where they are missing.

    Raises:
        CheckpointError: a line before the last is damaged.
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_writable(path)
        self._cells: dict[str, Cell] = {}
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
        return len(self._cells)

    def _keep(self, cell: Cell) -> None:
        self._cells[cell.key.text()] = cell

    def find(self, key: CellKey) -> Cell | None:
        """The cell of that key, if it is finished."""
        return self._cells.get(key.text())

    def add(self, cell: Cell) -> None:
        """Write a cell, by one call of the system, and make sure that it is on the disk."""
        line = json.dumps(asdict(cell)) + "\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
        self._keep(cell)
