"""What episodes are like, as settings: the options of every command that draws some."""

from dataclasses import dataclass

from smat.backbones.spec import Margin
from smat.domains.catalogue import DataOptions
from smat.domains.domain import Split
from smat.episodes.samplers import FixedSampler, Sampler, SamplerKind, VariableSampler
from smat.episodes.tracks import TrackRule
from smat.episodes.transforms import TransformConfig
from smat.schema import Count, Seed, checked


@dataclass(frozen=True)
@checked()
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
    way: Count = 5
    shot: Count = 5
    query: Count = 15
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
class PlanOptions(EpisodeShape, DataOptions):
    """Which episodes are drawn, and from what.

    Attributes:
        split: classes that episodes are drawn from: `train`, `val` or `test`.
        seed: random seed; another one gives other episodes.
    """

    split: Split = "test"
    seed: Seed = 0


@dataclass(frozen=True)
class EpisodeOptions(PlanOptions):
    """Which episodes are drawn, from what, and how their images are cut.

    Attributes:
        margin: side of the square that images are cut to over the image size, of which the network sees the centre;
            by default that of the checkpoint's training (8/7 without one).
    """

    margin: Margin | None = None

    def transforms(self, default: float = TransformConfig.margin) -> TransformConfig:
        """How images are cut: with this margin, or that of the checkpoint where none is given."""
        return TransformConfig(margin=default if self.margin is None else self.margin)
