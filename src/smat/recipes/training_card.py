"""What the card of a pool says of its training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smat.adaptation.ranking import ranking
from smat.episodes import EpisodeSource
from smat.experts import Training, TunedDomain
from smat.experts.card import TunedRole
from smat.metatuning.run_config import TrainConfig
from smat.plugins import plain
from smat.recipes.run_folder import FREE

# Settings that are told also where they are the default.
_TOLD = (
    "episodes.sampler",
    "episodes.way",
    "episodes.shot",
    "episodes.query",
    "tuning.tasks",
    "tuning.meta_batch",
    "tuning.target_sparsity",
    "tuning.optimizers.delta.rule",
    "tuning.optimizers.delta.lr",
    "tuning.precision",
    "tuning.seed",
)
_ELSEWHERE = ("domains", "backbone", "splits", "pool")  # on the card or in config.json; paths are those of one machine


def training_entry(
    config: TrainConfig, origins: Mapping[str, Any], source: EpisodeSource, validation: Sequence[EpisodeSource]
) -> Training:
    """How a run makes its pool.

    Args:
        config: its settings, with nothing left open.
        origins: what `smat.recipes.run_folder.origins_of` said when it began.
        source: its training episodes.
        validation: its validation episodes, by domain.
    """
    known = ranking().get(config.backbone)
    return Training(
        domains=[*_domains("training", [source], origins), *_domains("validation", validation, origins)],
        tasks=config.tuning.tasks,
        settings=_settings(config),
        versions=origins["versions"],
        backbone=origins["backbone"],
        licence=known.licence if known else None,
    )


def _domains(role: TunedRole, sources: Sequence[EpisodeSource], origins: Mapping[str, Any]) -> Iterator[TunedDomain]:
    for source in sources:
        for domain in source.domains:
            classes = len(domain.classes(source.split))
            yield TunedDomain(domain.name, role, classes, origins["data"][domain.name], domain.hub)


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that matter, and the others that are not the default, by name."""
    usual = dict(_by_name(plain(TrainConfig(domains=[]))))
    apart = (*FREE, *_ELSEWHERE)
    return {
        name: value
        for name, value in _by_name(plain(config))
        if name not in apart and name.partition(".")[0] not in apart and (name in _TOLD or value != usual.get(name))
    }


def _by_name(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their names on the command line; those of a plug-in stay together."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and "class_path" not in value:
            yield from _by_name(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
