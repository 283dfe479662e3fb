"""What a domain's episodes come to, and averages over domains."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smat.errors import DataError
from smat.evaluation.protocol import EpisodeRow
from smat.statistics import Interval, average, calibration_error, interval, paired_difference

BASELINE = "pretrained"
CALIBRATION_BINS = 15


def calibration_bins(rows: Sequence[EpisodeRow], method: str) -> Float[Tensor, "bins 3"]:
    """Queries, right answers and sum of the confidence in each of 15 equal bins of confidence.

    They depend on each query's highest probability and on whether that class was right, and on nothing else, so that
    episodes of different ways can be pooled; bins of more episodes are the sums of theirs.
    """
    confidence = torch.cat([row.outcomes[method].confidence for row in rows]).double().clamp(0, 1)
    correct = torch.cat([row.outcomes[method].correct for row in rows]).double()
    places = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    each = torch.stack([torch.ones_like(confidence), correct, confidence], dim=1)
    return torch.zeros(CALIBRATION_BINS, 3, dtype=torch.float64).index_add_(0, places, each)


@dataclass(frozen=True)
class Summary:
    """A domain's results, or the average over several domains; all numbers are shares, not per cent.

    Attributes:
        name: the domain, or what was averaged.
        role: `"id"`, `"ood"`, `"validation"` or `""`.
        episodes: number of episodes.
        accuracy: by method.
        difference: of each method's accuracy to that of `"pretrained"`, paired; empty where that was not evaluated.
        calibration_error: by method; of an average, the mean over its domains.
    """

    name: str
    role: str
    episodes: int
    accuracy: dict[str, Interval]
    difference: dict[str, Interval]
    calibration_error: dict[str, float]


def summarise(rows: Sequence[EpisodeRow], role: str = "") -> Summary:
    """The results of one domain's episodes.

    Raises:
        DataError: no rows.
    """
    if not rows:
        raise DataError("there are no episodes to summarise; evaluate at least one")
    methods = list(rows[0].outcomes)
    accuracies = {method: [row.outcomes[method].accuracy for row in rows] for method in methods}
    others = [method for method in methods if method != BASELINE] if BASELINE in methods else []
    return Summary(
        name=rows[0].domain,
        role=role,
        episodes=len(rows),
        accuracy={method: interval(values) for method, values in accuracies.items()},
        difference={method: paired_difference(accuracies[method], accuracies[BASELINE]) for method in others},
        calibration_error={method: calibration_error(calibration_bins(rows, method)) for method in methods},
    )


def averages(summaries: Sequence[Summary]) -> list[Summary]:
    """Averages over the domains of each role that two or more of them have: ID, OOD, validation, and none."""
    found: list[Summary] = []
    names = {"id": "ID average", "ood": "OOD average", "validation": "validation average", "": "average"}
    for role, name in names.items():
        group = [summary for summary in summaries if summary.role == role]
        if len(group) < 2:
            continue
        first = group[0]
        found.append(
            Summary(
                name=name,
                role=role,
                episodes=sum(s.episodes for s in group),
                accuracy={m: average([s.accuracy[m] for s in group]) for m in first.accuracy},
                difference={m: average([s.difference[m] for s in group]) for m in first.difference},
                calibration_error={
                    m: sum(s.calibration_error[m] for s in group) / len(group) for m in first.calibration_error
                },
            )
        )
    return found
