"""The benchmark of reading, at a size at which it says nothing about speed."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from smat.domains import open_domain
from smat.errors import ConfigError
from smat.recipes.bench.data import bench_data
from smat.recipes.bench.data_stores import Hdf5, ImageSet, Stored, decode, write_hdf5

SMALL: dict[str, Any] = {
    "images": 26,
    "classes": 6,
    "size": 32,
    "image_size": 16,
    "way": 2,
    "per_class": 3,
    "repeats": 2,
}


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = tmp_path / "place", tmp_path / "new" / "bench.json"
    folder.mkdir()
    threads = torch.get_num_threads()
    report = bench_data(**SMALL, processes=0, folder=str(folder), output=str(file))
    assert list(folder.iterdir()) == []  # nothing is left behind
    assert torch.get_num_threads() == threads
    assert json.loads(file.read_text()) == report
    assert report["images"] == {"classes": 6, "images": 4, "size": 32}
    reading = report["reading"]
    assert {kind: len(some) for kind, some in reading["seconds"].items()} == {"smat": 2, "hdf5": 2, "decode": 2}
    rates = {kind: 6 / (sum(some) / 2) for kind, some in reading["seconds"].items()}
    assert reading["images_per_second"] == pytest.approx(rates)
    for name, other in (("times_hdf5", "hdf5"), ("share_of_decoding", "decode")):
        rounds = zip(reading["seconds"]["smat"], reading["seconds"][other], strict=True)
        assert reading[name] == pytest.approx(sum(theirs / ours for ours, theirs in rounds) / 2)
    assert report["disk_mb"]["hdf5"] > report["disk_mb"]["smat"] > 0
    assert "images/s" in capsys.readouterr().out
    if sys.platform == "linux":
        files = {
            number: {kind: one["open_files"] for kind, one in both.items()}
            for number, both in report["process"].items()
        }
        assert files == {"2": {"smat": 0, "hdf5": 2}, "6": {"smat": 0, "hdf5": 6}}


def test_both_stores_hold_the_same_images(tmp_path: Path) -> None:
    made = ImageSet(classes=3, images=4, size=40)
    folder = made.make(tmp_path, processes=0)
    ours = Stored(folder)
    domain = open_domain(folder)
    assert [len(domain.rows(name)) for name in domain.classes("test")] == [4, 4, 4]
    theirs = Hdf5(write_hdf5(domain, tmp_path / "h5"), made.images)
    rows = [0, 5, 11, 4]
    expected = ours.read(rows, 16)
    assert theirs.read(rows, 16).equal(expected)
    assert decode(ours.encoded(rows), 16).equal(expected)
    assert sorted(theirs.files) == [0, 1, 2]
    assert len({expected[i].numpy().tobytes() for i in range(4)}) == 4
    with Image.open(io.BytesIO(ours.encoded([5])[0])) as image:
        assert image.format == "JPEG"
        assert 20 <= max(image.size) <= 40
        pixels = np.asarray(image)
    stored = theirs.files[1]["1"]
    assert (stored["image"].dtype, stored["image"].shape) == (np.uint8, pixels.shape)
    assert np.array_equal(stored["image"][()], pixels)
    assert stored["label"][()] == 1
    assert stored["id"][()] == b"1/1.jpg"
    assert made.make(tmp_path, processes=0) == folder  # nothing random about it


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"way": 7}, "way is 7 and classes is 6"),
        ({"per_class": 5}, "26 images of 6 classes are 4 of each"),
        ({"per_class": 1}, "per_class is 1"),
        ({"size": 8}, "size is 8"),
        ({"repeats": 0}, "repeats is 0"),
    ],
)
def test_impossible_requests_are_refused(settings: dict[str, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        bench_data(**(SMALL | settings))
