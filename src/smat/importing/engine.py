"""Importing a domain: its parts are read by worker processes and written in order."""

import hashlib
import json
import multiprocessing
import os
import signal
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from smat.domains.domain import SPLITS
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import DESCRIPTION, Imported, Refused, image_batch, read_imported, row_hash
from smat.errors import ConfigError, DataError, NothingImportedError
from smat.importing.files import printable
from smat.importing.listing import Found, Listing, Part
from smat.importing.reduce import stored_image
from smat.importing.writing import PartDone, Writing, changed_options, writable
from smat.process import versions

_BATCH_BYTES = 2**25
_AHEAD = 2  # parts in work or waiting for their turn, for each process


def import_domain(
    listing: Listing,
    out: str | Path,
    *,
    max_side: int = 256,
    keep: bool = False,
    processes: int = 0,
    progress: Callable[[int], None] | None = None,
    source: Mapping[str, str] | None = None,
) -> Imported:
    """Write a domain to a folder of its name.

    After an interruption of any kind the same call goes on after the last finished part, to the same bytes; when all is
    done, it does nothing.

    Args:
        listing: what to import.
        out: folder in which the domain's folder is made.
        max_side: longest side of an image in pixels; larger ones are made smaller once.
        keep: leave images as large as they are.
        processes: that read and decode; 0: this one alone.
        progress: called with the number of images of all finished parts, first at the start.
        source: what to remember of it, such as its kind and folder.

    Returns:
        What was written.

    Raises:
        NothingImportedError: no image of it can be used.
        DataError: the folder cannot be written to or has something else, such as an
            import of other files or with other options; or a worker process died.
        ConfigError: `max_side` or `processes` that cannot be.
    """
    if max_side < 1 or processes < 0:
        raise ConfigError(f"max_side is {max_side} and processes is {processes}; give 1 or more, and 0 or more")
    _check(listing)
    folder = Path(out) / listing.name
    options: dict[str, Any] = {"keep": True} if keep else {"max_side": max_side}
    state = source_state(listing)
    if (folder / DESCRIPTION).is_file():
        return _finished(folder, options, state)
    progress = progress or (lambda done: None)
    with Writing(folder, listing.classes, options, state) as writing, writable(folder):
        first = len(writing.parts)
        done = sum(part.images for part in listing.parts[:first])
        progress(done)
        with tempfile.TemporaryDirectory(prefix="parts-", dir=folder, ignore_cleanup_errors=True) as place:
            tasks = [
                (listing.read, part, f"{listing.name}, class '{listing.classes[part.label]}'", max_side, keep, path)
                for number, part in enumerate(listing.parts[first:])
                for path in [os.path.join(place, str(number))]
            ]
            with closing(_results(tasks, processes)) as results:
                for task, result in zip(tasks, results, strict=True):
                    writing.append(Path(task[-1]), result)
                    os.unlink(task[-1])
                    done += task[1].images
                    progress(done)
        imported = _describe(listing, writing, options, {**(source or {}), "state": state})
        if imported.images:
            writing.finish(imported)
            return imported
        writing.discard()
    shown = "".join(f"\n  {entry}" for entry in imported.refused[:20])
    raise NothingImportedError(f"no image of '{listing.name}' can be imported; what is wrong:{shown}")


def source_state(listing: Listing) -> str:
    """A hash that changes when the source does: by its classes, its parts, and the sizes and times of its files."""
    hierarchy = listing.hierarchy and [
        listing.hierarchy.kind,
        {s: dict(g) for s, g in listing.hierarchy.groups.items()},
    ]
    digest = hashlib.sha256(
        json.dumps([listing.name, listing.classes, dict(listing.splits), hierarchy, listing.flip]).encode()
    )
    for part in listing.parts:
        digest.update(f"{part.label} {part.images}\n".encode())
    for file in listing.files:
        try:
            status = file.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{printable(file.name)} {state}\n".encode())
    return digest.hexdigest()


def _check(listing: Listing) -> None:
    labels = [part.label for part in listing.parts]
    owned = Counter(name for names in listing.splits.values() for name in names)
    if not labels or labels != sorted(labels) or labels[0] < 0 or labels[-1] >= len(listing.classes):
        raise DataError(f"'{listing.name}' has no images, or parts that do not go through its classes in order")
    if len(set(listing.classes)) < len(listing.classes) or owned != Counter(listing.classes):
        raise DataError(f"'{listing.name}' has a class twice, or classes that are in no split or in several")
    if not set(listing.splits) <= set(SPLITS) or Path(listing.name).name != listing.name:
        raise DataError(f"'{listing.name}' with splits {list(listing.splits)} is no name for a folder, or no splits")


def _finished(folder: Path, options: Mapping[str, Any], state: str) -> Imported:
    imported = read_imported(folder)
    for before, now, what in (
        (imported.options, options, changed_options(imported.options, options)),
        (imported.source.get("state"), state, "of files with other sizes or times"),
    ):
        if before != now:
            raise DataError(f"'{folder}' is a finished import {what}: delete it to import anew, or give another folder")
    return imported


def _describe(listing: Listing, writing: Writing, options: Mapping[str, Any], source: Mapping[str, str]) -> Imported:
    counts = dict.fromkeys(listing.classes, 0)
    refused = list(listing.refused)
    for part, done in zip(listing.parts, writing.parts, strict=True):
        counts[listing.classes[part.label]] += done.images
        refused += done.refused
    empty = "no image of this class could be imported: it is left out of the splits"
    refused += [Refused(f"class '{name}'", empty) for name, count in counts.items() if not count]

    def present(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if counts.get(name))

    hierarchy = listing.hierarchy
    if hierarchy:
        groups = {split: {g: present(names) for g, names in part.items()} for split, part in hierarchy.groups.items()}
        groups = {split: {group: names for group, names in part.items() if names} for split, part in groups.items()}
        hierarchy = Hierarchy(hierarchy.kind, groups)
    return Imported(
        name=listing.name,
        classes=counts,
        splits={split: present(listing.splits[split]) for split in SPLITS if present(listing.splits.get(split, ()))},
        hierarchy=hierarchy,
        flip=listing.flip,
        sha256=writing.sha256,
        options=options,
        source={**source, "versions": versions("pillow")},
        refused=tuple(refused),
        notes=listing.notes,
    )


def _results(tasks: Sequence[tuple[Any, ...]], processes: int) -> Generator[PartDone]:
    """What `_do` gives for each task, in order, with few of them ahead."""
    if not processes:
        yield from (_do(*task) for task in tasks)
        return
    context = worker_context()
    stop = context.Event()
    pool = ProcessPoolExecutor(min(processes, len(tasks) or 1), context, start_worker, (stop,))
    waiting: deque[tuple[str, Future[PartDone]]] = deque()
    what = ""
    try:
        for task in tasks:
            waiting.append((task[2], pool.submit(_do, *task)))
            if len(waiting) > _AHEAD * processes:
                what, future = waiting.popleft()
                yield future.result()
        while waiting:
            what, future = waiting.popleft()
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process died while {what} was next, perhaps for want of memory. What is finished is kept: run "
            "the same import again, with fewer processes if it happens again"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_stop: Event | None = None


def worker_context() -> BaseContext:
    """How worker processes are started: by one that has imported what they need, where the system can do that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def start_worker(stop: Event) -> None:
    """Ctrl-C is the first process's matter: its workers go on until `stop` is set, or it is no more."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _do(
    read: Callable[[Part], Iterator[Found | Refused]], part: Part, what: str, max_side: int, keep: bool, path: str
) -> PartDone:
    """Read a part, check and reduce its images, and write them to a file as record batches."""
    refused: list[Refused] = []
    hashes = bytearray()
    names: list[str] = []
    images: list[bytes] = []
    size = 0
    with writable(Path(path).parent), open(path, "wb") as file:
        for item in _items(read, part, what):
            if isinstance(item, Refused):
                refused.append(Refused(printable(item.place), printable(item.reason)))
                continue
            name = printable(item.name)
            try:
                image = stored_image(item.image, None if keep else max_side)
            except DataError as error:
                refused.append(Refused(name, printable(str(error))))
                continue
            names.append(name)
            images.append(image)
            hashes += row_hash(part.label, name, image)
            size += len(image)
            if size > _BATCH_BYTES:
                file.write(image_batch(part.label, names, images).serialize())
                names, images, size = [], [], 0
        if images:
            file.write(image_batch(part.label, names, images).serialize())
    return PartDone(len(hashes) // 32, bytes(hashes), tuple(refused))


def _items(read: Callable[[Part], Iterator[Found | Refused]], part: Part, what: str) -> Iterator[Found | Refused]:
    """What `read` gives; an error that it should have caught ends its part only, a failing disk the import."""
    count = 0
    try:
        for item in read(part):
            if _stop is not None and _stop.is_set():
                raise KeyboardInterrupt
            count += 1
            yield item
    except (OSError, MemoryError) as error:
        raise DataError(f"reading {what} failed: {error or type(error).__name__}; mend it and import again") from error
    except Exception as error:
        lost = f"after {count} of {part.images} images: the rest of this part is lost"
        yield Refused(what, f"reading stopped with {type(error).__name__}: {error}, {lost}")
