"""Episodes in order, made ahead of time by worker processes."""

import atexit
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from smat.episodes.episode import Episode
from smat.episodes.source import EpisodeSource
from smat.errors import SmatError, WorkerError
from smat.signals import held_back

_log = logging.getLogger(__name__)

_SHARED = "/dev/shm"


class _NoRoom:
    """What a worker sends in place of an episode that shared memory has no room for."""


class _Numbered(Dataset):
    """Item i is episode numbers[i], or the error that making it raised."""

    def __init__(self, source: EpisodeSource, numbers: range) -> None:
        self.source = source
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Episode | SmatError | _NoRoom:
        # Raised in a worker, an error would reach the user inside torch's report of the worker's stack.
        try:
            episode = self.source.episode(self.numbers[index])
        except SmatError as error:
            return error
        return episode if get_worker_info() is None or _shared(episode) else _NoRoom()


def episode_loader(source: EpisodeSource, start: int, stop: int, step: int = 1, workers: int = 0) -> Iterator[Episode]:
    """Episodes `start`, `start + step`, ... below `stop`, in order.

    Args:
        source: what makes the episodes.
        start: number of the first episode.
        stop: number to end before.
        step: number of processes that share the episodes (rank r of R takes `start = r, step = R`).
        workers: number of processes, of one thread each, that make episodes ahead of time; 0: they are made here, when
            asked for. The episodes are the same. Where shared memory has no room for them, they are made here too.

    Raises:
        DataError: an image cannot be read.
        WorkerError: a worker process was killed.
    """
    numbers = range(start, stop, step)
    # With a generator of its own: the loader draws a number, which must not move torch's global randomness.
    loader = DataLoader(
        _Numbered(source, numbers),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=min(workers, len(numbers)),
        worker_init_fn=_start_worker,
        generator=torch.Generator(),
    )
    for place, item in enumerate(_items(loader)):
        if isinstance(item, _NoRoom):
            _warn_of_no_room()
            yield from episode_loader(source, numbers[place], stop, step)
            return
        if isinstance(item, SmatError):
            raise item
        yield item


def _items(loader: DataLoader) -> Iterator[Any]:
    """What a loader gives; that a worker has ended is found where an item is waited for, and nowhere else."""
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    with held_back():
        items = iter(loader)
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)  # torch's handler raises whatever the process is doing
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
            if not (loader.num_workers and _is_of_a_lost_worker(error)):
                raise
            found = str(error) or type(error).__name__
            raise WorkerError(
                f"a process that makes episodes has ended ({found}): it was killed, perhaps for want of memory. Use "
                "fewer of them (--workers), or none (--workers 0)"
            ) from error
        yield item


def _is_of_a_lost_worker(error: Exception) -> bool:
    """Whether torch has found that a worker ended, or its connection broke; not whether something failed in one."""
    text = str(error)
    return text.startswith("DataLoader worker") if isinstance(error, RuntimeError) else "DataLoader worker" not in text


def _shared(episode: Episode) -> bool:
    """Put an episode's tensors where the first process can see them; whether there is room for them.

    Left to the queue, this would fail in a thread of the worker's, and the first process would wait for ever.
    """
    try:
        for value in (getattr(episode, field.name) for field in fields(episode)):
            if isinstance(value, torch.Tensor) and value.numel():
                value.share_memory_()
    except RuntimeError:
        return False
    return True


@cache
def _warn_of_no_room() -> None:
    """Say it once, not for every domain."""
    size = f" ({shutil.disk_usage(_SHARED).total / 2**20:.0f} MB)" if os.path.isdir(_SHARED) else ""
    _log.warning(
        "%s%s has no room for the episodes of worker processes: they are made in this process instead, which takes "
        "longer. In Docker give the container more (--shm-size 2g); --workers 0 does without",
        _SHARED,
        size,
    )


def _as_it_is(item: Any) -> Any:
    return item


def _start_worker(worker: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group: the main process decides (it may want to save
    # first), and the workers go on until it ends them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _say_unless_alone


def _say_unless_alone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An error of a worker's thread that hands tensors over; that the first process has gone is no news."""
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)


@atexit.register
def _end_workers() -> None:
    """End workers that an error left behind: at exit Python would ask them by SIGTERM, and wait for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report their end as a failure
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
