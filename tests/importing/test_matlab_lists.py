from pathlib import Path

import numpy as np
import pytest
import scipy.io

from smat.errors import DataError
from smat.importing import Listing, list_sources
from tiny_sources import annotations, make_cars, make_flowers, photo, read_all, said, texts, write

CARS = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "大众 Käfer 1959")


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


@pytest.mark.parametrize("packed", [True, False])
def test_flowers_get_their_classes_from_the_matlab_file(packed: bool, tmp_path: Path) -> None:
    images = make_flowers(tmp_path, (77, 1, 102, 5, 1), packed)
    listing = one(list_sources("flowers", tmp_path))
    names = ("001.pink primrose", "005.english marigold", "077.passion flower", "102.blackberry lily")
    assert listing.classes == names
    assert listing.splits == {"train": (names[0], names[2]), "val": (names[3],), "test": (names[1],)}
    labels = [names[i] for i in (2, 0, 3, 1, 0)]
    assert read_all(listing) == ({path: (label, images[path]) for path, label in zip(images, labels, strict=True)}, [])


def test_flowers_out_of_range_and_missing_images_are_refused(tmp_path: Path) -> None:
    images = make_flowers(tmp_path, (0, 1, 103, 5, 1))
    (tmp_path / "jpg/image_00005.jpg").unlink()
    found, refused = read_all(one(list_sources("flowers", tmp_path)))
    assert set(found) == {"jpg/image_00002.jpg", "jpg/image_00004.jpg"}
    assert said(refused).splitlines() == [
        "imagelabels.mat, image 1: its class is 0; expected 1 to 102",
        "imagelabels.mat, image 3: its class is 103; expected 1 to 102",
        "jpg/image_00005.jpg: there is no such file",
    ]
    assert len(images) == 5


def test_labels_stored_as_other_numbers_are_the_same(tmp_path: Path) -> None:
    make_flowers(tmp_path, (3, 3, 4))
    expected = read_all(one(list_sources("flowers", tmp_path)))
    for kind in (np.float64, np.int32, np.uint16):
        scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[3, 3, 4]], dtype=kind)})
        assert read_all(one(list_sources("flowers", tmp_path))) == expected
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[3.5, np.nan, 4]])})
    assert set(read_all(one(list_sources("flowers", tmp_path)))[0]) == {"jpg/image_00003.jpg"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header is another one"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "its header is another one"),
        (bytes(127), "its header is another one"),
    ],
)
def test_files_of_other_versions_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"imagelabels.mat": content})
    with pytest.raises(DataError, match=f"imagelabels.mat' cannot be read as a MATLAB 5 file: {message}"):
        list_sources("flowers", tmp_path)


def test_other_variables_are_refused(tmp_path: Path) -> None:
    make_flowers(tmp_path, (1, 2))
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"setid": np.array([[1]])})
    with pytest.raises(DataError, match="has no 'labels', but setid"):
        list_sources("flowers", tmp_path)
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": texts(("a", "b"))})
    with pytest.raises(DataError, match="expected a row of class numbers"):
        list_sources("flowers", tmp_path)
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": np.ones((2, 2))})
    with pytest.raises(DataError, match="expected a row of class numbers"):
        list_sources("flowers", tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_cars_have_their_training_and_test_images_joined(packed: bool, tmp_path: Path) -> None:
    truth = make_cars(tmp_path, CARS, packed)
    listing = one(list_sources("cars", tmp_path))
    assert listing.classes == CARS
    assert listing.splits == {"test": CARS}
    assert read_all(listing) == (truth, [])


def test_cars_without_test_labels_are_the_training_images(tmp_path: Path) -> None:
    truth = make_cars(tmp_path / "stanford_cars", CARS)
    (tmp_path / "stanford_cars/cars_test_annos_withlabels.mat").unlink()
    listing = one(list_sources("cars", tmp_path))
    assert read_all(listing)[0] == {path: content for path, content in truth.items() if "cars_train" in path}
    assert "cars_test_annos_withlabels.mat is not there: the test images are left out" in listing.notes


def test_cars_in_one_folder(tmp_path: Path) -> None:
    rows = [{"relative_im_path": f"car_ims/{i:06d}.jpg", "class": 1 + i % 3, "test": i % 2} for i in range(5)]
    write(tmp_path, {row["relative_im_path"]: photo(i) for i, row in enumerate(rows)})
    values = {"annotations": annotations(rows), "class_names": texts(CARS)}
    scipy.io.savemat(tmp_path / "cars_annos.mat", values)
    assert read_all(one(list_sources("cars", tmp_path))) == (
        {f"car_ims/{i:06d}.jpg": (CARS[i % 3], photo(i)) for i in range(5)},
        [],
    )


def test_wrong_annotations_of_cars_are_refused(tmp_path: Path) -> None:
    truth = make_cars(tmp_path, CARS)
    rows = [
        {"class": label, "fname": name}
        for label, name in [
            (1, "00001.jpg"),
            (0, "00002.jpg"),
            (4, "00003.jpg"),
            (2, "../devkit/x.jpg"),
            (2, "/etc/x.jpg"),
            (3, "none.jpg"),
            (2.5, "00004.jpg"),
            (1, 7),
            (np.array([1, 2]), "00005.jpg"),
        ]
    ]
    scipy.io.savemat(tmp_path / "devkit/cars_train_annos.mat", {"annotations": annotations(rows)})
    found, refused = read_all(one(list_sources("cars", tmp_path)))
    kept = {path: content for path, content in truth.items() if "cars_test" in path or path == "cars_train/00001.jpg"}
    assert found == kept
    assert sorted(entry.place for entry in refused) == [
        "cars_train/none.jpg",
        *(f"devkit/cars_train_annos.mat, annotation {number}" for number in (2, 3, 4, 5, 7, 8, 9)),
    ]
    assert "'cars_train/../devkit/x.jpg' leaves the source folder" in said(refused)
    assert "'cars_train//etc/x.jpg' is no path of an image" in said(refused)
    (tmp_path / "devkit/cars_train_annos.mat").write_bytes(b"nothing")
    found, refused = read_all(one(list_sources("cars", tmp_path)))
    assert set(found) == {path for path in truth if "cars_test" in path}
    assert "devkit/cars_train_annos.mat: " in said(refused)
    scipy.io.savemat(tmp_path / "cars_test_annos_withlabels.mat", {"annotations": np.ones(3)})
    with pytest.raises(DataError, match=r"annotations have no fields 'class' and 'fname'"):
        list_sources("cars", tmp_path)


def test_class_names_must_be_there_once(tmp_path: Path) -> None:
    make_cars(tmp_path, CARS)
    for names in (("a", "a", "b"), ("a", "", "b"), ("a", "b\nc", "d")):
        scipy.io.savemat(tmp_path / "devkit/cars_meta.mat", {"class_names": texts(names)})
        with pytest.raises(DataError, match="class names that are no text, empty or there twice"):
            list_sources("cars", tmp_path)
