"""Few-shot episodes: domains of images, samplers, transforms, and episodes by number."""

from smat.episodes.catalogue import DomainConfig, domain_weights, open_domains
from smat.episodes.domain import SPLITS, Domain
from smat.episodes.episode import Episode, EpisodePlan
from smat.episodes.episode_file import WrittenEpisodes, episode_lines, read_episodes
from smat.episodes.folders import list_images, read_class_folders
from smat.episodes.image_domain import BadImage, ImageDomain, check_images, open_domain
from smat.episodes.images import ImageSource, canvas, load_image
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
    "SPLITS",
    "BadImage",
    "Domain",
    "DomainConfig",
    "Draw",
    "Episode",
    "EpisodePlan",
    "EpisodeSource",
    "FixedSampler",
    "ImageDomain",
    "ImageSource",
    "Sampler",
    "SamplerKind",
    "SplitClasses",
    "TransformConfig",
    "VariableSampler",
    "WrittenEpisodes",
    "canvas",
    "check_images",
    "domain_weights",
    "episode_lines",
    "episode_loader",
    "list_images",
    "load_image",
    "make_sampler",
    "normalise",
    "open_domain",
    "open_domains",
    "plain_transform",
    "prepare",
    "random_transform",
    "read_class_folders",
    "read_episodes",
    "sampler_settings",
]
