"""Domains whose images come in tracks."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from small_images import write_parquet


def gtsrb_names(sizes: Sequence[int], label: int = 0) -> list[str]:
    """Names as GTSRB has them, of one class: so many frames of each track, frame 0 of all tracks first."""
    frames = [(frame, track) for track, size in enumerate(sizes) for frame in range(size)]
    return [f"gtsrb/{label:02d}/{track:05d}_{frame:05d}.ppm" for frame, track in sorted(frames)]


def write_signs(path: Path, classes: Sequence[Sequence[int]]) -> Path:
    """A parquet file of classes `c0`, `c1`, ... with so many images in each of their tracks, class after class."""
    names = [gtsrb_names(sizes, label) for label, sizes in enumerate(classes)]
    labels = [label for label, of_class in enumerate(names) for _ in of_class]
    return write_parquet(path, labels, [f"c{i}" for i in range(len(classes))], paths=[*chain(*names)])
