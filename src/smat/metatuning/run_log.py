"""The log of a run: a line of JSON for each optimizer step, and for what is looked at on the way."""

import json
from pathlib import Path
from typing import Any

LOG = "log.jsonl"
"""File within the folder of a run."""


def read_log(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The lines of a log, each with its number of training tasks as `tasks`, and the numbers of those that are no such.

    A kill or a loss of power leaves half a line. No file has no lines. Raises an OSError for one that cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    rows, broken = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        tasks = row.get("tasks") if isinstance(row, dict) else None
        if type(tasks) is int and 0 <= tasks < 2**31:
            rows.append(row)
        else:
            broken.append(number)
    return rows, broken
