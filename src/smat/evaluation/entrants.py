"""What takes part in an evaluation: a network under a name, and everything that its results depend on."""

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import torch

from smat.adaptation import FineTuneConfig, FineTuner, Kind, make_tuner
from smat.episodes import EpisodeSource, sampler_settings
from smat.evaluation.cells import CellKey, with_tuning
from smat.evaluation.contenders import Experts, Frozen
from smat.evaluation.learning_rates import Rule, fine_tuned, rule_for, validated_rate
from smat.evaluation.protocol import Contender
from smat.experts import MERGED, FeatureCache, SparseInterpolatedExperts, Strength
from smat.heads import Head, Prototype, usual_strengths
from smat.plugins import describe
from smat.precision import NetworkPrecision


@dataclass(frozen=True)
class EvaluationSettings:
    """How everything that takes part is evaluated.

    Attributes:
        tuning: settings of the fine-tuning.
        rule: how its learning rate is chosen.
        precision: precision of the networks.
        workers: number of processes that decode images ahead.
        validation: validation episodes of the domains with the role `validation`, one source each; where there are
            some, they choose the learning rate for all domains by the rule `validation`.
        cache: features of earlier runs, on disk; results do not depend on it.
    """

    tuning: FineTuneConfig = FineTuneConfig()
    rule: Rule = "validation"
    precision: NetworkPrecision = "32-true"
    workers: int = 0
    validation: tuple[EpisodeSource, ...] = ()
    cache: FeatureCache | None = field(default=None, compare=False)

    @property
    def validated(self) -> bool:
        """Whether domains with the role `validation` choose the learning rate."""
        return bool(self.validation) and self.rule == "validation"


@dataclass(frozen=True, eq=False)
class Entrant:
    """A network that is evaluated, as it is or fine-tuned on each support set.

    Attributes:
        name: its name in tables.
        pool: experts, or a backbone without; it is left as it was.
        adapt: fine-tuning, by name or as an object.
        head: what classifies its features; nearest prototypes by default.
        strengths: networks that the head gets the features of, by how far each goes from the frozen one to the merged
            one; None: as the head has it, and after fine-tuning the tuned one alone.
        seed: seed of its training; 0 for what is not trained.
    """

    name: str
    pool: SparseInterpolatedExperts
    adapt: Kind | FineTuner = "none"
    head: Head | None = None
    strengths: tuple[Strength, ...] | None = None
    seed: int = 0
    _rates: dict[EvaluationSettings, float] = field(default_factory=dict)

    @property
    def tuner(self) -> FineTuner:
        """What fine-tuning changes."""
        return make_tuner(self.adapt)

    @property
    def label(self) -> str:
        """Its name with the fine-tuning and the training seed, different for all that see episodes together."""
        return with_tuning(self.name, self.tuner.name) + (f" ({self.seed})" if self.seed else "")

    @property
    def networks(self) -> tuple[Strength, ...]:
        """Networks that the head gets the features of; of a pool without experts there is only one."""
        if not self.pool.config.experts:
            return MERGED
        return self.strengths or usual_strengths(self.head, self.tuner.trains)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of its pool."""
        return self.pool.fingerprint()

    def contender(self, source: EpisodeSource, settings: EvaluationSettings) -> Contender:
        """What classifies the queries in the episodes of a domain."""
        if self.tuner.trains:
            common = (settings.precision, settings.workers, self.head)
            if settings.validated and settings not in self._rates:
                chosen = (self.pool, self.tuner, settings.tuning, settings.validation)
                self._rates[settings] = validated_rate(*chosen, *common)
            rate = self._rates.get(settings)
            return fine_tuned(self.pool, self.tuner, settings.tuning, settings.rule, source, *common, rate)
        if self.pool.config.experts:
            return Experts(self.pool, settings.precision, self.head, self.networks, settings.cache)
        return Frozen(self.head or Prototype())

    def passes(self, settings: EvaluationSettings) -> int:
        """Passes through a network that a query image takes, if every network has a say."""
        networks = len(self.networks)
        if self.tuner.trains and settings.rule == "average":
            networks *= len(self.tuner.learning_rates(settings.tuning)) * settings.tuning.seeds
        return networks * len((self.head or Prototype()).views.query)

    def _rule(self, source: EpisodeSource, settings: EvaluationSettings) -> str:
        return "validation-domains" if settings.validated else rule_for(settings.rule, source)

    def key(self, source: EpisodeSource, settings: EvaluationSettings) -> CellKey:
        """Everything that its result on a domain depends on.

        What is as usual is not in it: class means, the merged network alone, the usual fine-tuners, one network after
        fine-tuning, tracks that are not kept apart. So keys are what they were before there was anything else.
        """
        (domain,) = source.domains
        protocol: dict[str, Any] = {
            "seed": source.seed,
            "sampler": sampler_settings(source.sampler),
            "margin": source.transforms.margin,
            "image_size": source.image_format.size,
            "precision": settings.precision,
        }
        chosen_by = settings.validation if self.tuner.trains and settings.validated else ()
        if apart := [name for each in (source, *chosen_by) for name in each.tracks_apart]:
            protocol["tracks_apart"] = apart
        if self.head:
            version = {"version": self.head.version} if self.head.version else {}
            protocol["head"] = describe(self.head) | version
        if self.networks != MERGED:
            protocol["strengths"] = [str(strength) for strength in self.networks]
        if self.tuner.trains:
            protocol["fine_tuning"] = asdict(replace(settings.tuning, flip=domain.flip))
            if settings.rule != "average":
                del protocol["fine_tuning"]["seeds"]
            if settings.validated:
                domains = [source.domains[0] for source in settings.validation]
                protocol["validation"] = {domain.name: domain.fingerprint for domain in domains}
            if self.tuner not in map(make_tuner, get_args(Kind)):
                protocol["fine_tuner"] = describe(self.tuner)
        return CellKey(
            method=self.name,
            seed=self.seed,
            adapt=self.tuner.name,
            learning_rate=self._rule(source, settings) if self.tuner.trains else "",
            domain=domain.name,
            split=source.split,
            protocol=protocol,
            data=domain.fingerprint,
            checkpoint=self.fingerprint,
        )


def same_backbone(first: SparseInterpolatedExperts, second: SparseInterpolatedExperts) -> bool:
    """Whether two pools are around the same frozen network, with the same images and features."""
    one, other = first.backbone.spec, second.backbone.spec
    return (
        (one.image_format, one.feature) == (other.image_format, other.feature)
        and first.layout == second.layout
        and torch.equal(first.pretrained.cpu(), second.pretrained.cpu())
    )
