"""The episodes of a comparison: those of its base configuration, less what is chosen otherwise."""

from dataclasses import asdict, dataclass, fields

from smat.episodes import EpisodeOptions, EpisodeShape, TrackRule
from smat.errors import ConfigError
from smat.metatuning.run_config import TrainConfig
from smat.schema import Count, checked


@dataclass(frozen=True)
@checked()
class EpisodeOverrides:
    """What differs from the episodes of the base configuration.

    Attributes:
        way: number of classes of an episode; by default that of the base configuration.
        shot: number of support images per class; by default that of the base configuration.
        query: number of query images per class; by default that of the base configuration.
        tracks: whether tracks, several images of one object, are kept apart where a domain has them: `keep-apart`, none
            is in the support and the query of one episode, or `ignore`; by default as the base configuration says, or
            else `keep-apart` with the fixed sampler and `ignore` with others.
    """

    way: Count | None = None
    shot: Count | None = None
    query: Count | None = None
    tracks: TrackRule | None = None

    def options(self, config: TrainConfig) -> EpisodeOptions:
        """The episodes of a comparison with that base configuration.

        Raises:
            ConfigError: if what is chosen is left to chance by the sampler of the base configuration.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        sizes = [f"--{name}" for name in given if name != "tracks"]
        if sizes and config.episodes.sampler != "fixed":
            raise ConfigError(
                f"{' and '.join(sizes)} cannot be chosen where the sampler of the base "
                "configuration draws them at random: leave them out"
            )
        shape = {field.name: getattr(config.episodes, field.name) for field in fields(EpisodeShape)} | given
        return EpisodeOptions(**shape, **config.opening(), margin=config.episodes.transforms.margin)
