"""The episodes of a meta-tuning run: those to train on, and those that choose the best checkpoint."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from smat.backbones import ImageFormat
from smat.domains import Domain
from smat.episodes import EpisodeSource
from smat.errors import ConfigError
from smat.metatuning.run_config import TrainConfig


def episode_sources(
    config: TrainConfig, domains: Sequence[Domain], image_format: ImageFormat
) -> tuple[EpisodeSource, list[EpisodeSource]]:
    """The training episodes, and a source of validation episodes per domain that has a say in the best checkpoint.

    Domains of the role `validation` are not trained on. Where there are some, they alone choose the checkpoint: each by
    its validation classes, or by all of its classes where it has none. Otherwise the training domains choose it, each
    by its validation classes where it has them.

    Args:
        config: the run's settings.
        domains: those of the configuration, opened.
        image_format: the images that the network takes.

    Raises:
        DataError: a domain has too few classes or images for the episodes.
        ConfigError: no domain to train on, or only one where each is to be left out in turn, or validation domains in a
            run without validations.
    """
    training = [domain for domain in domains if domain.role != "validation"]
    validating = [domain.for_validation() for domain in domains if domain.role == "validation"]
    if not training:
        raise ConfigError("all domains have the role validation: give at least one to train on")
    if validating and not config.tuning.validate_every:
        raise ConfigError(
            f"{', '.join(domain.name for domain in validating)} have the role validation, but tuning.validate_every "
            "is 0, so that nothing is validated: leave them out, or give a number of tasks"
        )
    weights = [domain.weight for domain in training]
    leaving_out = config.tuning.leave_out.share > 0
    if leaving_out and (count := sum(weight > 0 for weight in weights)) < 2:
        raise ConfigError(
            f"tuning.leave_out.share is {config.tuning.leave_out.share}, but {count} domain is trained on: give two or "
            "more, or set it to 0"
        )
    sampler = config.episodes.build_sampler()
    common: dict[str, Any] = {
        "image_format": image_format,
        "transforms": config.episodes.transforms,
        "seed": config.tuning.seed,
        "tracks": config.episodes.tracks,
    }
    source = EpisodeSource(
        training,
        "train",
        sampler,
        train=True,
        weights=partial(config.tuning.domain_weights, weights) if leaving_out else weights,
        joined=not config.episodes.split,
        **common,
    )
    if not validating and config.tuning.validate_every:
        validating = [domain for domain in training if "val" in domain.splits]
    return source, [EpisodeSource([domain], "val", sampler, **common) for domain in validating]
