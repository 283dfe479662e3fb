import csv
import json
import re
import runpy
from pathlib import Path

import pytest
import torch

from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.quickstart import PHOTO_CLASSES, PHOTO_QUERIES, quickstart

README = Path(__file__).resolve().parents[2] / "README.md"


def test_quickstart_goes_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    places = quickstart(out="runs/quickstart", tasks=4, episodes=2)
    assert all(place.exists() for place in places.values())
    assert int(SparseInterpolatedExperts.from_pretrained(str(places["meta-tuned pool"])).tasks_seen) == 4
    report = json.loads(places["accuracies"].read_text())
    assert {row["domain"] for row in report["rows"]} >= {"glyphs", "faces"}
    rows = list(csv.DictReader(places["predictions"].open()))
    assert len(rows) == PHOTO_CLASSES * PHOTO_QUERIES
    for row in rows:
        probabilities = {name: float(value) for name, value in row.items() if name not in ("file", "label")}
        assert abs(sum(probabilities.values()) - 1) < 1e-3
        assert max(probabilities, key=lambda name: probabilities[name]) == row["label"]
    with pytest.raises(ConfigError, match="remove it"):
        quickstart(out="runs/quickstart")
    # the README's lines of Python start from what it leaves
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    capsys.readouterr()
    network = runpy.run_path("example.py")["network"]
    assert isinstance(network, torch.nn.Module)
    assert 0.25 < float(capsys.readouterr().out.split()[-1]) <= 1
