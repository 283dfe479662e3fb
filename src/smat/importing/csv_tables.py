"""Tables in CSV files: their rows by the names in the first line."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.files import shown
from smat.importing.lists import is_text, read_bytes

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Record:
    """A row of a table.

    Attributes:
        place: where it is, for messages.
        cells: what it says, by column; without spaces around it.
    """

    place: str
    cells: Mapping[str, str]


def read_table(root: Path, path: Path, columns: Sequence[str], advice: str = "") -> tuple[list[Record], list[Refused]]:
    """The rows of a UTF-8 file of columns separated by commas, semicolons or tabs, whose first line names these.

    Args:
        root: folder of the source.
        path: the file.
        columns: columns that there must be; what separates the columns is found by them.
        advice: what to do where one is not there.

    Returns:
        The rows, and those that have other numbers of cells or are no text.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    text = read_bytes(root, path).decode("utf-8-sig", "surrogateescape")
    delimiter, header = _header(text, columns)
    lacking = [name for name in columns if name not in header]
    twice = [name for name in columns if header.count(name) > 1]
    if lacking or twice:
        wrong = f"has no column {' and '.join(map(repr, lacking))}" if lacking else f"has {twice[0]!r} twice"
        raise DataError(f"'{path}' {wrong}; its first line says {', '.join(header)[:200]!r}{advice}")
    records: list[Record] = []
    refused: list[Refused] = []
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    try:
        for number, row in enumerate(rows):
            line, place = rows.line_num + 1, f"{shown(path, root)}, line {line}"
            if not number or not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                refused.append(Refused(place, f"it has {len(row)} columns; the first line has {len(header)}"))
            elif not all(is_text(cell.strip()) for cell in row if cell.strip()):
                refused.append(Refused(place, "it has characters that are no text in UTF-8"))
            else:
                records.append(Record(place, dict(zip(header, map(str.strip, row), strict=True))))
    except csv.Error as error:
        place = f"{shown(path, root)}, line {line}"
        refused.append(Refused(place, f"from here on nothing is read: {error}; look for a quotation mark too many"))
    return records, refused


def _header(text: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """What separates the columns, and their names: with the separator that finds most of those that are wanted."""
    found: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        try:
            first = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            first = []
        found[delimiter] = [name.strip() for name in first]
    delimiter = max(found, key=lambda one: (len({*columns} & {*found[one]}), len(found[one])))
    return delimiter, found[delimiter]
