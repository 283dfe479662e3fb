"""Every image of a domain read once, by several processes: size, mode, and a hash of its pixels."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from smat.domains import ImageDomain, load_image, open_domain
from smat.domains.images import image_mode, why_unreadable
from smat.errors import DataError
from smat.importing.engine import start_worker, worker_context

_CHUNK = 256
_HASH = np.dtype("V16")


@dataclass
class Examination:
    """What is known of images, row by row.

    Attributes:
        sides: width and height; 0 where it cannot be read.
        hashes: of size and pixels.
        modes: in which they are stored.
        unreadable: why, by row.
    """

    sides: np.ndarray
    hashes: np.ndarray
    modes: list[str] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)

    def same_pixels(self) -> list[list[int]]:
        """Rows of images that are there more than once, together."""
        rows = np.flatnonzero(self.sides[:, 0])
        _, group, times = np.unique(self.hashes[rows], return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(times)
        return [rows[order[ends[place] - times[place] : ends[place]]].tolist() for place in np.flatnonzero(times > 1)]


def examine(path: Path, domain: ImageDomain, processes: int | None, console: Console) -> Examination:
    """Read all images of a domain, with a progress bar.

    Args:
        path: of the domain.
        domain: the same, open.
        processes: None: as many as there are processor cores; 0: no others than this.
        console: for the progress bar.

    Raises:
        DataError: a process died.
    """
    total = sum(domain.counts().values())
    starts = range(0, total, _CHUNK)
    processes = min(os.cpu_count() or 1, len(starts)) if processes is None else processes
    chunks = _chunks(path, domain, starts, total, processes)
    whole = Examination(np.zeros((total, 2), np.int64), np.zeros(total, _HASH))
    for start, chunk in zip(
        starts, track(chunks, path.name, len(starts), console=console, transient=True), strict=True
    ):
        whole.sides[start : start + _CHUNK] = chunk.sides
        whole.hashes[start : start + _CHUNK] = chunk.hashes
        whole.modes += chunk.modes
        whole.unreadable |= {start + row: reason for row, reason in chunk.unreadable.items()}
    return whole


def _chunks(
    path: Path, domain: ImageDomain, starts: Sequence[int], total: int, processes: int
) -> Iterator[Examination]:
    rows = [range(start, min(start + _CHUNK, total)) for start in starts]
    if not processes:
        yield from (_look(domain, some) for some in rows)
        return
    context = worker_context()
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, context, _start, (str(path), stop))
    try:
        yield from pool.map(_look_again, rows)
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that reads '{path}' died, perhaps for want of memory: use fewer processes"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_domain: ImageDomain | None = None


def _start(path: str, stop: Event) -> None:
    global _domain
    start_worker(stop)
    _domain = open_domain(path)


def _look_again(rows: range) -> Examination:
    assert _domain is not None  # set when the process started
    return _look(_domain, rows)


def _look(domain: ImageDomain, rows: range) -> Examination:
    seen = Examination(np.zeros((len(rows), 2), np.int64), np.zeros(len(rows), _HASH))
    for place, row in enumerate(rows):
        encoded = domain.encoded(row)
        try:
            image = load_image(encoded)
        except DataError as error:
            seen.unreadable[place] = why_unreadable(error.__cause__)
            continue
        seen.sides[place] = image.size
        content = f"{image.width} {image.height} ".encode() + image.tobytes()
        seen.hashes[place] = np.void(hashlib.blake2b(content, digest_size=_HASH.itemsize).digest())
        seen.modes.append(image_mode(encoded) or "unknown")
    return seen
