"""Parquet files: whose content counts, not their time stamps; their columns; several as one table."""

import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small_images import encode, noise, write_parquet
from smat.domains import DomainConfig, ImageDomain, open_domain, open_domains
from smat.errors import ConfigError, DataError
from smat.left_out import collecting


def write_table(path: Path, labels: Any, image: str = "image", label: str = "label", first: int = 0) -> Path:
    """A parquet file that does not come from `datasets`: row i is `noise(first + i)`."""
    images = [encode(noise(first + i)) for i in range(len(labels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({image: pa.array(images, pa.binary()), label: labels}), path)
    return path


def is_noise(domain: ImageDomain, row: int, seed: int) -> bool:
    return np.array_equal(np.asarray(domain.image(row)), np.asarray(noise(seed)))


def test_another_file_with_the_same_time_stamp_is_another_file(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", pa.array(["a", "b", "a", "b"]))
    other = write_table(tmp_path / "y.parquet", pa.array(["b", "a", "b", "a"]), first=7)
    os.utime(path, (1e9, 1e9))
    first = open_domain(path)
    for replace in (lambda: path.write_bytes(other.read_bytes()), lambda: other.replace(path)):
        replace()
        os.utime(path, (1e9, 1e9))
        second = open_domain(path)
        assert second.fingerprint != first.fingerprint
        assert second.rows("a").tolist() == [1, 3]
        assert all(is_noise(second, row, 7 + row) for row in range(4))
    assert all(is_noise(first, row, row) for row in range(4))  # of the content that it was opened with


def test_a_hash_is_taken_once_of_a_file_that_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "x.parquet", pa.array(["a", "b"]))
    monkeypatch.setattr("smat.domains.arrow_files._SETTLED", -1)
    digest = open_domain(path).fingerprint
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it is read again"))
    assert open_domain(path).fingerprint == digest
    with pytest.raises(pytest.fail.Exception):
        open_domain(path, verify=True)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "x.parquet", pa.array(["a", "b"]))
    monkeypatch.setattr("smat.domains.parquet.read_labels", lambda *_: (np.zeros(2, np.int64), path.touch() or ("a",)))
    with pytest.raises(DataError, match="changed while it was read"):
        open_domain(path)


def test_a_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", pa.array(["a", "b"]))
    open_domain(path)
    [copy] = Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow")
    copy.write_bytes(copy.read_bytes()[:100])
    assert is_noise(open_domain(path), 1, 1)


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    with pytest.raises(DataError, match=r"cannot be written.*HF_DATASETS_CACHE"):
        open_domain(write_table(tmp_path / "x.parquet", pa.array(["a", "b"])))


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        (pa.array(["b", None, "a"], pa.large_string()), ("a", "b"), [1, -1, 0]),
        (pa.array([True, False, True]), ("False", "True"), [1, 0, 1]),
        (pa.DictionaryArray.from_arrays([1, 0, None], ["small", "large", "unused"]), ("large", "small"), [0, 1, -1]),
        (pa.DictionaryArray.from_arrays([1, 0, 1], ["s", "m"], ordered=True), ("m", "s"), [0, 1, 0]),
        (pa.DictionaryArray.from_arrays([1, 0, 1], [30, 4]), ("4", "30"), [0, 1, 0]),
        (pa.array([7, 3, 7], pa.uint8()), ("3", "7"), [1, 0, 1]),
    ],
)
def test_labels_of_many_types(tmp_path: Path, labels: pa.Array, names: tuple[str, ...], codes: list[int]) -> None:
    domain = open_domain(write_table(tmp_path / "x.parquet", labels), skip_bad=True)
    assert domain.classes("test") == names
    assert [domain.rows(name).tolist() for name in names] == [
        np.flatnonzero(np.array(codes) == c).tolist() for c in (0, 1)
    ]


def test_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels of type double.*--label-column"):
        open_domain(write_table(tmp_path / "x.parquet", pa.array([0.5, 1.0])))


def test_columns_by_name(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", pa.array(["a", "b"]), image="photo.png", label="breed")
    with pytest.raises(DataError, match=r"no image columns among .*'photo\.png', 'breed'.*--image-column"):
        open_domain(path)
    with pytest.raises(DataError, match=r"no column 'dog'; it has .*correct --label-column"):
        open_domain(path, image_column="photo.png", label_column="dog")
    with pytest.raises(DataError, match="images that cannot be read"):
        open_domain(path, image_column="breed", label_column="breed").image(0)
    [domain] = open_domains([DomainConfig(str(path), image_column="photo.png", label_column="breed")])
    assert isinstance(domain, ImageDomain)
    assert domain.classes("test") == ("a", "b")
    assert is_noise(domain, 1, 1)
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match="no columns"):
        open_domain(tmp_path / "a", image_column="photo")


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    categories = [
        pa.DictionaryArray.from_arrays([0, 1], ["b", "a"]),
        pa.DictionaryArray.from_arrays([0, 0], ["c", "a"]),
    ]
    for number, labels in enumerate(categories):
        write_table(tmp_path / "pets" / f"{number}.parquet", labels, first=2 * number)
    domain = open_domain(tmp_path / "pets")
    assert domain.name == "pets"
    assert {name: domain.rows(name).tolist() for name in "abc"} == {"a": [1], "b": [0], "c": [2, 3]}
    assert all(is_noise(domain, row, row) for row in range(4))
    (tmp_path / "pets" / "1.parquet").rename(tmp_path / "pets" / "a.parquet")
    assert open_domain(tmp_path / "pets").fingerprint == domain.fingerprint
    write_parquet(tmp_path / "pets" / "b.parquet", [0, 1], ["x", "y"])
    with pytest.raises(DataError, match=r"b\.parquet' has another column 'image' than '0\.parquet'"):
        open_domain(tmp_path / "pets")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", pa.array(["a", "b"] * 8))
    content, place = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        changed = bytearray(content)
        changed[int(place.integers(len(content)))] ^= 1 << int(place.integers(8))
        path.write_bytes(changed)
        try:
            domain = open_domain(path, skip_bad=True)
        except DataError:
            continue
        assert domain.classes("test")


def test_small_classes_are_left_out_with_a_word(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", [0, 0, 0, 1, 1, 2], ["a", "b", "c"])
    with collecting() as left_out:
        domain = open_domain(path, min_images=3)
    assert domain.splits == {"test": ("a",)}
    assert str(left_out[0]).startswith("2 classes were left out: fewer than 3 images")
    with pytest.raises(DataError, match="no class of domain 'd' has 4 images"):
        open_domain(path, min_images=4)
    assert open_domain(path).splits == {"test": ("a", "b", "c")}


def test_a_weight_is_of_its_own_domain_beside_a_group(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "pocket-photos.parquet", [0, 1], ["a", "b"])
    weights = {
        domain.name: domain.weight for domain in open_domains(["pocket-id", DomainConfig(str(path), weight=90.0)])
    }
    assert weights.pop("pocket-photos") == 90
    assert set(weights.values()) == {1.0}
    assert len(weights) == 6
