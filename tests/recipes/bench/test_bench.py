"""The benchmark, at a size at which it says nothing about speed."""

import json
from pathlib import Path

import pytest

from smat.errors import ConfigError
from smat.recipes.bench import run
from smat.recipes.bench.run import bench
from smat.recipes.bench.workload import CLOSED, Problem, Workload

SMALL = {"backbone": "vit-tiny", "image_size": 16, "experts": 2, "way": 2, "support": 2, "query": 2}


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.precision._fastest", lambda _: "32-true")
    in_a_process_of_its_own = run._peak_memory

    def peak(problem: Problem, what: str, contender: str, compiled: bool) -> float:
        """One of them as it is, since each process takes many seconds to begin."""
        return in_a_process_of_its_own(problem, what, contender, compiled) if contender == "32-true" else 0.1

    monkeypatch.setattr(run, "_peak_memory", peak)
    monkeypatch.setattr("smat.recipes.bench.workload.TUNING_STEPS", 2)
    file, precision = tmp_path / "bench.json", ["auto", "32-true"]
    report = bench(
        **SMALL,  # type: ignore[arg-type]
        what=["train", "merge", "fine-tune"],
        precision=precision,
        repeats=2,
        threads=1,
        device="cpu",
        output=str(file),
    )
    assert json.loads(file.read_text()) == report
    assert report["problem"]["support"] == 2
    assert report["machine"]["threads"] == 1
    assert report["problem"]["device"] == "cpu"
    assert report["machine"]["gpu"] is None
    assert report["machine"]["torch"]
    assert report["auto"] == "32-true"
    # the eager code and the package compute the same
    assert set(report["agreement"]) == {"loss", "gradients", "logits"}
    assert all(value < 1e-4 for value in report["agreement"].values())
    assert {what: set(rows) for what, rows in report["results"].items()} == {
        "train": {
            "eager",
            "32-true",
            "32-true, seeded masks",
            "32-true, activation checkpointing",
            "32-true, the passes alone",
        },
        "merge": {"eager", "32-true", "32-true, packed", "a copy"},
        "fine-tune": {"32-true", "32-true, LoRA", "32-true, the passes alone"},
    }
    for what in ("train", "fine-tune"):
        rows = report["results"][what]
        assert all(row["peak_memory_gb"] for name, row in rows.items() if not name.endswith("alone"))
        alone = rows["32-true, the passes alone"]["median_seconds"]
        assert rows["32-true"]["times_the_passes"] == pytest.approx(rows["32-true"]["median_seconds"] / alone)
    for rows in report["results"].values():
        for row in rows.values():
            assert len(row["seconds"]) == 2
            assert row["median_seconds"] == pytest.approx(sum(row["seconds"]) / 2)
            assert row["peak_memory_gb"] is None or 0.05 < row["peak_memory_gb"] < 4
    for rows in (report["results"][what] for what in ("train", "merge")):
        ratio = rows["eager"]["median_seconds"] / rows["32-true"]["median_seconds"]
        assert rows["32-true"]["times_faster_than_eager"] == pytest.approx(ratio)
    assert "peak GB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"what": ["trane"]}, r"what \['trane'\].*train, evaluate, interpolation, merge"),
        ({"what": []}, "what"),
        ({"precision": ["16"]}, "32-true, bf16-mixed"),
        ({"backbone": "resnet"}, "vit-tiny, vit-small, vit-base"),
        ({"image_size": 100}, "multiple of 16"),
        ({"way": 5, "support": 4}, "4 support images for 5 classes"),
        ({"repeats": 0}, "repeats is 0"),
        ({"experts": 0}, "experts is 0"),
    ],
)
def test_impossible_requests_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        bench(**(SMALL | settings))  # type: ignore[arg-type]


def test_late_in_training_closed_gates_get_no_gradient() -> None:
    workload = Workload(Problem("vit-tiny", 16, 2, 2, 2, 2, threads=1))
    workload.interpolation(CLOSED)
    gates = workload.late.update.get_parameter("gate_logits")
    assert gates.grad is not None
    closed = gates < -4
    assert closed.double().mean().item() == pytest.approx(0.9, abs=0.01)
    assert not gates.grad[closed].any()
    assert gates.grad[~closed].count_nonzero() > 0.9 * (~closed).sum()
    workload.clear()
    assert gates.grad is None
