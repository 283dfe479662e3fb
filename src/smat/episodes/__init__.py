"""Few-shot episodes: samplers, transforms, and episodes by number."""

from smat.episodes.episode import Episode, EpisodePlan
from smat.episodes.episode_file import WrittenEpisodes, episode_lines, read_episodes
from smat.episodes.loader import episode_loader
from smat.episodes.samplers import (
    Draw,
    FixedSampler,
    Sampler,
    SamplerKind,
    SplitClasses,
    VariableSampler,
    make_sampler,
    sampler_settings,
)
from smat.episodes.source import EpisodeSource
from smat.episodes.transforms import TransformConfig, normalise, plain_transform, prepare, random_transform

__all__ = [
    "Draw",
    "Episode",
    "EpisodePlan",
    "EpisodeSource",
    "FixedSampler",
    "Sampler",
    "SamplerKind",
    "SplitClasses",
    "TransformConfig",
    "VariableSampler",
    "WrittenEpisodes",
    "episode_lines",
    "episode_loader",
    "make_sampler",
    "normalise",
    "plain_transform",
    "prepare",
    "random_transform",
    "read_episodes",
    "sampler_settings",
]
