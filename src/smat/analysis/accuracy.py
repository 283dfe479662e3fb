"""Accuracy of the frozen and the merged network on the same episodes, against ways and shots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from smat.analysis.tasks import require_experts
from smat.episodes import EpisodeSource, FixedSampler
from smat.errors import DataError
from smat.evaluation import Contender, Experts, FixedFeatures, Frozen, domain_sources, evaluate_domain
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head, head_of
from smat.left_out import leave_out
from smat.precision import NetworkPrecision
from smat.statistics import Interval, interval, paired_difference

SHOTS = (1, 5, 10, 20)
WAYS = (5, 10, 20)


@dataclass(frozen=True)
class PairedAccuracy:
    """Accuracies of both networks on the same episodes, in 0..1, with 95 % intervals over episodes.

    Attributes:
        episodes: number of episodes.
        frozen, merged: accuracy of each network.
        difference: merged less frozen, paired by episode.
    """

    episodes: int
    frozen: Interval
    merged: Interval
    difference: Interval

    @classmethod
    def of(cls, frozen: Sequence[float], merged: Sequence[float]) -> "PairedAccuracy":
        """From the accuracies of each network in each episode."""
        return cls(len(frozen), interval(frozen), interval(merged), paired_difference(merged, frozen))


@dataclass(frozen=True)
class GridCell:
    """Accuracy at one number of ways and shots.

    Attributes:
        way: number of classes.
        shot: number of support images per class.
        accuracy: accuracy of both networks.
    """

    way: int
    shot: int
    accuracy: PairedAccuracy


def contenders(pool: SparseInterpolatedExperts, head: Head | None, precision: NetworkPrecision) -> dict[str, Contender]:
    """The `frozen` network and the `merged` one with the same head; raises a `ConfigError` without experts."""
    require_experts(pool)
    same = head_of(pool, head)  # with the scale that the pool learned for both, so that probabilities compare
    return {"frozen": Frozen(same), "merged": Experts(pool, precision, same)}


def accuracy_grid(
    pool: SparseInterpolatedExperts,
    frozen: FixedFeatures,
    source: EpisodeSource,
    episodes: int = 10,
    *,
    ways: Sequence[int] = WAYS,
    shots: Sequence[int] = SHOTS,
    query: int = 10,
    head: Head | None = None,
    precision: NetworkPrecision = "32-true",
    workers: int = 0,
    on_episode: Callable[[str], None] | None = None,
) -> list[GridCell]:
    """Accuracy of the frozen and the merged network against ways and shots.

    The episodes are those of `smat evaluate` with the same way, shot, query and seed. What the domain has too few
    classes or images for is left out, with a word. In each episode way × (shot + query) images pass through a network
    of their own: a grid takes far longer than its episodes at one way and shot.

    Args:
        pool: experts around the frozen network; it is left as it was.
        frozen: features by the frozen network.
        source: episodes of one domain, which say all but their shape.
        episodes: number of episodes of each way and shot.
        ways: numbers of classes.
        shots: numbers of support images per class.
        query: number of query images per class.
        head: classifier of features; nearest prototypes by default.
        precision: of the merged networks.
        workers: processes that decode images ahead.
        on_episode: called with the domain's name after each episode.

    Raises:
        ConfigError: a pool without experts, or no episodes.
        DataError: an image cannot be read.
    """
    both = contenders(pool, head, precision)
    (domain,) = source.domains
    cells = []
    for way, shot in product(ways, shots):
        sampler = FixedSampler(way, shot, query)
        try:
            (shaped,) = domain_sources(
                source.image_format,
                [domain],
                source.split,
                sampler,
                source.transforms,
                source.seed,
                tracks=source.tracks,
            )
        except DataError:
            why = f"the domain has too few classes, or images of a class, for it and {query} query images per class"
            leave_out("setting", why, [f"{domain.name}, {way}-way {shot}-shot"])
            continue
        rows = evaluate_domain(
            both,
            frozen,
            shaped,
            episodes,
            workers=workers,
            on_episode=on_episode and (lambda row: on_episode(row.domain)),
        )
        found = {name: [row.outcomes[name].accuracy for row in rows] for name in both}
        cells.append(GridCell(way, shot, PairedAccuracy.of(**found)))
    return cells
