"""Which images are of one object, by their names."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from small_images import write_folders, write_parquet
from smat.domains import Domain, DomainConfig, ImageDomain, open_domain, open_domains
from smat.errors import ConfigError, DataError
from tracked import gtsrb_names, write_signs


def tracks_of(domain: Domain) -> list[list[int]] | None:
    """The tracks of each class, numbered from 0 in the order of its rows; None: none at all."""
    numbered = []
    for name in domain.classes("test"):
        tracks = domain.tracks(name)
        if tracks is None:
            return None
        assert len(tracks) == len(domain.rows(name))
        numbered.append([list(dict.fromkeys(tracks.tolist())).index(track) for track in tracks.tolist()])
    return numbered


def opened(path: Path, names: list[str | None], **options) -> ImageDomain:
    return open_domain(write_parquet(path / "d.parquet", [0] * len(names), ["c"], paths=names), **options)


def test_gtsrb_is_recognised_by_its_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    domain = open_domain(write_signs(tmp_path / "signs.parquet", [[2, 3], [1, 1, 1]]))
    with caplog.at_level(logging.INFO):
        assert tracks_of(domain) == [[0, 1, 0, 1, 1], [0, 1, 2]]
    assert caplog.messages == ["domain 'signs' has 5 tracks, by the names of its images"]
    first, second = (set(domain.tracks(name).tolist()) for name in ("c0", "c1"))
    assert not first & second  # track 0 of one class is not track 0 of another


def test_names_with_the_class_before_the_track(tmp_path: Path) -> None:
    names = ["Train/20/00020_00000_00000.png", "Train/20/00020_00000_00001.png", "Train/20/00020_00001_00000.png"]
    assert tracks_of(opened(tmp_path, names)) == [[0, 0, 1]]


@pytest.mark.parametrize(
    "names",
    [
        ["00000_00000.ppm", "00000_00001.ppm", "a.ppm"],  # another name among them
        ["a.ppm", "00000_00000.ppm", "00000_00001.ppm"],
        ["00000_00000.ppm", "00000_00001.ppm", None],
        ["00000_00000.ppm", "00000_00030.ppm"],  # a track has 30 frames
        ["x/00000_00000.ppm", "y/00000_00000.ppm"],  # a frame is there once
        ["00000_00000.ppm", "00001_00000.ppm"],  # tracks of one image are none
        ["0000_00000.ppm", "0000_00001.ppm"],
        ["no00000_00000.ppm", "no00000_00001.ppm"],
    ],
)
def test_other_names_are_not_taken_for_gtsrb(tmp_path: Path, names: list[str | None]) -> None:
    assert tracks_of(opened(tmp_path, names)) is None


def test_a_domain_without_tracks(parquet: Path) -> None:
    assert tracks_of(open_domain(parquet)) is None
    assert tracks_of(open_domains(["pocket:polygons"])[0]) is None


def test_tracks_can_be_said_by_a_pattern(tmp_path: Path) -> None:
    names = ["cat/film1 frame2.png", "cat/film2 frame1.png", "cat/film1 frame9.png"]
    assert tracks_of(opened(tmp_path, names, tracks=r"film(\d+)")) == [[0, 1, 0]]
    assert tracks_of(opened(tmp_path, names, tracks=r"film\d+")) == [[0, 1, 0]]  # all of it, without a group
    config = DomainConfig(str(tmp_path / "d.parquet"), tracks=r"frame(\d+)")
    assert tracks_of(open_domains([config])[0]) == [[0, 1, 2]]


def test_tracks_of_class_folders(tmp_path: Path) -> None:
    domain = open_domain(write_folders(tmp_path / "photos", {"a": 4, "b": 2}), tracks="([01])|[23]|x")
    with pytest.raises(DataError, match="2 of 6 image names have no track"):  # the group is not in all that is found
        domain.tracks("a")
    assert tracks_of(open_domain(tmp_path / "photos", tracks="[01]|[23]")) == [[0, 1, 2, 3], [0, 1]]
    assert tracks_of(open_domain(tmp_path / "photos", tracks="/")) == [[0, 0, 0, 0], [0, 0]]


def test_what_is_said_comes_before_what_is_found(tmp_path: Path) -> None:
    path = write_signs(tmp_path / "signs.parquet", [[2, 2]])
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"signs": {"tracks": "none"}}))
    assert tracks_of(open_domain(path)) == [[0, 1, 0, 1]]
    assert tracks_of(open_domain(path, splits=said)) is None
    assert tracks_of(open_domain(path, splits=said, tracks=r"(\d)\.ppm")) == [[0, 0, 1, 1]]
    (tmp_path / "splits.json").write_text(json.dumps({"signs": {"role": "ood", "tracks": r"(\d)\.ppm"}}))
    beside = open_domain(path)
    assert tracks_of(beside) == [[0, 0, 1, 1]]
    assert beside.role == "ood"
    assert tracks_of(open_domain(path, tracks="none")) is None
    said.write_text(json.dumps({"signs": {"tracks": 3}}))
    with pytest.raises(DataError, match='"tracks": pattern'):
        open_domain(path, splits=said)


def test_names_that_do_not_fit_the_pattern(tmp_path: Path) -> None:
    domain = opened(tmp_path, ["a1.png", "b.png", None], tracks=r"\d")
    message = r"domain 'd' .*: 2 of 3 image names have no track by the pattern .*, such as b.png, \(no name\)"
    with pytest.raises(DataError, match=message):
        domain.tracks("c")
    with pytest.raises(ConfigError, match=r"tracks is '\(', which is no regular expression"):
        open_domain(tmp_path / "d.parquet", tracks="(")
    with pytest.raises(ConfigError, match="pocket:polygons has its own tracks"):
        open_domains([DomainConfig("pocket:polygons", tracks="x")])


def test_the_fingerprint_has_tracks_only_where_they_are_said(tmp_path: Path) -> None:
    path = write_signs(tmp_path / "signs.parquet", [[2, 2]])
    plain = open_domain(path).fingerprint
    assert open_domain(path, tracks="none").fingerprint == plain
    assert len({plain, open_domain(path, tracks="a").fingerprint, open_domain(path, tracks="b").fingerprint}) == 3


def test_rows_that_are_left_out_have_no_track(tmp_path: Path) -> None:
    labels, names = [0, 0, 0, 0, -1], [*gtsrb_names([2, 2]), "?"]
    path = write_parquet(tmp_path / "d.parquet", labels, ["c"], replaced={1: b"damaged"}, paths=names)
    domain = open_domain(path, skip_bad=True)
    assert np.array_equal(domain.rows("c"), [0, 2, 3])
    assert tracks_of(domain) == [[0, 0, 1]]
