"""The numbers of the paper's tables, to be shown beside ours."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import numpy as np

from smat.errors import ConfigError
from smat.evaluation.comparison import AVERAGES

PaperTable = Literal["table1", "table2"]

# The paper has one PMF; its row of table 2 says that it has no support/query split.
_ALSO = {"pmf": "pmf-no-episodes"}


def paper_numbers(table: str, columns: Sequence[str], domains: Sequence[str]) -> dict[str, dict[str, float]]:
    """What a table of the paper has of some columns, as shares, by row and column.

    The rows are the domains that the paper has too, by the names that `smat data import` gives them, and the averages
    `ID average`, `OOD average` and `ID+OOD average`. Table 2 has averages only.

    Args:
        table: `table1` or `table2`.
        columns: methods, fine-tuned ones as in `smat + full`.
        domains: names of domains.

    Raises:
        ConfigError: if the paper has no such table, or none of the columns.
    """
    if table not in get_args(PaperTable):
        raise ConfigError(f"the paper has no numbers for {table}, only for {' and '.join(get_args(PaperTable))}")
    found = _table1(domains) if table == "table1" else _table2()
    if not any(column in row for row in found.values() for column in columns):
        theirs = ", ".join(dict.fromkeys(column for row in found.values() for column in row))
        raise ConfigError(
            f"the paper has no numbers for {', '.join(columns)} in {table}, only for {theirs}: leave --paper out, or "
            "add one of these"
        )
    return {name: {column: row[column] / 100 for column in columns if column in row} for name, row in found.items()}


@cache
def _tables() -> dict[str, Any]:
    return json.loads(files("smat.evaluation").joinpath("paper.json").read_text(encoding="utf-8"))


def _table1(domains: Sequence[str]) -> dict[str, dict[str, float]]:
    table, known = _tables()["table1"], _tables()["domains"]
    theirs = {name: domain for domain, said in known.items() for name in said["names"]}
    rows = {name: table["rows"][theirs[name]] for name in domains if name in theirs}
    rows |= {AVERAGES[role]: table["rows"][AVERAGES[role]] for role in ("id", "ood")}
    rows[AVERAGES["all"]] = np.mean([table["rows"][domain] for domain in known], axis=0).tolist()
    return {name: dict(zip(table["columns"], row, strict=True)) for name, row in rows.items()}


def _table2() -> dict[str, dict[str, float]]:
    table = _tables()["table2"]
    rows = table["rows"] | {_ALSO[method]: row for method, row in table["rows"].items() if method in _ALSO}
    return {average: {m: row[n] for m, row in rows.items()} for n, average in enumerate(table["columns"])}
