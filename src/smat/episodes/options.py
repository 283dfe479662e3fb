"""What episodes are like, as settings: the options of every command that draws some."""

from dataclasses import dataclass

from smat.domains.domain import Split
from smat.domains.grey import RangeOption
from smat.domains.opening import MAX_PIXELS
from smat.episodes.samplers import FixedSampler, Sampler, SamplerKind, VariableSampler
from smat.episodes.tracks import TrackRule
from smat.episodes.transforms import TransformConfig


@dataclass(frozen=True)
class EpisodeShape:
    """How many classes and images an episode has.

    Attributes:
        sampler: `fixed`, or `variable`: ways and shots vary by Meta-Dataset's rule; or a sampler of your own by its
            import path, which has settings of its own.
        way: number of classes of an episode (fixed sampler).
        shot: number of support images per class (fixed sampler).
        query: number of query images per class (fixed sampler).
        hierarchy: whether the classes of an episode lie together where the domain has a hierarchy of classes
            (variable sampler); otherwise any classes may meet.
        tracks: whether tracks, several images of one object, are kept apart where a domain has them: `keep-apart`, none
            is in the support and the query of one episode, or `ignore`; by default `keep-apart` with the fixed sampler
            and, as in Meta-Dataset, `ignore` with others.
    """

    sampler: SamplerKind | Sampler = "fixed"
    way: int = 5
    shot: int = 5
    query: int = 15
    hierarchy: bool = True
    tracks: TrackRule | None = None

    def build_sampler(self) -> Sampler:
        """The sampler of these settings.

        Raises:
            ConfigError: a setting that cannot work.
        """
        if isinstance(self.sampler, Sampler):
            return self.sampler
        if self.sampler == "variable":
            return VariableSampler(hierarchy=self.hierarchy)
        return FixedSampler(self.way, self.shot, self.query)


@dataclass(frozen=True)
class PlanOptions(EpisodeShape):
    """Which episodes are drawn, and from what.

    Attributes:
        split: classes that episodes are drawn from: `train`, `val` or `test`.
        seed: random seed; another one gives other episodes.
        splits: splits file for all domains; by default the one beside each.
        skip_bad: go on without images that cannot be read.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, such as 0 4095, or
            `auto`: from all such images of a domain; images of 8 bits have no other range. By default as each says, or
            it cannot be read.
        max_pixels: most pixels that an image is decoded to.
    """

    split: Split = "test"
    seed: int = 0
    splits: str | None = None
    skip_bad: bool = False
    range: RangeOption = None
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class EpisodeOptions(PlanOptions):
    """Which episodes are drawn, from what, and how their images are cut.

    Attributes:
        margin: side of the square that images are cut to over the image size, of which the network sees the centre;
            by default that of the checkpoint's training (8/7 without one).
    """

    margin: float | None = None

    def transforms(self, default: float = TransformConfig.margin) -> TransformConfig:
        """How images are cut: with this margin, or that of the checkpoint where none is given."""
        return TransformConfig(margin=default if self.margin is None else self.margin)
