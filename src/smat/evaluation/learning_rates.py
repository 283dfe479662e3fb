"""Choosing a fine-tuning's learning rate for a domain."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import median_low
from typing import Literal

from smat.adaptation import FineTuneConfig, FineTuner, Kind, make_tuner
from smat.domains import Domain
from smat.episodes import Episode, EpisodeSource, episode_loader
from smat.errors import DataError, NonFiniteError
from smat.evaluation.averaging import Averaged
from smat.evaluation.contenders import FineTuned
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head
from smat.precision import NetworkPrecision

Rule = Literal["validation", "support", "support-median", "average", "published"]
"""Where the learning rate comes from: episodes of the domain's validation classes; cross-validation inside each support
set; for all episodes of a domain the median of what that gives in the first 5, at a twentieth of the cost; no choice,
but the mean of the probabilities at all rates of the grid, by several seeds; or, as the published numbers were made,
the query labels of the first 5 test episodes, which no user would have."""

CHOOSING_EPISODES = 5


def published_warning(rule: Rule, kinds: Iterable[Kind | FineTuner], config: FineTuneConfig) -> str | None:
    """What must be said beside accuracies whose learning rates were chosen by query labels of test episodes.

    Args:
        rule: how they were chosen.
        kinds: kinds of fine-tuning.
        config: settings of the fine-tuning.
    """
    if rule != "published" or config.one_rate or not any(make_tuner(kind).trains for kind in kinds):
        return None
    return (
        "Warning: the learning rates were chosen by the query labels of test episodes, as those of published numbers "
        "were: these accuracies are higher than what can be had without these labels"
    )


def rule_for(rule: Rule, source: EpisodeSource) -> Rule:
    """The rule that can be followed: `validation` becomes `support` where the validation classes do not do.

    Args:
        rule: the one that is wanted.
        source: the test episodes of one domain.
    """
    if rule == "validation":
        try:
            _of_split(source, "val")
        except DataError:
            return "support"
    return rule


def fine_tuned(
    pool: SparseInterpolatedExperts,
    kind: Kind | FineTuner,
    config: FineTuneConfig,
    rule: Rule,
    source: EpisodeSource,
    precision: NetworkPrecision = "32-true",
    workers: int = 0,
    head: Head | None = None,
    rate: float | None = None,
) -> FineTuned:
    """A contender whose learning rate is that of the domain.

    With `support` each episode has its own, with `average` all those of the grid; with `validation` and `published` it
    is the one of the grid with the best mean query accuracy over 5 episodes, among equals the smallest. A grid of one
    rate leaves nothing to choose. Images are mirrored where the domain's can be.

    Args:
        pool: on the device to use.
        kind: fine-tuning, by name or as an object.
        config: settings of the fine-tuning.
        rule: how the learning rate is chosen, by `rule_for`.
        source: the test episodes of the domain; `validation` takes others of its validation classes.
        precision: of the passes.
        workers: number of processes that decode images ahead.
        head: nearest prototypes by default.
        rate: the learning rate, where it is chosen already (`validated_rate`).
    """
    tuner = make_tuner(kind)
    own = replace(config, flip=source.domains[0].flip)
    if rule == "average":
        return Averaged(pool, tuner, own, precision=precision, head=head)
    if config.one_rate:
        rate = tuner.learning_rates(config)[0]
    contender = FineTuned(pool, tuner, own, rate, precision, head)
    if rate is not None:
        return contender
    rule = rule_for(rule, source)
    if rule == "support":
        return contender
    split = "val" if rule == "validation" else source.split
    episodes = list(_choosing(_of_split(source, split), pool, workers))
    if rule == "support-median":
        contender.rate = median_low([contender.cross_validated(contender.specialise(e), e) for e in episodes])
    else:
        contender.rate = _best([_right(contender, episodes)])
    return contender


def validated_rate(
    pool: SparseInterpolatedExperts,
    kind: Kind | FineTuner,
    config: FineTuneConfig,
    validation: Sequence[EpisodeSource],
    precision: NetworkPrecision = "32-true",
    workers: int = 0,
    head: Head | None = None,
) -> float:
    """The learning rate with the best mean query accuracy over 5 episodes of each validation domain.

    Among equals it is the smallest. The other arguments are those of `fine_tuned`.

    Args:
        validation: episodes of the domains with the role `validation` (`validation_sources`).
    """
    right = []
    for source in validation:
        own = replace(config, flip=source.domains[0].flip)
        contender = FineTuned(pool, make_tuner(kind), own, precision=precision, head=head)
        right.append(_right(contender, _choosing(source, pool, workers)))
    return _best(right)


def validation_sources(domains: Iterable[Domain], like: EpisodeSource) -> tuple[EpisodeSource, ...]:
    """Validation episodes of the domains that have the role `validation`, drawn as those of another source."""
    chosen = [domain.for_validation() for domain in domains if domain.role == "validation"]
    return tuple(
        EpisodeSource(
            [domain],
            "val",
            like.sampler,
            image_format=like.image_format,
            transforms=like.transforms,
            seed=like.seed,
            tracks=like.tracks,
        )
        for domain in chosen
    )


def _choosing(source: EpisodeSource, pool: SparseInterpolatedExperts, workers: int) -> Iterator[Episode]:
    """The episodes that a learning rate is chosen by."""
    count = CHOOSING_EPISODES if source.plans is None else min(CHOOSING_EPISODES, len(source.plans))
    return (episode.to(pool.pretrained.device) for episode in episode_loader(source, 0, count, workers=workers))


def _right(contender: FineTuned, episodes: Iterable[Episode]) -> dict[float, float]:
    """By learning rate, the sum of the episodes' query accuracies."""
    right = dict.fromkeys(contender.tuner.learning_rates(contender.config), 0.0)
    for episode in episodes:
        model = contender.specialise(episode)
        for rate in right:
            try:
                choice = contender.probabilities(model, episode, rate).argmax(dim=1)
            except NonFiniteError:
                continue  # too large a rate gets nothing right
            right[rate] += float((choice == episode.query_labels).double().mean())
    return right


def _best(right: Sequence[dict[float, float]]) -> float:
    return max(right[0], key=lambda rate: sum(each[rate] for each in right))


def _of_split(source: EpisodeSource, split: str) -> EpisodeSource:
    """Like episodes of other classes of the domain."""
    if split == source.split:
        return source
    return EpisodeSource(
        source.domains,
        split,
        source.sampler,
        image_format=source.image_format,
        transforms=source.transforms,
        seed=source.seed,
        tracks=source.tracks,
    )
