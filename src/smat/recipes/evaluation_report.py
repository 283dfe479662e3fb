"""The JSON file of `smat evaluate`."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smat.domains import Domain
from smat.evaluation import Comparison, EpisodeRow, Line
from smat.files import write_whole
from smat.plugins import plain
from smat.process import versions
from smat.statistics import Interval


def write_report(
    path: Path,
    comparison: Comparison,
    rows: Sequence[EpisodeRow],
    domains: Sequence[Domain],
    settings: Mapping[str, Any],
    complete: bool,
) -> None:
    """Write everything that was found and that it depends on.

    Args:
        path: file to write.
        comparison: the results.
        rows: each episode.
        domains: domains in the order in which they were given.
        settings: settings of the command.
        complete: whether all episodes were evaluated.
    """
    lines = {line.name: line for line in comparison.lines}
    report = {
        "complete": complete,
        "config": plain(settings),
        "versions": versions("torch", "transformers", "datasets", "pillow") | {"python": platform.python_version()},
        "domains": {domain.name: {"role": domain.role, "fingerprint": domain.fingerprint} for domain in domains},
        "against": comparison.against,
        "summary": [_summary(lines[domain.name]) for domain in domains if domain.name in lines],
        "averages": [_summary(line) for line in comparison.averages],
        "passes": comparison.passes,
        "rows": [_row(row) for row in rows],
    }
    write_whole(path, json.dumps(report, indent=1) + "\n", keep=True)


def _summary(line: Line) -> dict[str, Any]:
    entries = line.entries.items()
    return {
        "name": line.name,
        "role": line.role,
        "episodes": line.episodes,
        "accuracy": {method: _interval(entry.accuracy) for method, entry in entries},
        "difference": {method: _interval(entry.difference) for method, entry in entries if entry.difference},
        "p_value": {method: _finite(entry.p_value) for method, entry in entries if entry.p_value is not None},
        "calibration_error": {method: entry.calibration_error for method, entry in entries},
    }


def _interval(value: Interval) -> dict[str, float | None]:
    """An interval with null for NaN and infinity, which JSON does not have."""
    return {name: _finite(getattr(value, name)) for name in ("mean", "half_width", "standard_error", "dof")}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _row(row: EpisodeRow) -> dict[str, Any]:
    facts = {key: getattr(row, key) for key in ("id", "domain", "n", "way", "n_support", "n_query")}
    return facts | {
        "accuracy": {method: outcome.accuracy for method, outcome in row.outcomes.items()},
        "confidence": {method: float(outcome.confidence.mean()) for method, outcome in row.outcomes.items()},
    }
