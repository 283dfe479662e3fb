"""What the settings of a sweep came to on groups of domains, as numbers for figures and programs."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smat.evaluation import Comparison, Line
from smat.files import write_whole
from smat.recipes.reproduce.setting import Setting
from smat.statistics import Interval, average

ROLES = {"id": "ID", "ood": "OOD"}
"""How figures call the roles of domains."""

TRAINED_ON, LEFT_OUT = "trained on", "left out"
"""Training domains of the base configuration that a setting was trained on, and the others of them."""


@dataclass(frozen=True)
class Point:
    """A setting on a group of domains, each domain counting alike.

    Attributes:
        setting: its name.
        place: where it lies in a figure, by name: `method` and `Setting.point`.
        group: name of the group.
        domains: names of the domains.
        accuracy: mean over training seeds, with the interval of the choice of episodes.
        gain: paired difference to the frozen network, on the same episodes; None of the frozen network itself, and
            where it was not compared.
    """

    setting: str
    place: dict[str, Any]
    group: str
    domains: tuple[str, ...]
    accuracy: Interval
    gain: Interval | None


def by_role(_: Setting, line: Line) -> str | None:
    """The group of a domain: ID or OOD."""
    return ROLES.get(line.role)


def by_training(settings: Sequence[Setting]) -> Callable[[Setting, Line], str]:
    """The groups of domains in a comparison of settings that were trained on different domains.

    What a setting was trained on is in another group than what only others were trained on; all other domains are OOD,
    whatever their role elsewhere: none of the networks saw them.
    """
    ever = {name for setting in settings for name in setting.point.get("trained_on", ())}

    def group(setting: Setting, line: Line) -> str:
        if line.name in setting.point.get("trained_on", ()):
            return TRAINED_ON
        return LEFT_OUT if line.name in ever else ROLES["ood"]

    return group


def points_of(
    comparison: Comparison, settings: Sequence[Setting], group: Callable[[Setting, Line], str | None]
) -> list[Point]:
    """The points of a comparison; settings that are not in it, as with a fine-tuning that cannot tune them, have none.

    Args:
        comparison: the results.
        settings: what was compared.
        group: the group of a domain for a setting; None: it belongs to none.
    """
    points = []
    for setting in (setting for setting in settings if setting.name in comparison.methods):
        groups: dict[str, list[Line]] = {}
        for line in comparison.lines:
            if name := group(setting, line):
                groups.setdefault(name, []).append(line)
        for name, lines in groups.items():
            entries = [line.entries[setting.name] for line in lines]
            gains = [entry.difference for entry in entries if entry.difference]
            points.append(
                Point(
                    setting.name,
                    {"method": setting.name, **setting.point},
                    name,
                    tuple(line.name for line in lines),
                    average([entry.accuracy for entry in entries]),
                    average(gains) if gains and comparison.against == "pretrained" else None,
                )
            )
    return points


def write_points(points: Sequence[Point], path: Path) -> Path:
    """Write points as a CSV file; accuracies are shares, not per cent.

    Raises:
        ConfigError: if it cannot be written.
    """
    rows = [
        {
            "setting": point.setting,
            **point.place,
            "group": point.group,
            "accuracy": point.accuracy.mean,
            "half_width": point.accuracy.half_width,
            "gain": point.gain and point.gain.mean,
            "gain_half_width": point.gain and point.gain.half_width,
            "averaged_over": point.domains,
        }
        for point in points
    ]
    return write_rows(rows, path)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write rows as a CSV file with a column for each name in any of them; what a row lacks is left empty.

    Raises:
        ConfigError: if it cannot be written.
    """
    text = io.StringIO()
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    write_whole(path, text.getvalue(), keep=True)
    return path


def _text(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, tuple) else value
