"""Few-shot episodes: samplers, transforms, and episodes by number."""

from smat.episodes.episode import Episode, EpisodePlan
from smat.episodes.episode_file import WrittenEpisodes, episode_lines, read_episodes
from smat.episodes.loader import episode_loader
from smat.episodes.options import EpisodeOptions, EpisodeShape, PlanOptions
from smat.episodes.samplers import (
    Draw,
    FixedSampler,
    RecordedSampler,
    Sampler,
    SamplerKind,
    SplitClasses,
    VariableSampler,
    sampler_settings,
)
from smat.episodes.source import EpisodeSource
from smat.episodes.tracks import TrackRule
from smat.episodes.transforms import TransformConfig, plain_transform, prepare, random_transform

__all__ = [
    "Draw",
    "Episode",
    "EpisodeOptions",
    "EpisodePlan",
    "EpisodeShape",
    "EpisodeSource",
    "FixedSampler",
    "PlanOptions",
    "RecordedSampler",
    "Sampler",
    "SamplerKind",
    "SplitClasses",
    "TrackRule",
    "TransformConfig",
    "VariableSampler",
    "WrittenEpisodes",
    "episode_lines",
    "episode_loader",
    "plain_transform",
    "prepare",
    "random_transform",
    "read_episodes",
    "sampler_settings",
]
