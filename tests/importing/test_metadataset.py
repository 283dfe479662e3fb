import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_specs import graph, plain, two_levels

from records import bytes_list, cut, damaged, example, framed, message, write_records
from small_images import encode, noise
from smat.domains.imported import Refused, read_imported
from smat.errors import DataError
from smat.importing import Found, Listing, import_domain, list_sources
from smat.importing.metadataset import read

IMAGES = 20  # of each class, in most of these tests


def image(number: int, record: int) -> bytes:
    """The image of a class; bytes alone, since reading does not decode."""
    return f"image {record} of class {number} ".encode() * 3


def write_dataset(folder: Path, spec: dict, images: int = IMAGES) -> Path:
    """A dataset of a specification's classes with so many images each."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {int(number): images for number in spec["class_names"]}
    if spec["__class__"] == "HierarchicalDatasetSpecification":
        for split in spec["images_per_class"].values():
            split.update(dict.fromkeys(split, images))
    else:
        spec["images_per_class"] = {str(number): count for number, count in counts.items()}
    (folder / "dataset_spec.json").write_text(json.dumps(spec, indent=2))
    for number in counts:
        write_records(folder / f"{number}.tfrecords", [image(number, i) for i in range(images)], number)
    return folder


def only(source: Path) -> Listing:
    (listing,) = list_sources("metadataset", source)
    return listing


def results(listing: Listing) -> tuple[dict[str, dict[str, bytes]], list[Refused]]:
    """Images by class and by name, and what reading refused."""
    found: dict[str, dict[str, bytes]] = {name: {} for name in listing.classes}
    refused: list[Refused] = []
    for part in listing.parts:
        for item in listing.read(pickle.loads(pickle.dumps(part))):
            if isinstance(item, Refused):
                refused.append(item)
            else:
                assert isinstance(item.image, bytes)
                found[listing.classes[part.label]][item.name] = item.image
    return found, refused


@pytest.mark.parametrize("spec", [plain(), two_levels(), graph()], ids=lambda spec: spec["name"])
def test_every_image_comes_out_under_its_class(spec: dict, tmp_path: Path) -> None:
    listing = only(write_dataset(tmp_path / "folder", spec))
    found, refused = results(listing)
    assert (listing.name, listing.refused, listing.notes, refused) == (spec["name"], (), (), [])
    assert len(listing.classes) == len(spec["class_names"])
    for number, name in enumerate(listing.classes):
        assert found[name] == {f"{number}.tfrecords#{i}": image(number, i) for i in range(IMAGES)}
    assert sorted(name for names in listing.splits.values() for name in names) == sorted(listing.classes)
    assert (listing.hierarchy is None) == (spec["name"] == "dtd")
    assert listing.flip is (False if spec["name"] == "omniglot" else None)
    assert {file.name for file in listing.files} == {
        "dataset_spec.json",
        *(f"{i}.tfrecords" for i in spec["class_names"]),
    }


def test_large_class_is_read_in_parts(tmp_path: Path) -> None:
    listing = only(write_dataset(tmp_path, plain(), images=1203))
    assert [part.images for part in listing.parts if part.label == 1] == [500, 500, 203]
    assert [part.label for part in listing.parts] == sorted(part.label for part in listing.parts)
    assert len(results(listing)[0]["woven"]) == 1203
    last = [item for item in read([part for part in listing.parts if part.label == 1][2]) if isinstance(item, Found)]
    assert last[0].name == "1.tfrecords#1000"
    assert list(only(tmp_path).parts) == list(listing.parts)


def test_all_datasets_of_a_folder(tmp_path: Path) -> None:
    for name, spec in (("b", plain()), ("a", two_levels()), ("c", graph())):
        write_dataset(tmp_path / name, spec)
    (tmp_path / "splits").mkdir()
    (tmp_path / "notes.txt").write_text("not a dataset")
    assert [listing.name for listing in list_sources("metadataset", tmp_path)] == ["omniglot", "dtd", "ilsvrc_2012"]
    write_dataset(tmp_path / "old", plain())
    assert [listing.name for listing in list_sources("metadataset", tmp_path)] == [
        "omniglot",
        "b",
        "ilsvrc_2012",
        "old",
    ]


def test_bad_folder_among_others_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_dataset(tmp_path / "root" / name, plain())
    (tmp_path / "root/a/dataset_spec.json").unlink()
    (tmp_path / "root/a/dataset_spec.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/harm'\ntR.")
    (tmp_path / "root/b/dataset_spec.json").write_text("{}")
    (tmp_path / "root/d").rename(tmp_path / "away")
    (tmp_path / "root/d").symlink_to(tmp_path / "away")
    listing = only(tmp_path / "root")
    assert listing.name == "dtd"
    reasons = {entry.place: entry.reason for entry in listing.refused}
    assert list(reasons) == ["a", "b", "d"]
    assert "no dataset_spec.json (its dataset_spec.pkl is not read" in reasons["a"]
    assert "'__class__' is None" in reasons["b"]
    assert "symbolic link" in reasons["d"]
    for name in "bcd":
        os.rename(tmp_path / "root" / name, tmp_path / f"no {name}")
    with pytest.raises(DataError, match=r"no dataset in .*\n  a: .*NAME_dataset_spec.json"):
        list_sources("metadataset", tmp_path / "root")


def test_folder_of_another_kind_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no class files such as 0.tfrecords and no dataset_spec.json"):
        list_sources("metadataset", tmp_path)
    with pytest.raises(DataError, match="no folder"):
        list_sources("metadataset", tmp_path / "nothing")
    (tmp_path / "aircraft").mkdir()
    (tmp_path / "aircraft/0.h5").touch()
    for source in (tmp_path, tmp_path / "aircraft"):
        with pytest.raises(DataError, match="h5 files, which are of kind metadataset-h5"):
            list_sources("metadataset", source)
    (tmp_path / "aircraft/dataset_spec.json").write_text(json.dumps(plain()))
    with pytest.raises(DataError, match=r"kind metadataset-h5.*\n  0.tfrecords: there is no such file"):
        list_sources("metadataset", tmp_path / "aircraft")


def test_specification_that_disagrees_with_the_files(tmp_path: Path) -> None:
    write_dataset(tmp_path, plain())
    (tmp_path / "1.tfrecords").unlink()
    write_records(tmp_path / "3.tfrecords", [image(3, i) for i in range(22)], 3)
    write_records(tmp_path / "5.tfrecords", [b"of no class"], 5)
    (tmp_path / "4.tfrecords").write_bytes(b"")
    listing = only(tmp_path)
    assert [str(entry) for entry in listing.refused] == [
        "1.tfrecords: there is no such file; it is of class 1 ('polka-dotted'), which has 0 of 20 images",
        "5.tfrecords: by its name it is of no class",
    ]
    assert listing.notes == (
        "2 classes have other numbers of images than the specification says, such as class 3 ('a b') with 22 of 20",
    )
    assert listing.expected == dict.fromkeys(listing.classes, 20)
    found, refused = results(listing)
    assert refused == []
    assert [len(found[name]) for name in listing.classes] == [20, 0, 20, 22, 0]


def test_several_files_of_a_class(tmp_path: Path) -> None:
    spec = plain() | {"file_pattern": "{}_{}.tfrecords"}
    (tmp_path / "dataset_spec.json").write_text(json.dumps(spec))
    for number, shard, count in ((0, "test", 20), (0, "train", 100), (1, "0", 1), (1, "1", 2), (10, "0", 3)):
        images = [f"{shard} {i}".encode() for i in range(count)]
        write_records(tmp_path / f"{number}_{shard}.tfrecords", images, number)
    listing = only(tmp_path)
    found, _ = results(listing)
    assert len(found["chequered"]) == 120
    assert set(found["polka-dotted"]) == {"1_0.tfrecords#0", "1_1.tfrecords#0", "1_1.tfrecords#1"}
    assert [entry.place for entry in listing.refused] == [*(f"{i}_0.tfrecords" for i in (2, 3, 4)), "10_0.tfrecords"]


def test_damaged_records_are_refused_by_number_and_the_rest_is_kept(tmp_path: Path) -> None:
    write_dataset(tmp_path, plain())
    size = len(framed(example(image(0, 0), 0)))
    damaged(tmp_path / "0.tfrecords", 3 * size + 30)  # data of record 3
    damaged(tmp_path / "2.tfrecords", 5 * size + 2)  # length of record 5
    cut(tmp_path / "4.tfrecords", 7 * size + 20)  # in the middle of record 7
    listing = only(tmp_path)
    lost = "the rest of the file is lost from record"
    assert [str(entry) for entry in listing.refused] == [
        f"2.tfrecords: {lost} 5 on, since its length does not have the checksum that it was written with; it is of "
        "class 2 ('ふわふわ'), which has 5 of 20 images",
        f"4.tfrecords: {lost} 7 on, since the file is cut in the middle of the record: 20 of its {size} bytes are "
        "there; it is of class 4 ('woven'), which has 7 of 20 images",
    ]
    found, refused = results(listing)
    assert [str(entry) for entry in refused] == [
        "0.tfrecords record 3: its data does not have the checksum that it was written with"
    ]
    for number, name in enumerate(listing.classes):
        kept = {0: [i for i in range(20) if i != 3], 2: range(5), 4: range(7)}.get(number, range(20))
        assert found[name] == {f"{number}.tfrecords#{i}": image(number, i) for i in kept}


def test_records_that_are_not_of_their_class_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, plain())
    bad = [example(b"a", 2), example(b"b", 99), example(b"c", -1), message(image=bytes_list(b"d")), b"\xff"]
    (tmp_path / "1.tfrecords").write_bytes(b"".join(framed(data) for data in [*bad, example(b"good", 1)]))
    found, refused = results(only(tmp_path))
    assert found["polka-dotted"] == {"1.tfrecords#5": b"good"}
    assert [str(entry) for entry in refused] == [
        "1.tfrecords record 0: its label is 2; in this file all should be 1",
        "1.tfrecords record 1: its label is 99; in this file all should be 1",
        "1.tfrecords record 2: its label is -1; in this file all should be 1",
        "1.tfrecords record 3: it has no 'label', only ['image']",
        "1.tfrecords record 4: it is no tf.train.Example",
    ]


def test_links_out_of_the_dataset_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dtd", plain())
    (folder / "1.tfrecords").rename(tmp_path / "1.tfrecords")
    (folder / "1.tfrecords").symlink_to(tmp_path / "1.tfrecords")
    (folder / "3.tfrecords").unlink()
    os.mkfifo(folder / "3.tfrecords")
    listing = only(folder)
    assert [entry.place for entry in listing.refused] == ["1.tfrecords", "3.tfrecords"]
    assert "symbolic link" in listing.refused[0].reason
    (folder / "dataset_spec.json").rename(tmp_path / "spec.json")
    (folder / "dataset_spec.json").symlink_to(tmp_path / "spec.json")
    with pytest.raises(DataError, match="symbolic link that leaves"):
        list_sources("metadataset", folder)


def test_import_keeps_what_is_good_and_says_what_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "omniglot"
    write_dataset(folder, two_levels(), images=3)
    pictures = [[encode(noise(10 * number + i)) for i in range(3)] for number in range(5)]
    for number, images in enumerate(pictures):
        write_records(folder / f"{number}.tfrecords", images, number)
    write_records(folder / "1.tfrecords", [pictures[1][0], b"", b"no image"], 1)
    (folder / "4.tfrecords").unlink()
    import_domain(only(folder), tmp_path / "out")
    imported = read_imported(tmp_path / "out/omniglot")
    assert list(imported.classes.values()) == [3, 1, 3, 3, 0]
    assert {entry.place.split("#")[0].split(" ")[0] for entry in imported.refused} >= {"1.tfrecords", "4.tfrecords"}
    assert imported.hierarchy is not None
    assert imported.hierarchy.groups["test"] == {"Japanese_(hiragana)": ("Japanese_(hiragana)/character01",)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = plain() | {"classes_per_split": {"TRAIN": 1, "VALID": 0, "TEST": 1}, "class_names": {"0": "a", "1": "b"}}
    return write_dataset(tmp_path_factory.mktemp("small") / "dtd", spec, images=4)


SIZE = len(framed(example(image(0, 0), 0)))


@given(
    flips=st.lists(st.tuples(st.integers(0, 4 * SIZE - 1), st.integers(1, 255)), max_size=5),
    end=st.none() | st.integers(0, 4 * SIZE),
    swap=st.booleans(),
)
def test_damaged_file_gives_no_wrong_image(
    flips: list[tuple[int, int]], end: int | None, swap: bool, small: Path
) -> None:
    original = b"".join(framed(example(image(int(swap), i), int(swap))) for i in range(4))
    content = bytearray(original)
    for place, change in flips:
        content[place] ^= change
    content = content[:end]
    (small / "0.tfrecords").write_bytes(content)  # with `swap`, all of it is of the other class
    listing = only(small)
    found, refused = results(listing)
    assert found["b"] == {f"1.tfrecords#{i}": image(1, i) for i in range(4)}
    for name, data in found["a"].items():
        assert data == image(0, int(name.removeprefix("0.tfrecords#")))
    whole = [i for i in range(4) if content[i * SIZE : (i + 1) * SIZE] == original[i * SIZE : (i + 1) * SIZE]]
    reached = next((i for i in range(4) if content[i * SIZE : i * SIZE + 12] != original[i * SIZE : i * SIZE + 12]), 4)
    expected = [] if swap else [i for i in whole if i < reached]
    assert sorted(found["a"]) == [f"0.tfrecords#{i}" for i in expected]
    if len(expected) < 4 and len(content) % SIZE:
        assert refused or listing.refused
