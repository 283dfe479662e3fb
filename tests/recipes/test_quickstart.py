import csv
import json
from pathlib import Path

import pytest

from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.quickstart import PHOTO_CLASSES, PHOTO_QUERIES, quickstart


def test_quickstart_goes_the_whole_way(tmp_path: Path) -> None:
    places = quickstart(out=str(tmp_path / "out"), tasks=4, episodes=2)
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
        quickstart(out=str(tmp_path / "out"))
