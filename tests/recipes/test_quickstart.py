import csv
import json
import re
import runpy
import shutil
from pathlib import Path

import pytest

from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.quickstart import PHOTO_CLASSES, PHOTO_QUERIES, quickstart, shipped_config

README = Path(__file__).resolve().parents[2] / "README.md"


def test_quickstart_goes_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    few = "--tuning.validation_episodes=2"
    monkeypatch.setattr("smat.recipes.quickstart.shipped_config", lambda *settings: shipped_config(*settings, few))
    places = quickstart(out="runs/quickstart", tasks=4, episodes=2)
    assert all(place.exists() for place in places.values())
    assert int(SparseInterpolatedExperts.from_pretrained(str(places["meta-tuned pool"])).tasks_seen) == 4
    report = json.loads(places["accuracies"].read_text())
    assert {row["domain"] for row in report["rows"]} >= {"glyphs", "faces"}
    rows = list(csv.DictReader(places["predictions"].open()))
    assert len(rows) == PHOTO_CLASSES * PHOTO_QUERIES
    for row in rows:
        probabilities = {name: float(value) for name, value in row.items() if name[:2] == "p:"}
        assert abs(sum(probabilities.values()) - 1) < 1e-3
        assert max(probabilities, key=lambda name: probabilities[name]) == f"p:{row['label']}"
    with pytest.raises(ConfigError, match="remove it"):
        quickstart(out="runs/quickstart")
    # the README's lines of Python, with the photos in the folders that they name
    shutil.copytree(places["labelled images"], "photos/labelled")
    Path("photos/new").mkdir()
    for file in places["images to label"].glob("*/*"):
        shutil.copy(file, f"photos/new/{file.parent.name}@{file.name}")
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    Path("example.py").write_text(example.replace("facebook/dinov2-small", str(places["meta-tuned pool"])))
    capsys.readouterr()
    runpy.run_path("example.py")
    labels = re.findall(r"'(.*?)'", capsys.readouterr().out)
    names = sorted(file.name for file in Path("photos/new").iterdir())
    assert len(labels) == PHOTO_CLASSES * PHOTO_QUERIES
    right = sum(name.startswith(f"{label}@") for name, label in zip(names, labels, strict=True))
    assert right / len(labels) > 0.4  # 0.25 by chance
