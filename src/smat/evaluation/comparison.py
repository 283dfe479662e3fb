"""From results to a comparison: domains against methods, with averages, ranks and paired differences."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import rankdata

from smat.errors import DataError
from smat.evaluation.cells import Cell, with_tuning
from smat.statistics import Interval, average, calibration_error, holm, interval, paired_difference

AVERAGES = {
    "id": "ID average",
    "ood": "OOD average",
    "all": "ID+OOD average",
    "validation": "validation average",
    "": "average",
}
"""Names of averages by role; `all` is over all domains that are ID or OOD, each counting alike."""


@dataclass(frozen=True)
class Entry:
    """The result of one method on a domain, or its average over several; all numbers are shares, not per cent.

    Attributes:
        accuracy: mean over training seeds, with the 95 % interval of the choice of episodes.
        by_seed: accuracy of each training seed.
        difference: difference to the method compared against, on the same episodes; None for that method, or without
            one.
        calibration_error: mean over training seeds.
        p_value: of the difference on a domain, adjusted for the number of domains (`holm`).
    """

    accuracy: Interval
    by_seed: tuple[float, ...]
    difference: Interval | None
    calibration_error: float
    p_value: float | None = None

    @property
    def spread(self) -> float | None:
        """Standard deviation over training seeds; None where there is one only."""
        return statistics.stdev(self.by_seed) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Line:
    """A domain, or the average over the domains of a role.

    Attributes:
        name: the domain, or what was averaged.
        role: `id`, `ood`, `validation` or `""`; `all` for the average over ID and OOD domains.
        episodes: number of episodes of each method.
        entries: results by method.
    """

    name: str
    role: str
    episodes: int
    entries: dict[str, Entry]

    @property
    def best(self) -> list[str]:
        """The method with the highest accuracy, or those that share it."""
        means = {method: entry.accuracy.mean for method, entry in self.entries.items()}
        return [method for method, mean in means.items() if math.isclose(mean, max(means.values()))]


@dataclass(frozen=True)
class Comparison:
    """Methods on the same episodes.

    Attributes:
        title: what is compared.
        methods: names in the order of the columns; where there are several kinds of fine-tuning, `smat + full`.
        against: method that the differences are to; None where there are no differences.
        lines: one per domain, those of a role together.
        averages: one per role that two or more domains have, and one over all ID and OOD domains where there are both.
        ranks: mean rank of each method over the domains; 1 is the best, and ties share theirs.
        paper: numbers of the paper by the name of a line and method, where they are to be shown.
        passes: passes through a network that an image takes to be classified, by method.
        baselines: what each method's differences are to: `against`, with the fine-tuning of the method.
    """

    title: str
    methods: list[str]
    against: str | None
    lines: list[Line]
    averages: list[Line]
    ranks: dict[str, float]
    paper: dict[str, dict[str, float]] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    baselines: dict[str, str] = field(default_factory=dict)

    @property
    def baseline(self) -> str:
        """What the differences are to, in words."""
        alike = set(self.baselines.values()) <= {self.against}
        return f"{self.against}{'' if alike else ' with the same fine-tuning'}"


def compare(
    cells: Sequence[Cell],
    *,
    against: str | None = None,
    title: str = "",
    paper: Mapping[str, dict[str, float]] | None = None,
) -> Comparison:
    """Compare methods by their cells.

    Where there are several kinds of fine-tuning, each method has a column for each of its kinds, and differences are
    between columns of one kind.

    Training seeds are averaged episode by episode before the interval is taken: they share their episodes, so that
    pooling them as if they were independent would promise too narrow an interval. The interval covers the choice of
    episodes; `Entry.spread` says how much trainings differ.

    Args:
        cells: one per method, fine-tuning, training seed and domain; every method on the same domains and episodes.
        against: method that the differences are to, where the cells have it.
        title: what is compared.
        paper: numbers of the paper by the name of a line and `CellKey.column` (`paper_numbers`).

    Raises:
        DataError: if there are no cells, a method lacks a domain, or the episodes differ.
    """
    if not cells:
        raise DataError("there are no results to compare; evaluate at least one domain")
    kinds = {cell.key.adapt for cell in cells}

    def column(method: str, adapt: str) -> str:
        return method if len(kinds) == 1 else with_tuning(method, adapt)

    columns: dict[str, list[Cell]] = {}
    for cell in cells:
        columns.setdefault(column(cell.key.method, cell.key.adapt), []).append(cell)
    roles = {cell.key.domain: cell.role for cell in cells}
    seeds = {
        name: {d: [c.key.seed for c in found if c.key.domain == d] for d in roles} for name, found in columns.items()
    }
    uneven = [name for name, found in seeds.items() if any(s != found[next(iter(roles))] for s in found.values())]
    if uneven:
        raise DataError(f"{', '.join(uneven)}: not the same training seeds on every domain; evaluate what is missing")
    domains = sorted(roles, key=lambda domain: list(AVERAGES).index(roles[domain]))
    to = {name: column(against, found[0].key.adapt) for name, found in columns.items()} if against else {}
    baselines = {name: baseline for name, baseline in to.items() if baseline in columns and baseline != name}
    lines = _with_p_values([_line(domain, roles[domain], columns, baselines) for domain in domains])
    means = np.array([[line.entries[name].accuracy.mean for name in columns] for line in lines])
    ranks = rankdata(-means, axis=1).mean(axis=0).tolist()
    return Comparison(
        title=title,
        methods=list(columns),
        against=against if any(cell.key.method == against for cell in cells) else None,
        lines=lines,
        averages=_averages(lines),
        ranks=dict(zip(columns, ranks, strict=True)),
        paper={line: _renamed(row, columns) for line, row in (paper or {}).items()},
        passes={name: found[0].passes for name, found in columns.items()},
        baselines=baselines,
    )


def _renamed(row: Mapping[str, float], columns: Mapping[str, Sequence[Cell]]) -> dict[str, float]:
    """A row of the paper by the names of our columns, as far as it has them."""
    theirs = {name: found[0].key.column for name, found in columns.items()}
    return {name: row[column] for name, column in theirs.items() if column in row}


def _line(domain: str, role: str, columns: Mapping[str, Sequence[Cell]], baselines: Mapping[str, str]) -> Line:
    found = {name: [cell for cell in cells if cell.key.domain == domain] for name, cells in columns.items()}
    lengths = {m: {len(cell.accuracies) for cell in group} for m, group in found.items()}
    if len({frozenset(length) for length in lengths.values()}) > 1 or any(len(n) != 1 for n in lengths.values()):
        raise DataError(
            f"the results on '{domain}' are not of the same episodes: {lengths} episodes by method; evaluate all alike"
        )
    episodes = {m: np.mean([cell.accuracies for cell in group], axis=0) for m, group in found.items()}

    def entry(method: str) -> Entry:
        group, baseline = found[method], baselines.get(method)
        return Entry(
            accuracy=interval(episodes[method]),
            by_seed=tuple(statistics.fmean(cell.accuracies) for cell in group),
            difference=paired_difference(episodes[method], episodes[baseline]) if baseline else None,
            calibration_error=statistics.fmean(calibration_error(cell.calibration) for cell in group),
        )

    return Line(domain, role, len(next(iter(episodes.values()))), {method: entry(method) for method in columns})


def _with_p_values(lines: Sequence[Line]) -> list[Line]:
    """The lines of all domains, with the p-values of their differences: a method makes a claim on each domain."""
    for method in lines[0].entries:
        differences = [line.entries[method].difference for line in lines]
        adjusted = holm([difference.p_value for difference in differences if difference])
        lines = [
            replace(line, entries=line.entries | {method: replace(line.entries[method], p_value=p_value)})
            for line, p_value in zip(lines, adjusted or [None] * len(lines), strict=True)
        ]
    return list(lines)


def _averages(lines: Sequence[Line]) -> list[Line]:
    """The averages of roles with several domains, and that of ID and OOD domains where there are both."""
    groups = {role: [line for line in lines if line.role == role] for role in AVERAGES}
    if groups["id"] and groups["ood"]:
        groups["all"] = groups["id"] + groups["ood"]
    return [_average_line(group, role) for role, group in groups.items() if len(group) > 1]


def _average_line(lines: Sequence[Line], role: str) -> Line:
    """The average over domains, each counting alike."""
    entries = {}
    for method in lines[0].entries:
        group = [line.entries[method] for line in lines]
        differences = [entry.difference for entry in group if entry.difference]
        entries[method] = Entry(
            accuracy=average([entry.accuracy for entry in group]),
            by_seed=tuple(map(statistics.fmean, zip(*(entry.by_seed for entry in group), strict=True))),
            difference=average(differences) if differences else None,
            calibration_error=statistics.fmean(entry.calibration_error for entry in group),
        )
    return Line(AVERAGES[role], role, sum(line.episodes for line in lines), entries)


def role_lines(comparison: Comparison) -> dict[str, Line]:
    """The average of each role, or its only domain; under `all` that over ID and OOD domains."""
    return {line.role: line for line in [*comparison.lines, *comparison.averages]}
