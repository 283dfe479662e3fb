"""ILSVRC-2012 in the forms in which it is distributed."""

import io
import tarfile
from pathlib import Path

import pytest

from smat.domains import open_domain
from smat.importing import Listing, import_domain, list_sources
from smat.importing.ilsvrc import Ilsvrc, wordnet
from smat.recipes.data.doctor import DomainsWrong, data_doctor
from tiny_sources import Truth, photo, read_all, said, write

CLASSES = {"n01440764": 2, "n02085620": 3, "n02787622": 2}  # of training, validation and testing
SKIPPED = "n01443537_1194.JPEG"


def make_files(root: Path) -> Truth:
    truth: Truth = {}
    for name, count in CLASSES.items():
        for i in range(count):
            truth[f"{name}/{name}_{i}.JPEG"] = name, photo(len(truth))
    write(root, {path: content for path, (_, content) in truth.items()} | {f"n01440764/{SKIPPED}": photo(0)})
    return truth


def archived(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def only(source: Path) -> Listing:
    [listing] = list_sources("ilsvrc", source)
    return listing


def classes_of(truth: Truth) -> dict[bytes, str]:
    return {content: name for name, content in truth.values()}


@pytest.mark.parametrize("place", ["", "train", "ILSVRC/Data/CLS-LOC/train"])
def test_class_folders_are_divided_as_meta_dataset_does(place: str, tmp_path: Path) -> None:
    truth = make_files(tmp_path / place)
    listing = only(tmp_path)
    found, refused = read_all(listing)
    assert classes_of(found) == classes_of(truth)
    assert len(found) == len(truth)  # without the image that another data set has
    assert refused == []
    assert listing.splits == {"train": ("n01440764",), "val": ("n02085620",), "test": ("n02787622",)}
    assert any("403 images" in note for note in listing.notes)


def test_archives_of_classes_and_the_archive_of_archives_give_the_same(tmp_path: Path) -> None:
    truth = make_files(tmp_path / "files")
    archives: dict[str, bytes] = {}
    for name in CLASSES:
        images = {path.rpartition("/")[2]: content for path, (label, content) in truth.items() if label == name}
        archives[f"{name}.tar"] = archived(images | {SKIPPED: photo(0)})
    write(tmp_path / "classes", archives)
    write(tmp_path / "whole", {"ILSVRC2012_img_train.tar": archived(archives)})
    for source in (tmp_path / "classes", tmp_path / "whole"):
        listing = only(source)
        found, refused = read_all(listing)
        assert classes_of(found) == classes_of(truth)
        assert refused == []
        assert listing.splits["test"] == ("n02787622",)
    assert import_domain(listing, tmp_path / "out").images == len(truth)


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    make_files(tmp_path)
    write(tmp_path, {"n02782093.tar": 5000 * b"x"})
    (tmp_path / "n02777292").mkdir()
    refused = said(only(tmp_path).refused)
    assert "n02782093.tar: it is no archive" in refused
    assert "n02777292: no images in this class folder" in refused


def test_the_doctor_misses_what_is_not_there(tmp_path: Path) -> None:
    make_files(tmp_path)
    import_domain(only(tmp_path), tmp_path / "out")
    assert open_domain(tmp_path / "out" / "ilsvrc").hierarchy("test") is not None
    with pytest.raises(DomainsWrong) as caught:
        data_doctor(str(tmp_path / "out"), processes=0)
    findings = {finding.check: finding.found for finding in caught.value.findings["ilsvrc"]}
    assert "7 of 1,280,764 images" in findings["images of the source"]
    assert "1,000 classes have fewer" in findings["images of the source"]


def test_the_graph_spans_the_classes_of_each_split() -> None:
    assert Ilsvrc.splits is not None
    sizes = {split: len(names) for split, names in Ilsvrc.splits.items()}
    assert sizes == {"train": 712, "val": 158, "test": 130}
    names = [name for split in Ilsvrc.splits.values() for name in split]
    assert len({*names}) == 1000
    assert {split: len(nodes) for split, nodes in wordnet().groups.items()} == {"train": 299, "val": 42, "test": 50}
    assert wordnet().groups["val"]["n02075296 carnivore"] == Ilsvrc.splits["val"]
