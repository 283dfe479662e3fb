"""The file that `smat predict` writes labels to: CSV for spreadsheets, or JSON lines for programs."""

import csv
import io
import json
from pathlib import Path

from smat.errors import ConfigError
from smat.files import check_writable
from smat.recipes.predictions import Predictions

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that a spreadsheet computes


def check_label_file(output: str) -> Path:
    """Make sure that labels can be written to a file, before long work.

    Raises:
        ConfigError: its ending is that of no format, or it cannot be written.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in ("", ".csv", ".jsonl"):
        raise ConfigError(f"output '{output}' ends in {suffix}; labels are written as .csv or .jsonl (--output)")
    return check_writable(output)


def label_file(path: Path, result: Predictions) -> str:
    """The content of the file, in the format that its name says."""
    return json_lines(result) if path.suffix.lower() == ".jsonl" else csv_table(result)


def csv_table(result: Predictions) -> str:
    """A table of all images, with the mark that Excel knows UTF-8 by, and without cells that are computed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["file", "label", "probability", *(f"p:{name}" for name in result.classes)])
    for file, label, row in zip(result.files, result.labels, result.probabilities, strict=True):
        writer.writerow([_cell(file), _cell(label), f"{row.max():.6f}", *(f"{p:.6f}" for p in row)])
    return f"\ufeff{text.getvalue()}"


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULAS) else text


def json_lines(result: Predictions) -> str:
    """An object for each image, one per line."""
    known = [None] * len(result.files) if result.known is None else result.known.tolist()
    lines = []
    for file, label, row, score in zip(result.files, result.labels, result.probabilities, known, strict=True):
        each = {name: round(float(p), 6) for name, p in zip(result.classes, row, strict=True)}
        entry = {"file": file, "label": label, "probability": round(float(row.max()), 6), "probabilities": each}
        lines.append(json.dumps(entry | ({} if score is None else {"known": score}), ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)
