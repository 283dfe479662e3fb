"""Labels as CSV for spreadsheets and as JSON lines for programs."""

import codecs
import csv
import json
from pathlib import Path

import pytest

from made_predictions import predicted
from smat.errors import ConfigError
from smat.recipes.label_files import check_label_file, csv_table, json_lines, label_file

NAMES = ["=cmd|'/c calc'!A1.png", "+1.png", "-1.png", "@x.png", "\ttab.png", "\rreturn.png", 'a,"b"\n.png', "é/海.png"]
LABELS = ["=SUM(A1)", "file", "label", "海鷗", "=SUM(A1)", "file", "label", "海鷗"]


def test_a_spreadsheet_reads_utf8_and_computes_no_cell() -> None:
    content = csv_table(predicted(NAMES, LABELS, [0.7] * 8)).encode()
    assert content.startswith(codecs.BOM_UTF8)
    header, *rows = csv.reader(content.decode("utf-8-sig").splitlines(keepends=True))
    assert header == ["file", "label", "probability", "p:=SUM(A1)", "p:file", "p:label", "p:海鷗"]
    assert [row[0] for row in rows] == [f"'{name}" for name in NAMES[:6]] + NAMES[6:]
    assert [row[1] for row in rows] == [f"'{label}" if label[0] == "=" else label for label in LABELS]
    assert all(cell[0] not in "=+-@\t\r" for row in [header, *rows] for cell in row)
    assert rows[0][2:] == ["0.700000", "0.700000", "0.100000", "0.100000", "0.100000"]


def test_json_lines_have_the_exact_texts() -> None:
    lines = [json.loads(line) for line in json_lines(predicted(NAMES, LABELS, [0.7] * 8)).split("\n")[:-1]]
    assert [line["file"] for line in lines] == NAMES
    assert [line["label"] for line in lines] == LABELS
    assert lines[0]["probabilities"] == {"=SUM(A1)": 0.7, "file": 0.1, "label": 0.1, "海鷗": 0.1}
    assert (lines[0]["probability"], lines[0]["known"]) == (0.7, 0.7)


def test_the_ending_says_the_format(tmp_path: Path) -> None:
    result = predicted(["a.png", "b.png"], ["x", "y"], [0.9, 0.8])
    assert label_file(Path("l.JSONL"), result) == json_lines(result)
    assert label_file(Path("l.csv"), result) == label_file(Path("/dev/stdout"), result) == csv_table(result)
    with pytest.raises(ConfigError, match=r"ends in \.xlsx; labels are written as \.csv or \.jsonl"):
        check_label_file(str(tmp_path / "labels.xlsx"))
