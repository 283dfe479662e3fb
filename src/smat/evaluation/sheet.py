"""A comparison as text in rows and columns, which the tables of all forms are made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from smat.evaluation.comparison import AVERAGES, Comparison, Line, role_lines
from smat.statistics import Interval

_ROLES = {"id": "ID", "ood": "OOD", "all": "", "validation": "validation", "": ""}
_SPREAD = "; in brackets the standard deviation over training seeds"
_STARS = "; * not 0, by Holm's test for all domains together at 5 %"
SURE = 0.05
"""Adjusted p-value below which a difference on a domain is taken as real."""
_PAPER = "; the numbers of the paper are of its own network, tasks and images, its averages over its own domains"


class Column(NamedTuple):
    """What a column shows (`accuracy`, `difference` or `ECE`), and of which method."""

    kind: str
    method: str


class Field(NamedTuple):
    """A number with its interval as text, and whether it is the best of its row."""

    text: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A domain, an average over domains, or the ranks.

    Attributes:
        name: what it is.
        fields: what there is to show.
        role: `ID`, `OOD`, `validation` or `""`.
        average: whether it is an average over domains.
    """

    name: str
    fields: dict[Column, Field]
    role: str = ""
    average: bool = False


@dataclass(frozen=True)
class Sheet:
    """Everything that a table shows.

    Attributes:
        titles: what the numbers of each kind are.
        columns: those of each kind together.
        sections: rows of each role, then the ranks and the cost.
    """

    titles: dict[str, str]
    columns: list[Column]
    sections: list[list[Row]]

    def parts(self) -> Iterator["Sheet"]:
        """A sheet for each kind of number, with the rows that have such numbers."""
        for kind, title in self.titles.items():
            columns = [column for column in self.columns if column.kind == kind]
            sections = [[row for row in rows if row.fields.keys() & set(columns)] for rows in self.sections]
            yield Sheet({kind: title}, columns, [rows for rows in sections if rows])

    def grid(self) -> tuple[list[str], list[list[list[Field]]]]:
        """Headings of name and role, and the rows with name and role; without roles where no row has one."""
        roles = any(row.role for rows in self.sections for row in rows)
        return ["domain", *(["role"] if roles else [])], [
            [
                [
                    Field(row.name),
                    *([Field(row.role)] if roles else []),
                    *(row.fields.get(column, Field()) for column in self.columns),
                ]
                for row in rows
            ]
            for rows in self.sections
        ]


def make_sheet(comparison: Comparison, most: int) -> Sheet:
    """The sheet of a comparison.

    Args:
        comparison: the results.
        most: largest number of methods that are shown on every domain; of more, only the averages are.
    """
    methods, last = comparison.methods, []
    sections = [_section(lines, comparison) for lines in _by_role(comparison, most)]
    if len(methods) > 1:
        best = min(comparison.ranks.values())
        ranks = {Column("accuracy", m): Field(f"{rank:.1f}", rank == best) for m, rank in comparison.ranks.items()}
        last.append(Row("rank", ranks))
    if max(comparison.passes.values(), default=1) > 1:
        passes = {Column("accuracy", method): Field(str(count)) for method, count in comparison.passes.items()}
        last.append(Row("passes per image", passes))
    sections += [last] if last else []
    present = {column for rows in sections for row in rows for column in row.fields}
    stars = (
        _STARS
        if any(field.text.endswith("*") for rows in sections for row in rows for field in row.fields.values())
        else ""
    )
    titles = {
        "accuracy": note(comparison),
        "difference": f"difference to {comparison.baseline}, paired on the same episodes{stars}",
        "ECE": "expected calibration error (ECE), per cent",
    }
    columns = [column for kind in titles for method in methods if (column := Column(kind, method)) in present]
    kinds = {column.kind for column in columns}
    return Sheet({kind: title for kind, title in titles.items() if kind in kinds}, columns, sections)


def _by_role(comparison: Comparison, most: int) -> list[list[Line]]:
    shown = role_lines(comparison)
    if len(comparison.methods) > most:
        return [[line] for line in shown.values()]
    groups = {role: [line for line in comparison.lines if line.role == role] for role in shown}
    return [group if len(group) == 1 else [*group, shown[role]] for role, group in groups.items()]


def _section(lines: list[Line], comparison: Comparison) -> list[Row]:
    """The rows of a role, each with what the paper has of it below; its average also where we have one domain."""
    ours = {line.name: _row(line, line in comparison.averages) for line in lines}
    rows = []
    for name in dict.fromkeys([*ours, AVERAGES[lines[0].role]]):
        theirs = {Column("accuracy", m): Field(f"{100 * a:.2f}") for m, a in comparison.paper.get(name, {}).items()}
        rows += [ours[name]] if name in ours else []
        rows += [Row(f"{name} (paper)", theirs)] if theirs else []
    return rows


def _row(line: Line, average: bool) -> Row:
    fields = {}
    for method, entry in line.entries.items():
        spread = "" if entry.spread is None else f" ({100 * entry.spread:.1f})"
        best = method in line.best and len(line.entries) > 1
        fields[Column("accuracy", method)] = Field(percent(entry.accuracy) + spread, best)
        if entry.difference:
            sure = "*" if entry.p_value is not None and entry.p_value < SURE else ""
            fields[Column("difference", method)] = Field(percent(entry.difference, signed=True) + sure)
        fields[Column("ECE", method)] = Field(f"{100 * entry.calibration_error:.1f}")
    return Row(line.name, fields, _ROLES[line.role], average)


def note(comparison: Comparison) -> str:
    """What the accuracies are."""
    several = any(entry.spread is not None for line in comparison.lines for entry in line.entries.values())
    text = "per cent, with 95 % intervals over episodes"
    return text + (_SPREAD if several else "") + (_PAPER if comparison.paper else "")


def percent(value: Interval, *, signed: bool = False) -> str:
    """`"71.3 ± 0.8"`, signed `"+2.0 ± 0.4"`; without the second part where there is no interval."""
    mean = f"{100 * value.mean:{'+' if signed else ''}.1f}"
    return mean if value.half_width != value.half_width else f"{mean} ± {100 * value.half_width:.1f}"
