"""From results to a comparison: domains against methods, with averages, ranks and paired differences."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from smat.errors import ConfigError, DataError
from smat.evaluation.cells import Cell
from smat.schema import read_json
from smat.statistics import Interval, average, calibration_error, holm, interval, paired_difference

AVERAGES = {"id": "ID average", "ood": "OOD average", "validation": "validation average", "": "average"}


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
        role: `id`, `ood`, `validation` or `""`.
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
        methods: names in the order of the columns.
        against: method that the differences are to; None where there are no differences.
        lines: one per domain, those of a role together.
        averages: one per role that two or more domains have.
        ranks: mean rank of each method over the domains; 1 is the best, and ties share theirs.
        paper: averages of the paper by role and method, where they are to be shown.
        passes: passes through a network that an image takes to be classified, by method.
    """

    title: str
    methods: list[str]
    against: str | None
    lines: list[Line]
    averages: list[Line]
    ranks: dict[str, float]
    paper: dict[str, dict[str, float]] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)


def compare(
    cells: Sequence[Cell],
    *,
    against: str | None = None,
    title: str = "",
    paper: Mapping[str, dict[str, float]] | None = None,
) -> Comparison:
    """Compare methods by their cells, all of one kind of adaptation.

    Training seeds are averaged episode by episode before the interval is taken: they share their episodes, so that
    pooling them as if they were independent would promise too narrow an interval. The interval covers the choice of
    episodes; `Entry.spread` says how much trainings differ.

    Args:
        cells: one per method, training seed and domain; every method on the same domains and episodes.
        against: method that the differences are to, where the cells have it.
        title: what is compared.
        paper: averages of the paper by role and method (`paper_averages`).

    Raises:
        DataError: if there are no cells, a method lacks a domain, or the episodes differ.
    """
    if not cells:
        raise DataError("there are no results to compare; evaluate at least one domain")
    methods = list(dict.fromkeys(cell.key.method for cell in cells))
    roles = {cell.key.domain: cell.role for cell in cells}
    seeds = {
        m: {d: [c.key.seed for c in cells if (c.key.method, c.key.domain) == (m, d)] for d in roles} for m in methods
    }
    uneven = [method for method, found in seeds.items() if any(s != found[next(iter(roles))] for s in found.values())]
    if uneven:
        raise DataError(f"{', '.join(uneven)}: not the same training seeds on every domain; evaluate what is missing")
    domains = sorted(roles, key=lambda domain: list(AVERAGES).index(roles[domain]))
    baseline = against if against in methods else None
    lines = _with_p_values([_line(domain, roles[domain], cells, methods, baseline) for domain in domains])
    groups = {role: [line for line in lines if line.role == role] for role in AVERAGES}
    means = np.array([[line.entries[method].accuracy.mean for method in methods] for line in lines])
    ranks = rankdata(-means, axis=1).mean(axis=0).tolist()
    return Comparison(
        title=title,
        methods=methods,
        against=baseline,
        lines=lines,
        averages=[_average_line(group, AVERAGES[role]) for role, group in groups.items() if len(group) > 1],
        ranks=dict(zip(methods, ranks, strict=True)),
        paper=dict(paper or {}),
        passes={cell.key.method: cell.passes for cell in cells},
    )


def _line(domain: str, role: str, cells: Sequence[Cell], methods: Sequence[str], against: str | None) -> Line:
    found = {m: [c for c in cells if c.key.method == m and c.key.domain == domain] for m in methods}
    lengths = {m: {len(cell.accuracies) for cell in group} for m, group in found.items()}
    if len({frozenset(length) for length in lengths.values()}) > 1 or any(len(n) != 1 for n in lengths.values()):
        raise DataError(
            f"the results on '{domain}' are not of the same episodes: {lengths} episodes by method; evaluate all alike"
        )
    episodes = {m: np.mean([cell.accuracies for cell in group], axis=0) for m, group in found.items()}

    def entry(method: str) -> Entry:
        group = found[method]
        return Entry(
            accuracy=interval(episodes[method]),
            by_seed=tuple(statistics.fmean(cell.accuracies) for cell in group),
            difference=None if against in (None, method) else paired_difference(episodes[method], episodes[against]),
            calibration_error=statistics.fmean(calibration_error(cell.calibration) for cell in group),
        )

    return Line(domain, role, len(episodes[methods[0]]), {method: entry(method) for method in methods})


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


def _average_line(lines: Sequence[Line], name: str) -> Line:
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
    return Line(name, lines[0].role, sum(line.episodes for line in lines), entries)


def role_lines(comparison: Comparison) -> dict[str, Line]:
    """The average of each role, or its only domain."""
    return {line.role: line for line in [*comparison.lines, *comparison.averages]}


def paper_averages(path: str | Path, table: str, adapt: str) -> dict[str, dict[str, float]]:
    """The ID and OOD averages of the paper as shares, by role and method, from a file of its tables.

    Args:
        path: JSON file with `table1` (accuracies in per cent by row and method, `+full` and `+lora` for fine-tuned
            ones; rows `ID Avg`, `OOD Avg`) and `table2` (a list of `method`, `id`, `ood`).
        table: `table1` or `table2`; the paper has no numbers for others.
        adapt: `none`, `full` or `lora`.

    Raises:
        ConfigError: if there is no such file, or it has another form.
    """
    try:
        tables = read_json(Path(path), dict, ConfigError, "Give paper_tables.json")
        if table == "table2" and adapt == "none":
            rows = {role: {entry["method"]: entry[role] for entry in tables["table2"]} for role in ("id", "ood")}
        elif table == "table1":
            rows = {"id": tables["table1"]["ID Avg"], "ood": tables["table1"]["OOD Avg"]}
        else:
            return {}
        end = "" if adapt == "none" else f"+{adapt}"
        return {
            role: {name.removesuffix(end): value / 100 for name, value in row.items() if _kind(name) == adapt}
            for role, row in rows.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"paper {str(path)!r} does not have the tables of the paper ({error!r}): give paper_tables.json"
        ) from error


def _kind(name: str) -> str:
    return name.partition("+")[2] or "none"
