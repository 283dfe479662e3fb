"""Tracks: several images of one object, such as frames of a traffic sign that a car drives past."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from smat.domains.tables import ImageTable
from smat.errors import ConfigError, DataError

NO_TRACKS = "none"
GTSRB_TRACKS = r"(?:^|/)(?:[0-9]{5}_)?([0-9]{5})_([0-9]{5})\.[A-Za-z]+$"
"""Names of the German Traffic Sign Recognition Benchmark, `00012_00003.ppm`: track 12 of its class, frame 3. Some
distributions put the class before these: `00014_00012_00003.png`."""

_FRAMES = 30  # of a track of GTSRB, at most: numbered 0..29


def check_pattern(pattern: str) -> None:
    """Raise a `ConfigError` for what is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"tracks is {pattern!r}, which is no regular expression ({error}); give one whose first group is the track "
            f"in an image's name, such as '(\\d+)_\\d+', or '{NO_TRACKS}'"
        ) from error


def find_tracks(table: ImageTable, rows: Int[np.ndarray, "_"], pattern: str | None) -> np.ndarray | None:
    """The track of each row of a table, by the images' names; tracks of different classes are different ones.

    Args:
        table: images and labels.
        rows: rows with a label.
        pattern: regular expression that is searched for in each name; its first group, or else all that it finds, is
            the track. `"none"`: no tracks. None: GTSRB's tracks, where all images have such names, with no frame of a
            track twice and none above 29, and some track has several images.

    Returns:
        Numbers 0..tracks-1, int64, and -1 for all other rows; None where there are no tracks.

    Raises:
        DataError: names in which the pattern is not found.
    """
    given = pattern
    pattern = GTSRB_TRACKS if given is None else given
    if given == NO_TRACKS or not len(rows):
        return None
    if given is None and not re.search(pattern, table.path(int(rows[0])) or ""):
        return None  # without looking at the names of all images, of which there may be millions
    names, labels = [name or "(no name)" for name in table.paths(rows)], table.labels[rows].tolist()
    matches = [re.search(pattern, name) for name in names]
    if given is None and not _is_gtsrb(matches, labels):
        return None
    found = [match and (match[1] if match.re.groups else match[0]) for match in matches]
    missing = [name for name, track in zip(names, found, strict=True) if track is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} image names have no track by the pattern {pattern!r}, such as "
            f"{', '.join(missing[:3])}: correct it where it is said (tracks of the domain in a configuration, in "
            f"Python or in a splits file), or say '{NO_TRACKS}'"
        )
    numbers: dict[tuple[int, str | None], int] = {}
    tracks = np.full(len(table.labels), -1)
    tracks[rows] = [numbers.setdefault(key, len(numbers)) for key in zip(labels, found, strict=True)]
    return tracks


def _is_gtsrb(matches: Sequence[re.Match[str] | None], labels: Sequence[int]) -> bool:
    frames: set[tuple[int, str, int]] = set()
    for match, label in zip(matches, labels, strict=True):
        if not match or int(match[2]) >= _FRAMES or (frame := (label, match[1], int(match[2]))) in frames:
            return False
        frames.add(frame)
    return len({frame[:2] for frame in frames}) < len(frames)
