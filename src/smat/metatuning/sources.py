"""The episodes of a meta-tuning run: those to train on, and those that choose the best checkpoint."""

from collections.abc import Sequence
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
        ConfigError: no domain to train on, or validation domains in a run without validations.
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
        weights=[domain.weight for domain in training],
        joined=not config.episodes.split,
        **common,
    )
    if not validating and config.tuning.validate_every:
        validating = [domain for domain in training if "val" in domain.splits]
    return source, [EpisodeSource([domain], "val", sampler, **common) for domain in validating]
