import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from python2_pickles import Python2
from smat.errors import DataError
from smat.importing import Found, Listing, list_sources

NAMES = [b"airplane", b"automobile", b"bird"]


def batch(seed: int, count: int, labels: str = "labels", classes: int = 3) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    names = [f"photo_s_{seed:03}{row:03}.png".encode() for row in range(count)]
    return {
        "batch_label": b"testing batch 1 of 1",
        labels: [(row + seed) % classes for row in range(count)],
        "data": pixels,
        "filenames": names,
    }


def write_cifar10(folder: Path, batches: Mapping[str, Mapping[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"num_cases_per_batch": 10000, "label_names": NAMES, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(Python2().file(meta))
    for name, content in batches.items():
        (folder / name).write_bytes(Python2().file(content))


def contents(listing: Listing) -> dict[str, tuple[str, np.ndarray]]:
    items = [(part, item) for part in listing.parts for item in listing.read(part)]
    assert all(isinstance(item, Found) for _, item in items)
    return {item.name: (listing.classes[part.label], item.image) for part, item in items}


def test_batches_are_joined_by_class(tmp_path: Path) -> None:
    batches = {name: batch(seed, 7) for seed, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"])}
    write_cifar10(tmp_path / "cifar-10-batches-py", batches)
    for source in (tmp_path, tmp_path / "cifar-10-batches-py"):
        [listing] = list_sources("cifar", source)
        assert listing.name == "cifar10"
        assert listing.classes == ("airplane", "automobile", "bird")
        assert listing.splits == {"test": listing.classes}
        assert [part.label for part in listing.parts] == sorted(part.label for part in listing.parts)
        assert [entry.place for entry in listing.refused] == ["data_batch_3", "data_batch_4", "data_batch_5"]
        found = contents(listing)
        assert len(found) == 21
        for name, content in batches.items():
            for row in range(7):
                label, pixels = found[f"{name}#{row} {content['filenames'][row].decode()}"]
                assert label == NAMES[content["labels"][row]].decode()
                red, green, blue = content["data"][row].reshape(3, 1024)
                assert np.array_equal(pixels[2, 5], [red[69], green[69], blue[69]])
                assert pixels.shape == (32, 32, 3)


def test_cifar100_has_its_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    meta = {"fine_label_names": [b"apple", b"aquarium_fish", b"baby"], "coarse_label_names": [b"fish", b"people"]}
    (folder / "meta").write_bytes(Python2().file(meta))
    for seed, name in enumerate(("train", "test")):
        content = {**batch(seed, 9, "fine_labels"), "coarse_labels": [row % 2 for row in range(9)]}
        (folder / name).write_bytes(Python2().file(content))
    [listing] = list_sources("cifar", tmp_path)
    assert (listing.name, listing.classes) == ("cifar100", ("apple", "aquarium_fish", "baby"))
    found = contents(listing)
    assert len(found) == 18
    assert found["test#4 photo_s_001004.png"][0] == "baby"
    assert not listing.refused


def test_both_at_once(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py", {"test_batch": batch(0, 4)})
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "meta").write_bytes(Python2().file({"fine_label_names": NAMES}))
    (folder / "test").write_bytes(Python2().file(batch(0, 4, "fine_labels")))
    assert [listing.name for listing in list_sources("cifar", tmp_path)] == ["cifar10", "cifar100"]


def test_labels_out_of_range_are_refused_one_by_one(tmp_path: Path) -> None:
    content = batch(0, 6)
    content["labels"][1:4] = 3, -1, b"bird"
    write_cifar10(tmp_path, {"test_batch": content})
    [listing] = list_sources("cifar", tmp_path)
    assert [str(entry) for entry in listing.refused[5:]] == [
        "test_batch#1: label 3; expected 0 to 2",
        "test_batch#2: label -1; expected 0 to 2",
        "test_batch#3: label that is a bytes; expected 0 to 2",
    ]
    assert len(contents(listing)) == 3


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch HARM",)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path / "source", {"data_batch_1": batch(1, 5), "test_batch": batch(0, 5)})
    harmful = pickle.dumps({"data": Harmful(), "labels": [0]}, protocol)
    pickle.loads(harmful)
    assert (tmp_path / "HARM").exists()  # it does harm where it is let
    (tmp_path / "HARM").unlink()
    (tmp_path / "source" / "data_batch_1").write_bytes(harmful)
    [listing] = list_sources("cifar", tmp_path / "source")
    assert not (tmp_path / "HARM").exists()
    [entry] = [entry for entry in listing.refused if entry.place == "data_batch_1"]
    assert "system" in entry.reason
    assert "Nothing was run" in entry.reason
    assert len(contents(listing)) == 5
    (tmp_path / "source" / "batches.meta").write_bytes(harmful)
    with pytest.raises(DataError, match=r"batches.meta.*asks for"):
        list_sources("cifar", tmp_path / "source")
    assert not (tmp_path / "HARM").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "2 labels for 6 images"),
        ({"labels": 3}, "no list 'labels' and array 'data'"),
        ({"data": np.zeros((6, 3071), np.uint8)}, r"'data' has shape \(6, 3071\)"),
        ({"filenames": [b"a"]}, "cannot be known"),
    ],
)
def test_batches_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_cifar10(tmp_path, {"test_batch": {**batch(0, 6), **change}})
    with pytest.raises(DataError, match=f"(?s)no batch of cifar10.*test_batch: .*{message}"):
        list_sources("cifar", tmp_path)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "in", {"data_batch_1": batch(1, 5), "test_batch": batch(0, 5)})
    (tmp_path / "in" / "data_batch_1").rename(tmp_path / "elsewhere")
    (tmp_path / "in" / "data_batch_1").symlink_to(tmp_path / "elsewhere")
    [listing] = list_sources("cifar", tmp_path / "in")
    assert "symbolic link" in listing.refused[0].reason
    assert len(contents(listing)) == 5


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither batches.meta with data_batch_1"):
        list_sources("cifar", tmp_path)


@given(data=st.data())
def test_damaged_files_never_give_a_wrong_label(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    original = batch(0, 6)
    writer = Python2()
    content = bytearray(writer.file(original))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        # Half of the flips are outside the pixels, which are most of the file.
        start, end = writer.places["data"]
        free = [*range(start + 260), *range(end - 4, len(content))]
        # A label turned into another label cannot be noticed: pickles have no checksums.
        values = set(range(writer.places["labels"][0] + 5, writer.places["labels"][1] - 1, 2))
        places = st.one_of(st.sampled_from(free), st.integers(0, len(content) - 1)).filter(lambda at: at not in values)
        for _ in range(data.draw(st.integers(1, 2))):
            content[data.draw(places)] ^= data.draw(st.integers(1, 255))
    write_cifar10(folder, {"data_batch_1": batch(1, 4)})
    (folder / "test_batch").write_bytes(content)
    [listing] = list_sources("cifar", folder)
    found = contents(listing)
    assert sum(name.startswith("data_batch_1") for name in found) == 4
    for name, (label, _) in found.items():
        if name.startswith("test_batch"):
            row = int(name.partition("#")[2].partition(" ")[0])
            assert label == NAMES[original["labels"][row]].decode()
    assert len(found) == 10 or any(entry.place.startswith("test_batch") for entry in listing.refused)
