"""Importing a domain: its parts are read by worker processes and written in order."""

import hashlib
import json
import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from smat.domains.domain import SPLITS
from smat.domains.grey import Extremes, GreyRange, RangeOption, common_range
from smat.domains.hierarchy import Hierarchy
from smat.domains.images import extremes, find_range
from smat.domains.imported import DESCRIPTION, Imported, Refused, listed, read_imported, row_hash
from smat.domains.opening import MAX_PIXELS
from smat.errors import ConfigError, DataError, NothingImportedError
from smat.importing.decoding import Decoding
from smat.importing.files import printable
from smat.importing.listing import EXPECTED, Found, Listing, Part
from smat.importing.reduce import stored_image
from smat.importing.writing import HASH_BYTES, PartDone, Writing, changed_options, image_batch, writable
from smat.process import in_workers, stop_requested, versions

_BATCH_BYTES = 2**25


def import_domain(
    listing: Listing,
    out: str | Path,
    *,
    max_side: int = 256,
    keep: bool = False,
    processes: int = 0,
    progress: Callable[[int], None] | None = None,
    range: RangeOption = None,
    max_pixels: int = MAX_PIXELS,
) -> Imported:
    """Write a domain to a folder of its name.

    After an interruption of any kind the same call goes on after the last finished part, to the same bytes; when all is
    done, it does nothing.

    Args:
        listing: what to import.
        out: folder in which the domain's folder is made.
        max_side: longest side of an image in pixels; larger ones are made smaller once.
        keep: leave images as large as they are.
        processes: number of processes that read and decode; 0: only this one.
        progress: function that gets the number of images of all finished parts, first at the start.
        range: values that are black and white in grey images of more than 8 bits, which are stored in 8; `"auto"`: from
            all such images, which are read once more for that. None: as each says, or it is refused.
        max_pixels: most pixels that an image is decoded to.

    Returns:
        What was written.

    Raises:
        NothingImportedError: no image of it can be used.
        DataError: the folder cannot be written to or has something else, such as an
            import of other files or with other options; or a worker process died.
        ConfigError: `max_side`, `processes` or a range that cannot be, or a listing whose `read` cannot go to worker
            processes.
    """
    if max_side < 1 or processes < 0:
        raise ConfigError(f"max_side is {max_side} and processes is {processes}; give 1 or more, and 0 or more")
    _check(listing, processes)
    folder = Path(out) / listing.name
    options: dict[str, Any] = {"keep": True} if keep else {"max_side": max_side}
    told = find_range(range, ()) if range != "auto" else None
    if range is not None:
        options["range"] = [told.low, told.high] if told else range
    if max_pixels != MAX_PIXELS:
        options["max_pixels"] = max_pixels
    state = source_state(listing)
    if (folder / DESCRIPTION).is_file():
        return _finished(folder, options, state)
    told = _common_range(listing, max_pixels, processes) if range == "auto" else told
    decoding = Decoding(told, max_pixels)
    progress = progress or (lambda done: None)
    with Writing(folder, listing.classes, options, state) as writing, writable(folder):
        first = len(writing.parts)
        done = sum(part.images for part in listing.parts[:first])
        progress(done)
        # Workers write each part to a file of its own, so that images do not go through a pipe between processes.
        with tempfile.TemporaryDirectory(prefix="parts-", dir=folder, ignore_cleanup_errors=True) as parts:
            tasks = [
                _Task(part, _what(listing, part), os.path.join(parts, str(number)))
                for number, part in enumerate(listing.parts[first:])
            ]
            make = partial(_Reader, listing.read, None if keep else max_side, decoding)
            try:
                with closing(in_workers(make, tasks, processes)) as results:
                    for task, result in zip(tasks, results, strict=True):
                        writing.append(Path(task.path), result)
                        os.unlink(task.path)
                        done += task.part.images
                        progress(done)
            except BrokenProcessPool as error:
                what = _what(listing, listing.parts[len(writing.parts)])
                raise DataError(
                    f"a worker process died while {what} was next, perhaps for want of memory. What is finished is "
                    "kept: run the same import again, with fewer --processes if it happens again"
                ) from error
        imported = _describe(listing, writing, options, {**listing.origin, "state": state}, decoding.range)
        if imported.images:
            writing.finish(imported)
            return imported
        writing.discard()
    raise NothingImportedError(
        f"no image of '{listing.name}' can be imported; what is wrong:{listed(imported.refused)}"
    )


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


def _check(listing: Listing, processes: int) -> None:
    labels = [part.label for part in listing.parts]
    owned = Counter(name for names in listing.splits.values() for name in names)
    if not labels or labels != sorted(labels) or labels[0] < 0 or labels[-1] >= len(listing.classes):
        raise DataError(f"'{listing.name}' has no images, or parts that do not go through its classes in order")
    if len(set(listing.classes)) < len(listing.classes) or owned != Counter(listing.classes):
        raise DataError(f"'{listing.name}' has a class twice, or classes that are in no split or in several")
    if not set(listing.splits) <= set(SPLITS) or Path(listing.name).name != listing.name:
        raise DataError(f"'{listing.name}' with splits {list(listing.splits)} is no name for a folder, or no splits")
    try:
        if processes:
            pickle.dumps(listing.read)
    except Exception as error:  # of the user's own class
        raise ConfigError(
            f"what reads the images of '{listing.name}' cannot be sent to worker processes ({error}): make it a "
            "function of a module or a method of the kind, or use --processes 0"
        ) from error


def _finished(folder: Path, options: Mapping[str, Any], state: str) -> Imported:
    imported = read_imported(folder)
    for before, now, what in (
        (imported.options, options, changed_options(imported.options, options)),
        (imported.source.get("state"), state, "of files with other sizes or times"),
    ):
        if before != now:
            raise DataError(f"'{folder}' is a finished import {what}: delete it to import anew, or give another folder")
    return imported


def _common_range(listing: Listing, max_pixels: int, processes: int) -> GreyRange | None:
    parts = in_workers(partial(_Extremes, listing.read, max_pixels), listing.parts, processes)
    with closing(parts) as results:
        return common_range(found for part in results for found in part)


def _describe(
    listing: Listing,
    writing: Writing,
    options: Mapping[str, Any],
    source: Mapping[str, Any],
    range: GreyRange | None,
) -> Imported:
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
        source={
            **source,
            **({EXPECTED: dict(listing.expected)} if listing.expected else {}),
            "versions": versions("pillow"),
        },
        refused=tuple(refused),
        notes=(*listing.notes, *([f"grey images of more than 8 bits are read on the range {range}"] if range else [])),
        tracks=listing.tracks,
    )


@dataclass(frozen=True)
class _Task:
    """A part to read, what to call it in messages, and the file that its images go to."""

    part: Part
    what: str
    path: str


def _what(listing: Listing, part: Part) -> str:
    return f"{listing.name}, class '{listing.classes[part.label]}'"


@dataclass(frozen=True)
class _Reader:
    """Reads parts, checks and reduces their images, and writes these to files as record batches."""

    read: Callable[[Part], Iterator[Found | Refused]]
    max_side: int | None
    decoding: Decoding = Decoding()

    def __call__(self, task: _Task) -> PartDone:
        refused: list[Refused] = []
        hashes = bytearray()
        names: list[str] = []
        images: list[bytes] = []
        size = 0
        with self.decoding, writable(Path(task.path).parent), open(task.path, "wb") as file:
            for item in self._items(task):
                if isinstance(item, Refused):
                    refused.append(Refused(printable(item.place), printable(item.reason)))
                    continue
                name = printable(item.name)
                try:
                    range, max_pixels = self.decoding.range, self.decoding.max_pixels
                    image = stored_image(item.image, self.max_side, range=range, max_pixels=max_pixels)
                except DataError as error:
                    refused.append(Refused(name, printable(str(error))))
                    continue
                names.append(name)
                images.append(image)
                hashes += row_hash(task.part.label, name, image)
                size += len(image)
                if size > _BATCH_BYTES:
                    file.write(image_batch(task.part.label, names, images).serialize())
                    names, images, size = [], [], 0
            if images:
                file.write(image_batch(task.part.label, names, images).serialize())
        return PartDone(len(hashes) // HASH_BYTES, bytes(hashes), tuple(refused))

    def _items(self, task: _Task) -> Iterator[Found | Refused]:
        """What `read` gives; an error that it should have caught ends its part only, a failing disk the import."""
        count = 0
        try:
            for item in self.read(task.part):
                if stop_requested():
                    raise KeyboardInterrupt
                count += 1
                yield item
        except (OSError, MemoryError) as error:
            reason = error or type(error).__name__
            raise DataError(f"reading {task.what} failed: {reason}; mend it and import again") from error
        except Exception as error:
            lost = f"after {count} of {task.part.images} images: the rest of this part is lost"
            yield Refused(task.what, f"reading stopped with {type(error).__name__}: {error}, {lost}")


@dataclass(frozen=True)
class _Extremes:
    """Finds the smallest and the largest value of each deep grey image of a part."""

    read: Callable[[Part], Iterator[Found | Refused]]
    max_pixels: int

    def __call__(self, part: Part) -> list[Extremes]:
        found: list[Extremes] = []
        try:
            for item in self.read(part):
                if stop_requested():
                    raise KeyboardInterrupt
                if isinstance(item, Found) and (one := extremes(item.image, self.max_pixels, f"'{item.name}'")):
                    found.append(one)
        except Exception:  # what goes wrong is said where the part is imported
            pass
        return found
