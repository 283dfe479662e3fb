import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_specs import plain, two_levels

from smat.domains.imported import Refused, read_imported
from smat.errors import DataError
from smat.importing import Listing, import_domain, list_sources
from smat.importing.metadataset_h5 import read


def pixels(number: int, group: int, height: int = 5, width: int = 4) -> np.ndarray:
    random = np.random.default_rng([number, group])
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_class(path: Path, number: int, images: Sequence[np.ndarray], **options: Any) -> None:
    """A class's file as PMF's conversion writes it: the label as the records' list of one."""
    with h5py.File(path, "w", **options) as file:
        for group, image in enumerate(images):
            made = file.create_group(f"{group}")
            made.create_dataset("image", data=image)
            made.create_dataset("label", data=np.array([number], dtype=np.int32))
            made.create_dataset("id", data=np.array(1000 * group))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images."""
    folder = tmp_path / "cu_birds"
    folder.mkdir()
    for number in range(2):
        write_class(folder / f"{number}.h5", number, [pixels(number, group) for group in range(3)])
    return folder


def only(source: Path) -> Listing:
    (listing,) = list_sources("metadataset-h5", source)
    return listing


def results(listing: Listing) -> tuple[dict[str, dict[str, np.ndarray]], list[Refused]]:
    """Pixels by class and by name, and what reading refused."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in listing.classes}
    refused: list[Refused] = []
    for part in listing.parts:
        for item in listing.read(pickle.loads(pickle.dumps(part))):
            if isinstance(item, Refused):
                refused.append(item)
            else:
                assert isinstance(item.image, np.ndarray)
                found[listing.classes[part.label]][item.name] = item.image
    return found, refused


def same(found: Mapping[str, np.ndarray], number: int, groups: Sequence[int]) -> bool:
    return list(found) == [f"{number}.h5#{group}" for group in groups] and all(
        np.array_equal(image, pixels(number, group)) for image, group in zip(found.values(), groups, strict=True)
    )


def test_without_a_specification_classes_are_numbers_and_all_test(folder: Path) -> None:
    write_class(folder / "10.h5", 10, [pixels(10, 0)])
    listing = only(folder)
    assert (listing.name, listing.classes, listing.splits) == ("cu_birds", ("0", "1", "10"), {"test": ("0", "1", "10")})
    assert listing.refused == ()
    assert "all are test classes" in listing.notes[0]
    found, refused = results(listing)
    assert refused == []
    assert same(found["0"], 0, range(3))
    assert same(found["1"], 1, range(3))
    assert same(found["10"], 10, [0])


@pytest.mark.parametrize("spec", [plain(), two_levels()], ids=lambda spec: spec["name"])
def test_with_a_specification_its_classes_are_used(spec: dict, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        spec["images_per_class"] = dict.fromkeys(spec["class_names"], 2)
        (tmp_path / name / "dataset_spec.json").write_text(json.dumps(spec))
        for number in range(5):
            write_class(tmp_path / name / f"{number}.h5", number, [pixels(number, group) for group in range(2)])
    assert [listing.name for listing in list_sources("metadataset-h5", tmp_path)] == ["a", "b"]
    listing = only(tmp_path / "a")
    assert (listing.name, listing.refused, listing.notes) == (spec["name"], (), ())
    assert len(listing.splits["train"]) == (2 if spec["name"] == "dtd" else 3)
    assert (listing.hierarchy is None) == (spec["name"] == "dtd")
    found, _ = results(listing)
    assert all(same(found[name], number, range(2)) for number, name in enumerate(listing.classes))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_large_class_is_read_in_parts_in_the_order_of_its_numbers(tmp_path: Path, libver: str) -> None:
    write_class(tmp_path / "7.h5", 7, [pixels(7, group) for group in range(501)], libver=libver)
    listing = only(tmp_path)
    assert [(part.label, part.images) for part in listing.parts] == [(0, 500), (0, 1)]
    assert same(results(listing)[0]["7"], 7, range(501))
    (last,) = read(listing.parts[1])
    assert not isinstance(last, Refused)
    assert last.name == "7.h5#500"


def test_no_file_stays_open(folder: Path) -> None:
    listing = only(folder)
    reading = [read(part) for part in listing.parts]
    for items in reading:
        next(items)
        items.close()
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0


def test_fixed_episodes_are_no_classes(folder: Path) -> None:
    for name in ("val_ep120_img128.h5", "test_ep600_img128.h5", "val_episodes4000.h5"):
        with h5py.File(folder / name, "w") as file:
            episode = file.create_group("0")
            for images, labels in (("sx", "sy"), ("x", "y")):
                episode.create_dataset(images, data=np.zeros((2, 3, 8, 8), np.float32))
                episode.create_dataset(labels, data=np.arange(2))
    write_class(folder / "other.h5", 0, [pixels(0, 0)])
    write_class(folder / "01.h5", 1, [pixels(0, 0)])
    listing = only(folder)
    assert listing.classes == ("0", "1")
    assert [note.split(" ")[0] for note in listing.notes[:3]] == [
        "test_ep600_img128.h5",
        "val_ep120_img128.h5",
        "val_episodes4000.h5",
    ]
    assert [str(entry) for entry in listing.refused] == [
        f"{name}: by its name it is of no class" for name in ("01.h5", "other.h5")
    ]


def test_files_and_specification_that_disagree(folder: Path) -> None:
    spec = plain() | {"images_per_class": {"0": 3, "1": 4, "2": 5}}
    (folder / "dataset_spec.json").write_text(json.dumps(spec))
    (folder / "2.h5").write_bytes(b"no HDF5 file")
    write_class(folder / "3.h5", 3, [])
    write_class(folder / "99.h5", 99, [pixels(0, 0)])
    listing = only(folder)
    assert [note.partition("such as ")[2] for note in listing.notes] == ["class 1 ('polka-dotted') with 3 of 4"]
    shown = [str(entry) for entry in listing.refused]
    assert [line.split(" ")[0] for line in shown] == ["2.h5:", "3.h5:", "4.h5:", "99.h5:"]
    assert "cannot be opened as an HDF5 file" in shown[0]
    assert shown[0].endswith("it is of class 2 ('ふわふわ'), which has 0 of 5 images")
    assert "no groups" in shown[1]
    assert "no such file" in shown[2]


def test_folder_of_another_kind_is_said(tmp_path: Path) -> None:
    (tmp_path / "0.tfrecords").touch()
    with pytest.raises(DataError, match=r"which are of kind metadataset\b"):
        list_sources("metadataset-h5", tmp_path)


def relabel(group: h5py.Group, value: Any, kind: Any) -> None:
    del group["label"]
    group.create_dataset("label", data=np.array(value, dtype=kind))


def reimage(group: h5py.Group, value: Any) -> None:
    del group["image"]
    group.create_dataset("image", data=value)


def never_written(group: h5py.Group) -> None:
    del group["image"]
    group.create_dataset("image", shape=(5, 4, 3), dtype=np.uint8)


def bomb(group: h5py.Group) -> None:
    del group["image"]
    group.create_dataset("image", (60_000, 60_000, 3), np.uint8, chunks=(100, 100, 3), compression="gzip")
    group["image"][:100, :100] = 1


def other_filter(group: h5py.Group) -> None:
    del group["image"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((5, 4, 3))
    creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))  # Zstandard, by a plug-in
    space = h5py.h5s.create_simple((5, 4, 3))
    made = h5py.h5d.create(group.id, b"image", h5py.h5t.NATIVE_UINT8, space, creation)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, pixels(0, 1))


def elsewhere(group: h5py.Group) -> None:
    del group["image"]
    secret = Path(group.file.filename).parent.parent / "secret"
    secret.write_bytes(bytes(60))
    group.create_dataset("image", (5, 4, 3), np.uint8, external=[(str(secret), 0, 60)])


def other_dataset(group: h5py.Group) -> None:
    del group["image"]
    layout = h5py.VirtualLayout((5, 4, 3), np.uint8)
    layout[:] = h5py.VirtualSource("1.h5", "0/image", (5, 4, 3), np.uint8)
    group.create_virtual_dataset("image", layout)


def link(group: h5py.Group, name: str, to: Any) -> None:
    del group[name]
    group[name] = to


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda group: relabel(group, [1], np.int64), "its label is 1; in this file all should be 0"),
        (lambda group: relabel(group, 70_000, np.uint32), "its label is 70000"),
        (lambda group: relabel(group, [0, 0], np.int64), r"'label' is \(2,\) int64; it should be one whole number"),
        (lambda group: relabel(group, 0.0, np.float32), "one whole number"),
        (lambda group: group.pop("label"), "no 'label'"),
        (lambda group: group.pop("image"), "no 'image'"),
        (lambda group: reimage(group, pixels(0, 1)[..., 0]), r"'image' is \(5, 4\) uint8; it should be \[height"),
        (lambda group: reimage(group, pixels(0, 1).astype(np.int16)), "uint8"),
        (lambda group: reimage(group, "text"), "uint8"),
        (lambda group: group.pop("image") and group.create_group("image"), "'image' is no dataset"),
        (never_written, "not written in full"),
        (bomb, "60000 x 60000 pixels, too many"),
        (other_filter, r"filters \[32015\].*plug-in"),
        (elsewhere, "in another file"),
        (other_dataset, "in another file"),
        (lambda group: link(group, "image", h5py.SoftLink("/0/image")), "link to elsewhere"),
        (lambda group: link(group, "label", h5py.ExternalLink("1.h5", "/0/label")), "link to elsewhere"),
        (lambda group: link(group.parent, "1", h5py.ExternalLink("1.h5", "/0")), "'1' is a link to elsewhere"),
        (lambda group: link(group.parent, "1", h5py.SoftLink("/0")), "'1' is a link to elsewhere"),
        (lambda group: group.parent.move("1", "one"), "there is no '1'"),
        (lambda group: link(group.parent, "1", 5), "'1' is no group"),
    ],
)
def test_bad_group_is_refused_and_the_rest_kept(spoil: Callable[[Any], None], reason: str, folder: Path) -> None:
    with h5py.File(folder / "0.h5", "r+") as file:
        spoil(file["1"])
    found, refused = results(only(folder))
    assert same(found["0"], 0, [0, 2])
    assert same(found["1"], 1, range(3))
    (entry,) = refused
    assert entry.place == "0.h5 group '1'"
    assert re.search(reason, entry.reason), entry.reason


def test_one_image_by_thousands_of_names_is_refused(folder: Path) -> None:
    with h5py.File(folder / "0.h5", "w", libver="latest") as file:
        group = file.create_group("0")
        for name in range(1, 3000):
            file[str(name)] = group
    (entry,) = only(folder).refused
    assert "it says that it has 3000 groups, more than" in entry.reason


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_compressed_pixels_are_read(compression: str, folder: Path) -> None:
    with h5py.File(folder / "0.h5", "r+") as file:
        group = file["1"]
        assert isinstance(group, h5py.Group)
        del group["image"]
        group.create_dataset("image", data=pixels(0, 1), compression=compression, shuffle=True, fletcher32=True)
    assert same(results(only(folder))[0]["0"], 0, range(3))


def test_file_that_goes_bad_after_it_was_listed(folder: Path) -> None:
    listing = only(folder)
    (folder / "0.h5").write_bytes((folder / "0.h5").read_bytes()[:3000])
    found, refused = results(listing)
    assert found["0"] == {}
    assert "3 images are lost" in refused[0].reason
    assert same(found["1"], 1, range(3))


def test_links_out_of_the_dataset_are_refused(folder: Path) -> None:
    (folder / "0.h5").rename(folder.parent / "0.h5")
    (folder / "0.h5").symlink_to(folder.parent / "0.h5")
    listing = only(folder)
    assert "symbolic link" in str(listing.refused[0])
    assert {part.label for part in listing.parts} == {1}


def test_import_stores_the_pixels(folder: Path, tmp_path: Path) -> None:
    with h5py.File(folder / "1.h5", "r+") as file:
        relabel(file["2"], 5, np.int64)
    import_domain(only(folder), tmp_path / "out")
    imported = read_imported(tmp_path / "out/cu_birds")
    assert dict(imported.classes) == {"0": 3, "1": 2}
    assert [entry.place for entry in imported.refused] == ["1.h5 group '2'"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A folder for one class, and its good content, in the old and the new format of the library."""
    folder = tmp_path_factory.mktemp("fuzz") / "dtd"
    folder.mkdir()
    contents = []
    for libver in ("earliest", "latest"):
        write_class(folder / "3.h5", 3, [pixels(3, group) for group in range(3)], libver=libver)
        contents.append((folder / "3.h5").read_bytes())
    return folder, contents


@given(
    new=st.booleans(),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=6),
    end=st.none() | st.integers(0, 10**6),
)
def test_damaged_file_gives_no_image_of_another_class(
    new: bool, flips: list[tuple[int, int]], end: int | None, small: tuple[Path, list[bytes]]
) -> None:
    folder, contents = small
    content = bytearray(contents[new])
    for place, change in flips:
        content[place % len(content)] ^= change
    content = content[: end % len(content) if end is not None else None]
    (folder / "3.h5").write_bytes(content)
    try:
        listing = only(folder)
    except DataError:
        assert content != contents[new]
        return
    assert sum(part.images for part in listing.parts) * 64 <= len(content)
    found, refused = results(listing)
    for image in found["3"].values():
        assert image.shape[2] == 3
        assert image.dtype == np.uint8
    assert len(found["3"]) + len(refused) <= sum(part.images for part in listing.parts)
    if content == contents[new]:
        assert same(found["3"], 3, range(3))
        assert refused == []


@settings(max_examples=100, deadline=None, derandomize=True)  # nothing guards a label; some change may make it right
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=3))
def test_file_of_another_class_gives_nothing(flips: list[tuple[int, int]], small: tuple[Path, list[bytes]]) -> None:
    content = bytearray(small[1][0])
    for place, change in flips:
        content[place % len(content)] ^= change
    folder = small[0].parent / "other"
    folder.mkdir(exist_ok=True)
    (folder / "4.h5").write_bytes(content)
    try:
        found, _ = results(only(folder))
    except DataError:
        return
    assert found["4"] == {}
