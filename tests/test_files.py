"""Output files: checked before the work, whole after it."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from smat.errors import ConfigError
from smat.files import check_folder, check_writable, locked, write_whole


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = check_writable(tmp_path / "new" / "results.json")
    assert not path.exists()
    write_whole(path, "first\n")
    write_whole(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        check_writable(tmp_path / "file" / "results.json")


def test_a_long_name_is_written_or_refused_at_once(tmp_path: Path) -> None:
    write_whole(check_writable(tmp_path / ("a" * 250 + ".json")), "text")
    with pytest.raises(ConfigError, match=r"cannot be written: File name too long; choose a shorter name"):
        check_writable(tmp_path / ("a" * 300))


def test_the_mode_is_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "text", "text")
        write_whole(tmp_path / "tensors", lambda file: save_file({"a": torch.zeros(2)}, file))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o644, 0o644]


def test_of_a_link_the_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(Path("folder", "target.json"))
    for text in ("first", "second"):
        write_whole(check_writable(link), text)
        assert (tmp_path / "folder" / "target.json").read_text() == text
        assert link.is_symlink()


def test_what_is_no_regular_file_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(check_writable(pipe), "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a full disk; the temporary folder is on another."""
    elsewhere, disk = tmp_path / "tmp", tmp_path / "disk"
    elsewhere.mkdir()
    disk.mkdir()
    write = Path.write_text

    def write_text(self: Path, *arguments: object, **more: object) -> int:
        if self.is_relative_to(disk):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    return disk


def test_what_took_work_is_kept_where_there_is_room(full: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"r.json cannot be written: No space left on device; make room, or .* kept in"
    ):
        write_whole(full / "r.json", "rows", keep=True)
    (kept,) = (full.parent / "tmp").glob("*/r.json")
    assert kept.read_text() == "rows"
    assert not list(full.iterdir())


def test_without_room_anywhere_it_is_printed(
    full: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(full))
    with pytest.raises(ConfigError, match="was printed"):
        write_whole(full / "r.json", "rows", keep=True)
    assert capsys.readouterr().out == "rows"


def test_a_folder_that_can_be_written_to_is_not_made(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "new" / "run") == tmp_path / "new" / "run"
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--out '.*file/run' cannot be written to: '.*file' is a file"):
        check_folder(tmp_path / "file" / "run", "--out")


def test_a_folder_is_locked_for_as_long_as_the_block_lasts(tmp_path: Path) -> None:
    within, again = locked(tmp_path / "run"), locked(tmp_path / "run")
    with within, pytest.raises(ConfigError, match="run is in use by another process"):
        again.__enter__()
    with locked(tmp_path / "run"):
        pass


def test_where_there_are_no_locks_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def acquire(_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("smat.files.FileLock.acquire", acquire)
    with locked(tmp_path):
        pass
    assert "cannot be locked" in caplog.text
