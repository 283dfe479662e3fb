"""Evaluating what is missing, for `smat reproduce`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from smat.adaptation import FineTuneConfig, Kind
from smat.domains import Domain
from smat.episodes import EpisodeSource, sampler_settings
from smat.evaluation import (
    BASELINES,
    Cell,
    CellKey,
    Contender,
    EpisodeRow,
    Experts,
    FineTuned,
    Frozen,
    FrozenFeatures,
    Rule,
    Store,
    calibration_bins,
    evaluate_domain,
    fine_tuned,
    rule_for,
)
from smat.experts import Precision, SparseInterpolatedExperts
from smat.recipes.episode_progress import episode_progress, follow
from smat.recipes.reproduce.plan import Setting
from smat.recipes.reproduce.training import Workshop

_AT_ONCE = 8  # pools in memory
_BLOCK = 25  # episodes between two saves; where it changes, stored blocks still fit together


@dataclass(frozen=True)
class Entrant:
    """A setting's pool and how it is adapted.

    Attributes:
        setting: the method.
        seed: of its training; 0 without.
        adapt: `none`, `full` or `lora`.
    """

    setting: Setting
    seed: int
    adapt: Kind

    @property
    def name(self) -> str:
        """For the progress bar and rows of episodes."""
        kind = "" if self.adapt == "none" else f" + {self.adapt}"
        return f"{self.setting.name}{kind}" + (f" ({self.seed})" if self.seed else "")


def batches(settings: Sequence[Setting], seeds: Sequence[int], adapt: Sequence[Kind]) -> list[list[Entrant]]:
    """Entrants in groups that see episodes together: those without adaptation share images, the others go alone."""
    all_of_them = [
        Entrant(setting, seed, kind)
        for kind in adapt
        for setting in settings
        for seed in (seeds if setting.trained else [0])
        if kind == "none" or setting.method not in BASELINES
    ]
    plain = [entrant for entrant in all_of_them if entrant.adapt == "none"]
    groups = [plain[start : start + _AT_ONCE] for start in range(0, len(plain), _AT_ONCE)]
    return groups + [[entrant] for entrant in all_of_them if entrant.adapt != "none"]


@dataclass
class Evaluator:
    """Evaluates what the store lacks.

    Attributes:
        workshop: what gives the trained pools.
        untouched_pool: the backbone without experts.
        sources: test episodes, one source a domain.
        episodes: how many a domain.
        rule: how learning rates are chosen.
        tuning: of the fine-tuning.
        precision: of networks.
        store: of finished cells.
    """

    workshop: Workshop
    untouched_pool: SparseInterpolatedExperts
    sources: Sequence[EpisodeSource]
    episodes: int
    rule: Rule
    tuning: FineTuneConfig
    precision: Precision
    store: Store

    def __post_init__(self) -> None:
        self.frozen = FrozenFeatures(self.untouched_pool, self.precision)

    def cells(self, entrants: Sequence[Entrant]) -> list[Cell]:
        """Those of entrants that see episodes together, on all domains; finished ones come from the store."""
        pools = {
            e: self.workshop.open(e.setting, e.seed) if e.setting.trained else self.untouched_pool for e in entrants
        }
        prints = {entrant: pool.fingerprint() for entrant, pool in pools.items()}
        found = []
        for source in self.sources:
            keys = {entrant: self.key(entrant, source, prints[entrant]) for entrant in entrants}
            done = {entrant: self.done(key) for entrant, key in keys.items()}
            for first in sorted(set(done.values()) - {self.episodes}):
                missing = {entrant: pools[entrant] for entrant in entrants if done[entrant] == first}
                self._evaluate(missing, keys, source, first)
            found += [cell for key in keys.values() if (cell := self.store.find(key, self.episodes))]
        return found

    def done(self, key: CellKey) -> int:
        """How many of its episodes are stored."""
        cell = self.store.find(key, self.episodes)
        return len(cell.accuracies) if cell else 0

    def key(self, entrant: Entrant, source: EpisodeSource, checkpoint: str) -> CellKey:
        """Everything that the entrant's result on a domain depends on."""
        tuned = entrant.adapt != "none"
        protocol: dict[str, Any] = {
            "seed": source.seed,
            "sampler": sampler_settings(source.sampler),
            "margin": source.transforms.margin,
            "image_size": source.image_format.size,
            "precision": self.precision,
        }
        return CellKey(
            method=entrant.setting.name,
            seed=entrant.seed,
            adapt=entrant.adapt,
            learning_rate=rule_for(self.rule, source) if tuned else "",
            domain=source.domains[0].name,
            split=source.split,
            protocol=protocol
            | ({"fine_tuning": asdict(replace(self.tuning, flip=source.domains[0].flip))} if tuned else {}),
            data=source.domains[0].fingerprint,
            checkpoint=checkpoint,
        )

    def _evaluate(
        self,
        pools: Mapping[Entrant, SparseInterpolatedExperts],
        keys: Mapping[Entrant, CellKey],
        source: EpisodeSource,
        first: int,
    ) -> None:
        """Evaluate episodes from `first` on; what is done is stored every few episodes."""
        domain, workers = source.domains[0], self.workshop.workers
        contenders = {e: self._contender(e, pool, source) for e, pool in pools.items()}
        rows: list[EpisodeRow] = []

        def keep(row: EpisodeRow) -> None:
            follower(row)
            rows.append(row)
            if row.n + 1 == self.episodes or (row.n + 1) % _BLOCK == 0:
                for entrant, contender in contenders.items():
                    rates = contender.rates[-len(rows) :] if isinstance(contender, FineTuned) else []
                    self.store.add(cell(keys[entrant], domain, rows, entrant.name, rates))
                rows.clear()

        with episode_progress(self.workshop.console) as bar:
            names = [entrant.name for entrant in pools]
            who = names[0] if len(names) == 1 else f"{len(names)} methods"
            follower = follow(bar, f"{domain.name}: {who}", self.episodes, first)
            by_name = {entrant.name: contender for entrant, contender in contenders.items()}
            evaluate_domain(by_name, self.frozen, source, self.episodes, first=first, workers=workers, on_episode=keep)

    def _contender(self, entrant: Entrant, pool: SparseInterpolatedExperts, source: EpisodeSource) -> Contender:
        if entrant.adapt != "none":
            workers = self.workshop.workers
            return fine_tuned(pool, entrant.adapt, self.tuning, self.rule, source, self.precision, workers)
        if entrant.setting.trained:
            return Experts(pool, self.precision)
        return BASELINES.get(entrant.setting.method, Frozen())


def cell(key: CellKey, domain: Domain, rows: Sequence[EpisodeRow], name: str, rates: Sequence[float]) -> Cell:
    """What is kept of a contender's rows."""
    outcomes = [row.outcomes[name] for row in rows]
    return Cell(
        key=key,
        role=domain.role,
        first=rows[0].n,
        accuracies=[outcome.accuracy for outcome in outcomes],
        calibration=calibration_bins(rows, name).tolist(),
        seconds=sum(outcome.seconds for outcome in outcomes),
        rates=list(rates),
    )
