"""Episodes in order, made ahead of time by worker processes."""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from smat.episodes.episode import Episode
from smat.episodes.source import EpisodeSource
from smat.errors import SmatError


class _Numbered(Dataset):
    """Item i is episode numbers[i], or the error that making it raised."""

    def __init__(self, source: EpisodeSource, numbers: range) -> None:
        self.source = source
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Episode | SmatError:
        # Raised in a worker, an error would reach the user inside torch's report of the worker's stack.
        try:
            return self.source.episode(self.numbers[index])
        except SmatError as error:
            return error


def episode_loader(source: EpisodeSource, start: int, stop: int, step: int = 1, workers: int = 0) -> Iterator[Episode]:
    """Episodes `start`, `start + step`, ... below `stop`, in order.

    Args:
        source: what makes the episodes.
        start: number of the first episode.
        stop: number to end before.
        step: number of processes that share the episodes (rank r of R takes `start = r, step = R`).
        workers: number of processes, of one thread each, that make episodes ahead of time; 0: they are made here, when
            asked for. The episodes are the same.

    Raises:
        DataError: an image cannot be read.
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
    for item in loader:
        if isinstance(item, SmatError):
            raise item
        yield item


def _as_it_is(item: Any) -> Any:
    return item


def _start_worker(worker: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group: the main process decides (it may want to save
    # first), and the workers go on until it ends them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """End workers that an error left behind: at exit Python would ask them by SIGTERM, and wait for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report their end as a failure
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
