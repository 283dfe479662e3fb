"""Every image of a domain, read once by worker processes: its size, mode and a hash of its pixels."""

import hashlib
import os
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from smat.domains import GreyRange, ImageDomain, open_domain
from smat.domains.images import image_mode, why_unreadable
from smat.errors import DataError
from smat.left_out import collecting
from smat.process import in_workers

_CHUNK = 256
_HASH = np.dtype("V16")


@dataclass
class Examination:
    """What was seen of a domain's images.

    Attributes:
        sides: width and height of each row's image in pixels; 0 where it cannot be read.
        hashes: hash of the size and the pixels of each row's image.
        modes: modes in which the readable images are stored.
        unreadable: reason why an image cannot be read, by row.
    """

    sides: np.ndarray
    hashes: np.ndarray
    modes: list[str] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)

    def same_pixels(self) -> list[list[int]]:
        """Groups of rows whose images have the same pixels."""
        rows = np.flatnonzero(self.sides[:, 0])
        _, group, times = np.unique(self.hashes[rows], return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(times)
        return [rows[order[ends[place] - times[place] : ends[place]]].tolist() for place in np.flatnonzero(times > 1)]


def examine(path: Path, domain: ImageDomain, processes: int | None, console: Console) -> Examination:
    """Read all images of a domain, with a progress bar.

    Args:
        path: path of the domain.
        domain: the domain, opened.
        processes: number of processes that read images; as many as there are processor cores if None; 0: only this one.
        console: console of the progress bar.

    Raises:
        DataError: a process died.
    """
    rows = sum(domain.counts().values())
    chunks = [range(start, min(start + _CHUNK, rows)) for start in range(0, rows, _CHUNK)]
    results = in_workers(
        partial(_Reader, str(path), domain.range, domain.max_pixels),
        chunks,
        (os.cpu_count() or 1) if processes is None else processes,
    )
    whole = Examination(np.zeros((rows, 2), np.int64), np.zeros(rows, _HASH))
    try:
        with closing(results):
            bar = track(results, path.name, len(chunks), console=console, transient=True)
            for chunk, seen in zip(chunks, bar, strict=True):
                whole.sides[chunk.start : chunk.stop] = seen.sides
                whole.hashes[chunk.start : chunk.stop] = seen.hashes
                whole.modes += seen.modes
                whole.unreadable |= {chunk.start + row: reason for row, reason in seen.unreadable.items()}
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that reads '{path}' died, perhaps for want of memory: use fewer with --processes"
        ) from error
    return whole


class _Reader:
    """Examines rows of a domain, which it opens itself: it is made in each process."""

    def __init__(self, path: str, range: GreyRange | None, max_pixels: int) -> None:
        with collecting():  # what is left out has been said where the domain was opened first
            self._domain = open_domain(path, range=range, max_pixels=max_pixels)

    def __call__(self, rows: range) -> Examination:
        seen = Examination(np.zeros((len(rows), 2), np.int64), np.zeros(len(rows), _HASH))
        for index, row in enumerate(rows):
            try:
                image = self._domain.load(row)
            except DataError as error:
                seen.unreadable[index] = why_unreadable(error.__cause__)
                continue
            seen.sides[index] = image.size
            content = f"{image.width} {image.height} ".encode() + image.tobytes()
            seen.hashes[index] = np.void(hashlib.blake2b(content, digest_size=_HASH.itemsize).digest())
            seen.modes.append(image_mode(self._domain.encoded(row)) or "unknown")
        return seen
