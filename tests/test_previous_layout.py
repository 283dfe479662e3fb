"""Results, checkpoints and runs that an earlier version of the package wrote are taken up whole."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from smat.cli import main
from smat.experts import SparseInterpolatedExperts

BEFORE = Path(__file__).parent / "previous_layout"
METHODS = "[pretrained,logistic,pmf,softmerge,smat]"
DOMAINS = "[pocket:glyphs,pocket:polygons,pocket:automata,pocket:faces]"
NUMBERS = ("accuracy", "half_width", "spread", "difference", "difference_half_width", "calibration_error")
COMPARE = f"reproduce table1 base.yaml --methods {METHODS} --domains {DOMAINS} --adapt [none,full] --steps 2"


def run(command: str) -> None:
    main(command.split())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was written, as the current folder, from which its backbone is named."""
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_finished_comparison_is_found_again_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But for logistic regression, which was another head under another key: it is computed anew, and added."""

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in (folder / "compare" / "training").rglob("*") if path.is_file()}

    stored, before = folder / "compare" / "cells.jsonl", files()
    cells = stored.read_text()
    run(f"{COMPARE} --grid [0.001] --episodes 6 --out compare --workers 0")
    assert files() == before
    assert "training 1/" not in capsys.readouterr().out
    assert stored.read_text().startswith(cells)
    added = [json.loads(line)["key"] for line in stored.read_text().removeprefix(cells).splitlines()]
    assert [key["method"] for key in added] == ["logistic"] * 4  # one for each domain
    assert all(key["protocol"].pop("head")["class_path"] == "smat.heads.linear.Logistic" for key in added)
    old_keys = [json.loads(line)["key"] for line in cells.splitlines()]
    assert added == [key for key in old_keys if key["method"] == "logistic"]

    then, now = (list(csv.DictReader((f / "compare" / "table1.csv").open())) for f in (BEFORE, folder))
    now = [row for row in now if row["role"] != "all"]  # an average that tables did not have then
    assert len(then) == len(now)
    by_column = {(row["row"], row["method"]): row for row in now}
    for old in then:
        tuning = "" if "no fine-tuning" in old["table"] else " + full"  # which had a table of its own then
        new = by_column[old["row"], old["method"] + tuning]
        for column, value in old.items():
            if column == "table" or (column in NUMBERS and old["method"] == "logistic"):
                continue
            if column in ("method", "against"):
                assert new[column] == value + tuning * bool(value)
            elif column == "calibration_error":  # it was computed in float32
                assert float(new[column]) == pytest.approx(float(value), abs=1e-7)
            elif column in NUMBERS and value:
                assert float(new[column]) == pytest.approx(float(value), abs=1e-12)
            else:
                assert new[column] == value


def test_a_stopped_run_goes_on_to_the_same_parameters() -> None:
    run("train --config base.yaml --out stopped --resume")
    resumed, whole = (
        SparseInterpolatedExperts.from_pretrained(f"{name}/last").state_dict() for name in ("stopped", "whole")
    )
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        # networks are in bfloat16 here, whose rounding is another on other processors: 6e-4 was seen
        difference = (resumed[name] - value).double().norm() / value.double().norm().clamp_min(1e-12)
        assert difference < 2e-3, f"{name}: off by {difference:.1e}"


def test_a_checkpoint_gives_the_same_accuracies(folder: Path) -> None:
    # the best pool of the stopped run is that of the whole run, whose accuracies were written down
    shape = "--episodes 5 --workers 0 --precision 32-true"
    run(f"evaluate stopped/best pocket:automata --head prototype {shape} --output new.json")
    then, now = (json.loads((folder / name).read_text()) for name in ("evaluate.json", "new.json"))
    assert [row["id"] for row in now["rows"]] == [row["id"] for row in then["rows"]]
    assert [row["accuracy"] for row in now["rows"]] == [row["accuracy"] for row in then["rows"]]
    (old,), (new,) = then["summary"], now["summary"]
    assert {key: new[key] for key in ("name", "role", "episodes")} == {"name": "automata", "role": "ood", "episodes": 5}
    assert new["calibration_error"] == pytest.approx(old["calibration_error"], abs=1e-6)  # of float32 confidences
    for what, methods in {"accuracy": ["smat", "pretrained"], "difference": ["smat"]}.items():
        assert list(new[what]) == methods
        for method, interval in old[what].items():
            assert {key: new[what][method][key] for key in interval} == pytest.approx(interval, abs=1e-12)
    assert now["config"].keys() >= then["config"].keys()
