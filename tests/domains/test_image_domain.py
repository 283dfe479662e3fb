import json
import logging
import os
import pickle
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deep_images import RAMP, in_bits, png
from small_images import encode, noise, write_folders, write_parquet
from smat.domains import (
    DomainConfig,
    GreyRange,
    ImageDomain,
    check_images,
    open_domain,
    open_domains,
    read_class_folders,
)
from smat.domains.folders import list_images
from smat.errors import ConfigError, DataError
from smat.left_out import collecting

NAMES = [f"c{i}" for i in range(8)]


def test_a_parquet_file_gives_its_images_by_class(parquet: Path) -> None:
    domain = open_domain(parquet)
    assert domain.name == "small"
    assert domain.role == ""
    assert domain.classes("test") == tuple(NAMES)
    assert domain.rows("c3").tolist() == list(range(3, 80, 8))
    assert domain.rows("c3").dtype == np.int64
    assert np.array_equal(np.asarray(domain.image(11)), np.asarray(noise(11)))
    assert domain.canvas(11, 24).shape == (3, 24, 24)
    assert domain.image_name(11) == "img11.png"
    assert domain.counts() == dict.fromkeys(NAMES, 10)


def test_deep_images_of_a_domain_are_on_one_range(tmp_path: Path) -> None:
    deep = {0: png(in_bits(12)), 1: png(in_bits(12, RAMP / 2550)), 2: png(in_bits(16, RAMP / 2550))}
    file = write_parquet(tmp_path / "deep.parquet", [0, 0, 1, 1], ["a", "b"], replaced=deep)
    plain = open_domain(file)
    with pytest.raises(DataError, match=r"img0\.png(.|\n)*img1\.png(.|\n)*img2\.png"):
        plain.image(0)
    found = open_domain(file, range="auto")
    told = open_domain(file, range=(0, 8191))
    assert found.range == told.range == GreyRange(0, 8191)
    assert found.fingerprint == told.fingerprint != plain.fingerprint
    for domain in (found, pickle.loads(pickle.dumps(told))):
        for row, bits in enumerate((12, 12, 16)):
            share = RAMP / (255 if row == 0 else 2550)
            right = in_bits(bits, share) / 8191 * 255
            assert np.abs(np.asarray(domain.image(row))[:, :, 0] - right).max() <= 1
    assert open_domain(file, range=(0, 4095), skip_bad=True).left_out == ()
    [named] = open_domains([DomainConfig(str(file), range=(0, 4095))], range=(0, 1023))
    assert isinstance(named, ImageDomain)
    assert named.range == GreyRange(0, 4095)
    with pytest.raises(ConfigError, match="the range is 5 0"):
        open_domain(file, range=(5, 0))
    with pytest.raises(ConfigError, match="has its own range"):
        open_domains([DomainConfig("pocket:glyphs", range=(0, 1))])


def test_images_of_a_domain_beyond_the_limit_are_refused(parquet: Path) -> None:
    with pytest.raises(DataError, match="it has 20 x 16 pixels, more than 319"):
        open_domains([str(parquet)], max_pixels=319)[0].image(0)


def test_without_a_split_all_classes_are_for_testing(parquet: Path) -> None:
    with pytest.raises(DataError, match=r"domain 'small' has no train split; it has: test \(8 classes\)"):
        open_domain(parquet).classes("train")
    with pytest.raises(DataError, match="called train, val, test"):
        open_domain(parquet).classes("validation")


def test_a_splits_file_beside_the_data_is_used_where_it_has_the_domain(parquet: Path) -> None:
    entry = {"role": "id", "train": ["c0", "c5"], "val": ["c1"], "test": ["c2"]}
    beside = parquet.parent / "splits.json"
    beside.write_text(json.dumps({"small": entry}))
    domain = open_domain(parquet)
    assert domain.role == "id"
    assert domain.classes("train") == ("c0", "c5")
    assert open_domain(parquet, name="other").classes("test") == tuple(NAMES)
    with pytest.raises(DataError, match="has no domain 'other'; it has small"):
        open_domain(parquet, name="other", splits=beside)
    assert open_domain(parquet, splits={"val": ["c7"]}).classes("val") == ("c7",)


def test_a_splits_file_beside_the_data_can_say_the_role_alone(parquet: Path) -> None:
    beside = parquet.parent / "splits.json"
    beside.write_text('{"small": {"role": "ood"}}')
    assert (open_domain(parquet).role, open_domain(parquet).classes("test")) == ("ood", tuple(NAMES))
    divided = open_domain(parquet, splits={"val": ["c7"]})
    assert (divided.role, divided.classes("val")) == ("ood", ("c7",))
    beside.write_text("{")
    other = parquet.parent / "other.json"
    other.write_text('{"small": {"test": ["c1"]}}')
    assert open_domain(parquet, splits=other).role == ""
    other.write_text('{"small": {"role": "validation"}}')
    only_role = open_domain(parquet, splits=other)
    assert (only_role.role, only_role.classes("test")) == ("validation", tuple(NAMES))
    assert open_domain(parquet, splits=other, role="id").role == "id"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds a list"),
        ('{"small": ["c0"]}', "no class split"),
        ('{"small": {"train": "c0"}}', "no class split"),
        ('{"small": {"role": "both", "test": ["c0"]}}', "no class split"),
        ('{"small": {"training": ["c0"]}}', "called train, val, test"),
        ('{"small": {"train": ["c0"], "test": ["c0"]}}', "'c0' in its train and again in its test"),
        ('{"small": {"test": ["c0", "zebra"]}}', "test split of domain 'small' .* 'zebra'"),
    ],
)
def test_splits_files_that_do_not_fit(parquet: Path, content: str, message: str) -> None:
    path = parquet.parent / "my_splits.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        open_domain(parquet, splits=path)


def test_fractions_divide_the_classes_by_seed(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "many.parquet", list(range(40)), [f"c{i}" for i in range(40)])
    domain = open_domain(path, fractions=(0.6, 0.15, 0.25))
    parts = [domain.classes(split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [24, 6, 10]
    assert sorted(sum(parts, ())) == sorted(f"c{i}" for i in range(40))
    assert open_domain(path, fractions=(0.6, 0.15, 0.25)).splits == domain.splits
    assert open_domain(path, fractions=(0.6, 0.15, 0.25), seed=1).splits != domain.splits
    assert set(open_domain(path, fractions=(0.5, 0.0, 0.5)).splits) == {"train", "test"}
    for wrong in ((0.5, 0.5, 0.5), (1.5, -0.5, 0.0)):
        with pytest.raises(ConfigError, match="sum to 1"):
            open_domain(path, fractions=wrong)
    with pytest.raises(ConfigError, match="both"):
        open_domain(path, fractions=(0.6, 0.15, 0.25), splits={"test": ["c0"]})


@pytest.mark.parametrize(("mode", "flip"), [("RGB", True), ("L", False), ("1", False)])
def test_flip_is_off_for_images_stored_grey_unless_said(tmp_path: Path, mode: str, flip: bool) -> None:
    path = write_parquet(tmp_path / "d.parquet", [0, 1] * 10, ["a", "b"], mode=mode)
    assert open_domain(path).flip is flip
    assert open_domain(path, flip=not flip).flip is not flip


def test_labels_as_text_or_plain_numbers(tmp_path: Path) -> None:
    images = [{"bytes": encode(noise(i)), "path": None} for i in range(4)]
    for labels, names in (
        (["dog", "cat", "dog", "ant"], ("ant", "cat", "dog")),
        ([7, 30, 7, 4], ("4", "7", "30")),
    ):
        pq.write_table(pa.table({"img": images, "label": labels}), tmp_path / "plain.parquet")
        domain = open_domain(tmp_path / "plain.parquet")
        assert domain.classes("test") == names
        assert domain.rows(names[-2 if names[0] == "4" else -1]).tolist() == [0, 2]
        assert domain.image_name(2) == "row 2"
        assert np.array_equal(np.asarray(domain.image(2)), np.asarray(noise(2)))


def test_label_outside_the_names(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    images = [{"bytes": encode(noise(i)), "path": None} for i in range(6)]
    schema = features.arrow_schema
    table = pa.table({"image": images, "label": [0, 1, 2, None, 1, 0]}).cast(schema)
    pq.write_table(table, tmp_path / "wrong.parquet")
    with pytest.raises(DataError, match=r"2 rows \(row 2: 2, row 3: -1\).*--skip-bad"):
        open_domain(tmp_path / "wrong.parquet")
    domain = open_domain(tmp_path / "wrong.parquet", skip_bad=True)
    assert [domain.rows(name).tolist() for name in "ab"] == [[0, 5], [1, 4]]
    assert domain.left_out == (2, 3)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Of 3 classes and 18 images, rows 4 and 11 are damaged."""
    replaced = {4: b"not an image", 11: encode(noise(11))[:-30]}
    return write_parquet(tmp_path / "broken.parquet", [i % 3 for i in range(18)], list("abc"), replaced=replaced)


def test_unreadable_images_are_listed_all_at_once(broken: Path) -> None:
    domain = open_domain(broken)
    domain.image(0)
    with pytest.raises(DataError, match="--skip-bad") as error:
        domain.image(11)
    assert "img4.png (row 4, class 'b')" in str(error.value)
    assert "img11.png (row 11, class 'c')" in str(error.value)
    assert [image.row for image in check_images(domain)] == [4, 11]


def test_skip_bad_goes_on_without_them(broken: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        domain = open_domain(broken, skip_bad=True)
    assert "img4.png" in caplog.text
    assert domain.left_out == (4, 11)
    assert domain.rows("b").tolist() == [1, 7, 10, 13, 16]
    assert check_images(domain) == []
    assert domain.fingerprint != open_domain(broken).fingerprint


def test_a_class_of_which_nothing_is_left(tmp_path: Path) -> None:
    replaced = dict.fromkeys((0, 2, 4), b"damaged")
    path = write_parquet(tmp_path / "d.parquet", [0, 1, 0, 1, 0], ["a", "b"], replaced=replaced)
    with pytest.raises(DataError, match="classes without images in the data: 'a'"):
        open_domain(path, skip_bad=True)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for missing in ("gone.parquet", "a/b/c", "gone"):
        with pytest.raises(DataError, match="there is no file or folder"):
            open_domain(missing)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"text\.parquet' cannot be read as a parquet file"):
        open_domain(tmp_path / "text.parquet")
    pq.write_table(pa.table({"picture": [1], "label": [0]}), tmp_path / "columns.parquet")
    with pytest.raises(DataError, match="no image columns among"):
        open_domain(tmp_path / "columns.parquet")
    pq.write_table(pa.table({"image": [b"x"], "fine": [0]}), tmp_path / "columns.parquet")
    with pytest.raises(DataError, match="no label columns among"):
        open_domain(tmp_path / "columns.parquet")
    pq.write_table(pa.table({"image": [b"x"], "label": [0.5]}), tmp_path / "columns.parquet")
    with pytest.raises(DataError, match="labels of type double"):
        open_domain(tmp_path / "columns.parquet")


def test_a_file_without_rows(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", [], ["a", "b"])
    with pytest.raises(DataError, match="no rows"):
        open_domain(path)


def test_class_names_that_no_image_has_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", [0, 2, 2], ["a", "b", "c"])
    assert open_domain(path).classes("test") == ("a", "c")
    with pytest.raises(DataError, match="'b'"):
        open_domain(path, splits={"test": ["a", "b"]})


def test_a_row_without_an_image(tmp_path: Path) -> None:
    images = [{"bytes": encode(noise(0)), "path": "x.png"}, None, {"bytes": None, "path": None}]
    pq.write_table(pa.table({"image": images, "label": ["a", "b", "b"]}), tmp_path / "d.parquet")
    assert [image.row for image in check_images(open_domain(tmp_path / "d.parquet"))] == [1, 2]


def test_paths_with_pattern_characters(tmp_path: Path) -> None:
    (tmp_path / "a[1]*").mkdir()
    path = write_parquet(tmp_path / "a[1]*" / "d.parquet", [0, 1], ["a", "b"])
    assert np.array_equal(np.asarray(open_domain(path).image(1)), np.asarray(noise(1)))


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", [0, 1], ["a", "b"])
    before = open_domain(path).fingerprint
    write_parquet(path, [0, 1, 1], ["a", "b"], replaced={0: encode(noise(99))})
    domain = open_domain(path)
    assert np.array_equal(np.asarray(domain.image(0)), np.asarray(noise(99)))
    assert len(domain.rows("b")) == 2
    assert domain.fingerprint != before


def test_the_fingerprint_is_of_data_and_splits(parquet: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "small.parquet"
    copy.parent.mkdir()
    copy.write_bytes(parquet.read_bytes())
    assert open_domain(parquet).fingerprint == open_domain(copy).fingerprint
    assert open_domain(parquet).fingerprint != open_domain(parquet, splits={"test": ["c1"]}).fingerprint


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "zoo", {"bee": 3, "ant": 2})
    (root / "ant" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    domain = open_domain(root)
    assert domain.name == "zoo"
    assert domain.classes("test") == ("ant", "bee")
    row = int(domain.rows("bee")[1])
    assert domain.image_name(row) == "bee/1.png"
    assert np.array_equal(np.asarray(domain.image(row)), np.asarray(noise(1)))


def test_folders_of_splits(tmp_path: Path) -> None:
    write_folders(tmp_path / "d" / "train", {"a": 2, "b": 3})
    write_folders(tmp_path / "d" / "val", {"c": 1})
    write_folders(tmp_path / "d" / "validation", {"d": 1})
    write_folders(tmp_path / "d" / "test", {"e": 2})
    domain = open_domain(tmp_path / "d")
    assert domain.splits == {"train": ("a", "b"), "val": ("c", "d"), "test": ("e",)}
    assert domain.image_name(int(domain.rows("e")[0])) == "test/e/0.png"


def test_folders_that_divide_images_are_joined_and_it_is_said(tmp_path: Path) -> None:
    write_folders(tmp_path / "d" / "Train", {"a": 2, "b": 3, "c": 1})
    write_folders(tmp_path / "d" / "Test", {"a": 1, "b": 1, "c": 1})
    with collecting() as left_out:
        domain = open_domain(tmp_path / "d")
    assert domain.splits == {"test": ("a", "b", "c")}
    assert [(entry.what, [*entry.names]) for entry in left_out] == [("split", ["Test", "Train"])]
    names = [domain.image_name(row) for row in domain.rows("a").tolist()]
    assert names == ["Test/a/0.png", "Train/a/0.png", "Train/a/1.png"]
    assert open_domain(tmp_path / "d", splits={"train": ["b"], "test": ["a"]}).classes("train") == ("b",)


def test_folders_that_are_not_fit(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        open_domain(tmp_path / "empty")
    (tmp_path / "flat").mkdir()
    noise(0).save(tmp_path / "flat" / "a.png")
    with pytest.raises(DataError, match="images but no class folders"):
        open_domain(tmp_path / "flat")


def test_files_whose_names_are_no_utf8(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "d", {"a": 2, "b": 1})
    (root / "a" / "0.png").rename(root / "a" / os.fsdecode(b"caf\xe9.png"))
    (root / "b").rename(root / os.fsdecode(b"b\xe9"))
    domain = open_domain(root)
    assert domain.counts() == {"a": 2, "b\\xe9": 1}
    assert [domain.image_name(row) for row in range(3)] == ["a/1.png", "a/caf\\xe9.png", "b\\xe9/0.png"]
    assert np.array_equal(np.asarray(domain.image(1)), np.asarray(noise(0)))
    assert np.array_equal(np.asarray(domain.image(2)), np.asarray(noise(1000)))
    again = pickle.loads(pickle.dumps(domain))
    assert np.array_equal(np.asarray(again.image(1)), np.asarray(noise(0)))
    assert domain.fingerprint == again.fingerprint


def test_an_unreadable_file_in_a_folder_is_named(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "d", {"a": 3, "b": 3})
    (root / "b" / "1.png").write_bytes(b"")
    domain = open_domain(root, flip=True)
    with pytest.raises(DataError, match=r"b/1\.png \(row 4, class 'b'\)"):
        domain.image(4)
    (root / "b" / "2.png").unlink()
    assert [image.row for image in check_images(domain)] == [4, 5]


def test_a_folder_that_gains_an_image_is_read_anew(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "d", {"a": 2, "b": 2})
    before = open_domain(root)
    noise(50).save(root / "a" / "5.png")
    after = open_domain(root)
    assert (len(before.rows("a")), len(after.rows("a"))) == (2, 3)
    assert before.fingerprint != after.fingerprint


def test_read_class_folders(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "d", {"b": 2, "a": 1})
    paths, labels, names = read_class_folders(root)
    assert names == ["a", "b"]
    assert labels == [0, 1, 1]
    assert [path.relative_to(root).as_posix() for path in paths] == ["a/0.png", "b/0.png", "b/1.png"]
    assert list_images(root) == paths
    with pytest.raises(DataError, match="is no folder"):
        read_class_folders(root / "gone")


def test_a_hub_dataset_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"hub dataset 'nobody/nothing' cannot be opened.*Check the name"):
        open_domain("hub:nobody/nothing")


def test_a_hub_dataset_joins_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub dataset is a repository of parquet files; `datasets` opens a local one by the same call."""
    write_parquet(tmp_path / "train-00000.parquet", [0, 1, 0], ["a", "b"])
    write_parquet(tmp_path / "test-00000.parquet", [1, 1], ["a", "b"], replaced={0: encode(noise(40))})
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda name: load(str(tmp_path)) if name == "me/pets" else None)
    domain = open_domain("me/pets")
    assert domain.name == "pets"
    assert [domain.rows(name).tolist() for name in "ab"] == [[0, 2], [1, 3, 4]]
    assert np.array_equal(np.asarray(domain.image(3)), np.asarray(noise(40)))
    assert domain.fingerprint == open_domain("hub:me/pets").fingerprint


def test_a_domain_survives_pickling_as_a_reference_to_its_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", [0, 1] * 50, ["a", "b"])
    domain = open_domain(path)
    packed = pickle.dumps(domain)
    assert len(packed) < path.stat().st_size / 4
    assert np.array_equal(np.asarray(pickle.loads(packed).image(7)), np.asarray(noise(7)))


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """Opening 60 MB of images, and reading one, allocates a small part of that."""
    blob = np.random.default_rng(0).bytes(2_000_000)
    replaced = {i: encode(noise(i)) + blob for i in range(30)}  # what follows a PNG's end is not looked at
    path = write_parquet(tmp_path / "d.parquet", [i % 2 for i in range(30)], ["a", "b"], replaced=replaced)
    open_domain(path)  # writes the table; what follows only maps it
    before = pa.total_allocated_bytes()
    domain = open_domain(path)
    domain.image(3)
    assert pa.total_allocated_bytes() - before < 10_000_000


def test_progress_bars_are_as_before(parquet: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = not datasets.are_progress_bars_disabled()
    open_domain(parquet)
    assert capfd.readouterr().err == ""
    assert shown is not datasets.are_progress_bars_disabled()
