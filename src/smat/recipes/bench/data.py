"""`smat bench data`: reading episodes from disk, compared with one HDF5 file per class."""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from smat.backbones import ImageFormat
from smat.episodes import EpisodeSource, FixedSampler
from smat.errors import ConfigError
from smat.files import check_writable, write_whole
from smat.recipes.bench.data_stores import Hdf5, ImageSet, Stored, decode, write_hdf5
from smat.recipes.bench.machine import machine, usage
from smat.schema import Count, Processes, checked_arguments

_NAMES = {"smat": "smat", "hdf5": "HDF5, a file per class", "decode": "decoding alone"}
_Seconds = dict[str, list[float]]


@checked_arguments
def bench_data(
    *,
    images: Count = 20_000,
    classes: Count = 1_000,
    size: Count = 256,
    image_size: Count = 128,
    way: Count = 20,
    per_class: Count = 15,
    repeats: Count = 15,
    processes: Processes | None = None,
    folder: str | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Measure how fast images of random episodes are read and decoded, and how much memory and how many files it takes.

    Makes JPEG images and stores them twice: as `smat data import` does, and decoded, in one HDF5 file per class, which
    stays open once it was needed. One process reads both in turn, and decodes the same JPEG images from memory, which
    is the least that reading can take. Memory and open files are those of a fresh process that has read an image of
    every class. Everything made is removed.

    Example: smat bench data --images 50000 --output bench_data.json

    Args:
        images: number of images to make, the same for each class.
        classes: number of classes.
        size: longest side of the largest image in pixels; the smallest have half of that.
        image_size: side in pixels of the squares that images are cut and resized to.
        way: number of classes of an episode.
        per_class: number of images of each class in an episode.
        repeats: number of measured episodes; the median counts.
        processes: number of processes that make the images; one per processor core by default.
        folder: folder to write in, about 0.1 MB per image; the system's temporary folder by default.
        output: JSON file for all numbers and a description of the machine.

    Returns:
        What is written to `output`.

    Raises:
        ConfigError: if numbers do not fit together.
    """
    _check(images, classes, size, image_size, way, per_class, repeats)
    path = check_writable(output) if output else None
    processes = (os.cpu_count() or 1) if processes is None else processes
    console, threads = Console(), torch.get_num_threads()
    all_of_them = ImageSet(classes, images // classes, size)
    few = ImageSet(max(way, classes // 10), images // classes, size)
    with tempfile.TemporaryDirectory(prefix="smat-bench-data-", dir=folder, ignore_cleanup_errors=True) as place:
        console.print(f"making {all_of_them.total:,} images of {classes:,} classes in {place}", soft_wrap=True)
        stores: dict[ImageSet, dict[str, Path]] = {}
        for some in dict.fromkeys([few, all_of_them]):
            stored = some.make(Path(place), processes)
            hdf5 = write_hdf5(Stored(stored).domain, Path(place) / f"hdf5-{some.classes}")
            stores[some] = {"smat": stored, "hdf5": hdf5}
        console.print(f"reading {repeats} episodes each way")
        torch.set_num_threads(1)
        try:
            sampler = FixedSampler(way, 1, per_class - 1)
            seconds = _seconds(stores[all_of_them], all_of_them, image_size, sampler, repeats)
        finally:
            torch.set_num_threads(threads)
        report = {
            "machine": machine(1, torch.device("cpu")),
            "images": asdict(all_of_them),
            "episodes": {"way": way, "per_class": per_class, "image_size": image_size},
            "reading": _rates(seconds, way * per_class),
            "disk_mb": {kind: _megabytes(store) for kind, store in stores[all_of_them].items()},
            "process": {
                str(some.classes): {kind: _grown(kind, of_both, some, image_size) for kind in of_both}
                for some, of_both in stores.items()
                if sys.platform == "linux"
            },
        }
    console.print(_speed_table(report))
    if report["process"]:
        console.print(_process_table(report))
    if path:
        write_whole(path, json.dumps(report, indent=1) + "\n", keep=True)
    return report


def _check(images: int, classes: int, size: int, image_size: int, way: int, per_class: int, repeats: int) -> None:
    if not 2 <= way <= classes:
        raise ConfigError(f"way is {way} and classes is {classes}; give 2 or more, and at most the number of classes")
    if not 2 <= per_class <= images // classes:
        raise ConfigError(
            f"per_class is {per_class}, and {images} images of {classes} classes are {images // classes} of each: give "
            "2 or more, and at most that many"
        )
    for name, value, least in (("size", size, 16), ("image_size", image_size, 1), ("repeats", repeats, 1)):
        if value < least:
            raise ConfigError(f"{name} is {value}; give {least} or more")


def _seconds(store: dict[str, Path], made: ImageSet, side: int, sampler: FixedSampler, repeats: int) -> _Seconds:
    """Seconds per episode of each way to read it, in turn; the first round only warms up."""
    ours, theirs = Stored(store["smat"]), Hdf5(store["hdf5"], made.images)
    source = EpisodeSource([ours.domain], "test", sampler, image_format=ImageFormat(side))
    seconds: _Seconds = {kind: [] for kind in _NAMES}
    for turn in range(repeats + 1):
        plan = source.plan(turn)
        rows = plan.support_rows + plan.query_rows
        runs = {
            "smat": partial(ours.read, rows, side),
            "hdf5": partial(theirs.read, rows, side),
            "decode": partial(decode, ours.encoded(rows), side),
        }
        pixels = []
        for kind, run in runs.items():
            start = time.perf_counter()
            pixels.append(run())
            if turn:
                seconds[kind].append(time.perf_counter() - start)
        if not all(pixels[0].equal(others) for others in pixels[1:]):
            raise AssertionError(f"the stores have other pixels for episode {plan.id}")
    return seconds


def _rates(seconds: _Seconds, images: int) -> dict[str, Any]:
    """Speeds, and the medians of their ratios within a round, in which the machine is much the same for all."""

    def times(other: str) -> float:
        return statistics.median(b / a for a, b in zip(seconds["smat"], seconds[other], strict=True))

    return {
        "seconds": seconds,
        "images_per_second": {kind: images / statistics.median(some) for kind, some in seconds.items()},
        "times_hdf5": times("hdf5"),
        "share_of_decoding": times("decode"),
    }


def _megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in path.iterdir()) / 1e6


def _grown(kind: str, store: dict[str, Path], made: ImageSet, side: int) -> dict[str, float]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, for every process
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_read_every_class, kind, store[kind], made, side).result()


def _read_every_class(kind: str, store: Path, made: ImageSet, side: int) -> dict[str, float]:
    """What this process takes more once it has opened a store and read an image of every class."""
    decode([made.example()], side)  # the libraries that the first image loads are not the store's
    before = usage()
    reader = Stored(store) if kind == "smat" else Hdf5(store, made.images)
    for label in range(made.classes):
        reader.read([label * made.images], side)
    return {name: value - before[name] for name, value in usage().items()}


def _speed_table(report: dict[str, Any]) -> Table:
    reading, episodes = report["reading"], report["episodes"]
    title = (
        f"{episodes['way']}-class x {episodes['per_class']}-image episodes at {episodes['image_size']} px, one process"
    )
    table = Table(title=f"{title}: {report['machine']['cpu']}")
    for heading in ("how", "images/s", "times HDF5", "share of decoding", "MB on disk"):
        table.add_column(heading, justify="left" if heading == "how" else "right")
    ratios = {"smat": (f"{reading['times_hdf5']:.2f}", f"{100 * reading['share_of_decoding']:.0f} %")}
    for kind, name in _NAMES.items():
        disk = report["disk_mb"].get(kind)
        table.add_row(
            name,
            f"{reading['images_per_second'][kind]:,.0f}",
            *ratios.get(kind, ("", "")),
            "" if disk is None else f"{disk:,.0f}",
        )
    return table


def _process_table(report: dict[str, Any]) -> Table:
    table = Table(title="What a process takes to read an image of every class")
    for heading in ("classes", "how", "own memory, MB", "mapped file, MB", "open files"):
        table.add_column(heading, justify="left" if heading == "how" else "right")
    for classes, of_both in report["process"].items():
        for kind, grown in of_both.items():
            numbers = f"{grown['own_mb']:.1f}", f"{grown['mapped_mb']:.1f}", str(grown["open_files"])
            table.add_row(f"{int(classes):,}", _NAMES[kind], *numbers)
    return table
