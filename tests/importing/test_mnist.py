import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing import Found, Listing, list_sources

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(values: np.ndarray) -> bytes:
    """Unsigned bytes as LeCun's page describes them: magic number, sizes, values."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def digits(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, np.array([i % 10 for i in range(count)], np.uint8)


def write(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray, gz: bool = False, dot: str = "-") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in ((f"{prefix}-images{dot}idx3-ubyte", images), (f"{prefix}-labels{dot}idx1-ubyte", labels)):
        path = folder / (name + ".gz" * gz)
        path.write_bytes(gzip.compress(idx(values), mtime=0) if gz else idx(values))


def contents(listing: Listing) -> dict[str, tuple[str, np.ndarray]]:
    """Class and pixels of each image by its name."""
    found = {}
    for part in listing.parts:
        items = [item for item in listing.read(part) if isinstance(item, Found)]
        assert len(items) <= part.images
        found |= {item.name: (listing.classes[part.label], item.image) for item in items}
    return found


@pytest.mark.parametrize(("gz", "dot"), [(False, "-"), (True, "-"), (False, ".")])
def test_training_and_test_images_are_joined_by_class(tmp_path: Path, gz: bool, dot: str) -> None:
    train, test = digits(0, 30), digits(1, 20)
    write(tmp_path / "mnist", "train", *train, gz=gz, dot=dot)
    write(tmp_path / "mnist", "t10k", *test, gz=gz, dot=dot)
    [listing] = list_sources("mnist", tmp_path / "mnist")
    assert listing.name == "mnist"
    assert listing.classes == tuple("0123456789")
    assert listing.splits == {"test": listing.classes}
    assert listing.flip is False
    assert not listing.refused
    found = contents(listing)
    assert len(found) == 50
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            name, pixels = found[f"{prefix}-images{dot}idx3-ubyte{'.gz' * gz}#{row}"]
            assert name == str(label)
            assert np.array_equal(pixels, image)
    assert [part.label for part in listing.parts] == sorted(part.label for part in listing.parts)


def test_names_of_its_relatives(tmp_path: Path) -> None:
    for folder, label, name in (("FashionMNIST/raw", 9, "Ankle boot"), ("kuzushiji", 2, "su")):
        write(tmp_path / folder, "train", *digits(0, 10))
        [listing] = list_sources("mnist", tmp_path / folder)
        assert listing.name == folder.partition("/")[0]
        assert listing.classes[label] == name


def test_emnist_has_its_own_names_and_lies_on_its_side(tmp_path: Path) -> None:
    images, labels = digits(0, 9)[0], np.array([1, 2, 3] * 3, np.uint8)
    write(tmp_path, "emnist-letters-train", images, labels)
    write(tmp_path, "emnist-letters-test", images[:3], labels[:3])
    with pytest.raises(DataError, match=r"emnist-letters-mapping.txt' cannot be used"):
        list_sources("mnist", tmp_path)
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n3 67 99\n")
    [listing] = list_sources("mnist", tmp_path)
    assert (listing.name, listing.classes) == ("emnist-letters", ("A", "B", "C"))
    found = contents(listing)
    assert len(found) == 12
    name, pixels = found["emnist-letters-train-images-idx3-ubyte#4"]
    assert name == "B"
    assert np.array_equal(pixels, images[4].T)


def test_labels_out_of_range_are_refused_one_by_one(tmp_path: Path) -> None:
    images, labels = digits(0, 20)
    labels[[3, 7]] = 10, 255
    write(tmp_path, "train", images, labels)
    [listing] = list_sources("mnist", tmp_path)
    assert [str(entry) for entry in listing.refused] == [
        f"{IMAGES}#3: label 10; expected 0 to 9",
        f"{IMAGES}#7: label 255; expected 0 to 9",
    ]
    assert len(contents(listing)) == 18


def test_what_is_whole_of_a_cut_file_is_kept(tmp_path: Path) -> None:
    images, labels = digits(0, 20)
    write(tmp_path, "train", images, labels)
    path = tmp_path / IMAGES
    path.write_bytes(path.read_bytes()[: 16 + 784 * 12 + 100])
    [listing] = list_sources("mnist", tmp_path)
    [lost] = listing.refused
    assert lost.place == f"{IMAGES}#12"
    assert "8 images are lost" in lost.reason
    found = contents(listing)
    assert len(found) == 12
    assert all(np.array_equal(found[f"{IMAGES}#{row}"][1], images[row]) for row in range(12))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / LABELS).unlink(), "no file train-labels"),
        (lambda folder: (folder / LABELS).write_bytes(idx(np.zeros(19, np.uint8))), "19 labels for 20 images"),
        (lambda folder: (folder / LABELS).write_bytes(idx(np.zeros((20, 1), np.uint8))), "begins with 00 00 08 02"),
        (lambda folder: (folder / IMAGES).write_bytes(b""), "begins with"),
        (lambda folder: (folder / IMAGES).write_bytes(b"<html>" * 100), "begins with 3c 68 74 6d"),
        (lambda folder: (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes() + b"0"), "which says 15680"),
        (lambda folder: (folder / IMAGES).write_bytes(idx(np.zeros((20, 0, 28), np.uint8))), "0 x 28"),
        (
            lambda folder: (folder / IMAGES).write_bytes(struct.pack(">HBB3I", 0, 8, 3, 20, 29, 28) + bytes(15680)),
            "head may be damaged",
        ),
        (lambda folder: (folder / LABELS).rename(folder.parent / "l") and link(folder, "l"), "symbolic link"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "mnist"
    write(folder, "train", *digits(0, 20))
    write(folder, "t10k", *digits(1, 10))
    damage(folder)
    [listing] = list_sources("mnist", folder)
    [entry] = listing.refused
    assert entry.place == IMAGES
    assert message in entry.reason
    assert len(contents(listing)) == 10
    for path in folder.glob("t10k*"):
        path.unlink()
    with pytest.raises(DataError, match=f"(?s)nothing of 'mnist'.*{IMAGES}"):
        list_sources("mnist", folder)


def link(folder: Path, name: str) -> None:
    (folder / LABELS).symlink_to(folder.parent / name)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no idx files, such as train-images"):
        list_sources("mnist", tmp_path)


@given(data=st.data(), gz=st.booleans())
def test_damaged_files_never_give_a_wrong_label(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, gz: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    images, labels = digits(0, 12)
    write(folder, "train", images, labels, gz=gz)
    which = data.draw(st.sampled_from([IMAGES, LABELS]))
    path = folder / (which + ".gz" * gz)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        # Labels have no checksum of their own: one that is turned into another label cannot be noticed.
        last = 7 if which == LABELS and not gz else len(content) - 1
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, last))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        [listing] = list_sources("mnist", folder)
    except DataError:
        return
    items = [(part, item) for part in listing.parts for item in listing.read(part)]
    for part, item in items:
        assert isinstance(item, Found)
        row = int(item.name.rpartition("#")[2])
        assert listing.classes[part.label] == str(labels[row])
        if which == LABELS or gz:
            assert np.array_equal(item.image, images[row])
    assert all(isinstance(entry, Refused) for entry in listing.refused)
    assert len(items) == 12 or listing.refused
