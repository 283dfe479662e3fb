"""Worker processes that make episodes: what becomes of a run where they cannot, or are killed."""

import multiprocessing
import os
import signal
from collections.abc import Iterator

import pytest
import torch

from smat.episodes import Episode, episode_loader, loader
from smat.errors import WorkerError
from tiny import tiny_source


def same(one: Episode, other: Episode) -> bool:
    return one.plan == other.plan and torch.equal(one.support, other.support) and torch.equal(one.query, other.query)


def test_without_room_in_shared_memory_episodes_are_made_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file: No space left on device (28)")

    loader._warn_of_no_room.cache_clear()
    source = tiny_source("test", "glyphs")
    expected = list(episode_loader(source, 1, 9, 2))
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    found = list(episode_loader(source, 1, 9, 2, workers=2))
    list(episode_loader(source, 1, 9, 2, workers=2))
    assert [same(*pair) for pair in zip(found, expected, strict=True)] == [True] * 4
    (warning,) = caplog.messages
    assert all(part in warning for part in ("/dev/shm", "MB", "--shm-size", "--workers 0"))


def kill_workers() -> None:
    for process in multiprocessing.active_children():
        if process.daemon and process.pid:
            os.kill(process.pid, signal.SIGKILL)


def taken(episodes: Iterator[Episode]) -> Iterator[Episode]:
    """The episodes, after the first of which the processes that make them are killed."""
    for number, episode in enumerate(episodes):
        yield episode
        if not number:
            kill_workers()


def test_a_worker_that_is_killed_ends_the_wait_with_a_message() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(WorkerError, match=r"has ended .* was killed, perhaps for want of memory.*--workers 0"):
        list(taken(episode_loader(tiny_source("test", "glyphs"), 0, 1000, workers=1)))
    assert signal.getsignal(signal.SIGCHLD) == handler


def test_a_worker_whose_first_process_has_gone_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    gone, other = ConnectionResetError(104, "Connection reset by peer"), ValueError("something else")
    loader._say_unless_alone(type(gone), gone, None)
    assert not capfd.readouterr().err
    loader._say_unless_alone(type(other), other, None)
    assert "something else" in capfd.readouterr().err
