"""Several people at once, and what remains of them: nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawings import PlainWriters, draw, only_pocket
from smat.app import Session, Upload
from smat.app.sessions import Sessions
from smat.errors import DataError


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = Sessions(lambda folder, out: Session(folder, out, only_pocket(), PlainWriters()))
    yield found
    found.end()


def sent(sessions: Sessions, upload: Upload, number: int = 0) -> Path:
    folder = sessions.served / f"{number:064x}"
    folder.mkdir()
    return Path(upload.path.replace(folder / upload.path.name))


def test_people_do_not_see_each_others_photos(sessions: Sessions, tmp_path: Path) -> None:
    first, second = sessions.of("a"), sessions.of("b")
    first.add(draw(tmp_path / "plants", {"fern": 0}, 1))
    assert sessions.of("a") is first
    assert not second.board.photos
    assert first.folder != second.folder
    assert not first.folder.is_relative_to(sessions.served)


def test_nothing_remains_of_a_page_that_was_closed(sessions: Sessions, tmp_path: Path) -> None:
    first, second = sessions.of("a"), sessions.of("b")
    first.add(draw(tmp_path / "plants", {"fern": 0}, 1))
    sessions.close("a")
    assert not first.folder.exists()
    assert not first.out.exists()
    assert second.folder.exists()
    with pytest.raises(DataError, match="load it again"):
        sessions.of("a")
    with pytest.raises(DataError):
        sessions.of(None)


def test_nothing_remains_in_the_end(sessions: Sessions, tmp_path: Path) -> None:
    sessions.of("a").add(draw(tmp_path / "plants", {"fern": 0}, 1))
    sessions.end()
    assert not sessions.root.exists()
    with pytest.raises(DataError):
        sessions.of("b")


def test_only_files_that_were_sent_are_taken(sessions: Sessions, tmp_path: Path) -> None:
    photo = draw(tmp_path / "plants", {"fern": 0}, 1)[0]
    path = sent(sessions, photo)
    assert sessions.upload(str(path), "fern/0.png") == Upload(path, "fern/0.png")
    inside = sessions.of("a")
    inside.add([Upload(path, "fern/0.png")])
    link = path.parent / "link.png"
    link.symlink_to("/etc/passwd")
    theirs = next(inside.folder.iterdir())
    for wrong in ("/etc/passwd", str(theirs), str(link), f"{path.parent}/../../x", str(path.parent), "", "0.png"):
        with pytest.raises(DataError, match="did not arrive"):
            sessions.upload(wrong, "x")


def test_files_that_nobody_takes_are_swept(sessions: Sessions, tmp_path: Path) -> None:
    photos = draw(tmp_path / "plants", {"fern": 0}, 2)
    old, new = sent(sessions, photos[0]), sent(sessions, photos[1], 1)
    kept = sessions.of("a")
    for place in (old, old.parent, kept.folder, kept.out):
        os.utime(place, (1, 1))
    sessions.sweep()
    assert not old.parent.exists()
    assert new.exists()
    assert kept.folder.exists()
    assert kept.out.exists()
