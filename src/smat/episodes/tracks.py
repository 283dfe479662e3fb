"""Support and query of one class without a track on both sides: when that can be, and how it is drawn.

A track is several images of one object. Where some are in the support and others among the queries, a network needs
only to recognise the object again, and its accuracy is higher than it would be for objects that it has not seen.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from smat.errors import ConfigError

TrackRule = Literal["keep-apart", "ignore"]
"""`keep-apart`: no track of a domain is in an episode's support and its query; `ignore`: tracks are not looked at."""


def track_rule(given: str | None, usual: TrackRule) -> TrackRule:
    """The rule of that name; None: the usual one.

    Raises:
        ConfigError: there is no such rule.
    """
    if given is None:
        return usual
    if given == "keep-apart" or given == "ignore":  # `in` would not tell the type checker
        return given
    raise ConfigError(f"tracks is {given!r}; choose one of {', '.join(get_args(TrackRule))}")


def most_support(sizes: Iterable[int], query: int) -> int:
    """Largest number of support images of a class beside so many query images of other tracks.

    As many query images can be had beside so many support images: the two sides are alike.

    Args:
        sizes: number of images of each track.
        query: number of query images, 1 or more.
    """
    sizes = list(sizes)
    return (_sums(sizes) & _up_to(sum(sizes) - query)).bit_length() - 1 if query < sum(sizes) else 0


def draw_apart(
    tracks: Int[np.ndarray, " images"], shot: int, query: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "{shot}"], Int[np.ndarray, "{query}"]]:
    """Support and query images of one class, with no track in both.

    The images come in random order. The support takes the first ones, but none of a track that would leave no way to
    fill both sides; the queries are the first ones of the tracks that the support has none of. So the support is a
    random choice of images, from as many tracks as that gives, unless the queries need the tracks.

    Whenever both sides can be had at all they are found: a track is refused only where those that were taken can do
    without it.

    Args:
        tracks: track of each image.
        shot: number of support images, at most `most_support` of the tracks' sizes and `query`.
        query: number of query images.
        rng: source of randomness.

    Returns:
        Indices of the support and of the query images.
    """
    order = rng.permutation(len(tracks))
    undecided = Counter(tracks.tolist())
    taken: set[int] = set()
    used, support = 0, []  # images of the tracks that are taken; those in the support
    for index in order.tolist():
        track = int(tracks[index])
        if size := undecided.pop(track, 0):
            low, high = max(0, shot - used - size), len(tracks) - query - used - size
            if high >= 0 and (_sums(undecided.values()) & _up_to(high)) >> low:
                taken.add(track)
                used += size
        if track in taken:
            support.append(index)
        if len(support) == shot:
            break
    return np.array(support), order[~np.isin(tracks[order], list(taken))][:query]


def _sums(sizes: Iterable[int]) -> int:
    """The numbers of images that some of the tracks have together, as the bits of a number."""
    sums = 1
    for size in sizes:
        sums |= sums << size
    return sums


def _up_to(most: int) -> int:
    """The bits 0..most."""
    return (1 << (most + 1)) - 1
