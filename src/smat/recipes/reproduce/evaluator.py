"""Evaluating what is missing, for `smat reproduce`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from smat.adaptation import FineTuner
from smat.episodes import EpisodeSource
from smat.evaluation import (
    Cell,
    CellKey,
    Entrant,
    EpisodeRow,
    EvaluationSettings,
    FineTuned,
    FixedFeatures,
    Store,
    evaluate_domain,
)
from smat.experts import SparseInterpolatedExperts
from smat.recipes.episode_progress import episode_progress, follow
from smat.recipes.reproduce.plan import tunes
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.training import Workshop
from smat.recipes.sharing import Sharing

_AT_ONCE = 8  # pools in memory
_BLOCK = 25  # episodes between two saves; where it changes, stored blocks still fit together


class Planned(NamedTuple):
    """What is to be evaluated, before its pool is opened."""

    setting: Setting
    seed: int
    tuner: FineTuner

    @property
    def network(self) -> tuple[str, str, str, float] | None:
        """What is equal for all that are made of one pool; None: the backbone alone."""
        setting = self.setting
        if not setting.trained:
            return None
        return setting.training(self.seed), setting.pool, setting.change, setting.amount


def batches(settings: Sequence[Setting], seeds: Sequence[int], tuners: Sequence[FineTuner]) -> list[list[Planned]]:
    """Groups that see episodes together: those without fine-tuning share images and networks, the others go alone."""
    planned = [
        Planned(setting, seed, tuner)
        for tuner in tuners
        for setting in settings
        for seed in (seeds if setting.trained else [0])
        if tunes(tuner, setting)
    ]
    plain = [entry for entry in planned if not entry.tuner.trains]
    by_network = {entry.network: [other for other in plain if other.network == entry.network] for entry in plain}
    networks = list(by_network.values())
    parts = [networks[start : start + _AT_ONCE] for start in range(0, len(networks), _AT_ONCE)]
    return [[entry for entries in part for entry in entries] for part in parts] + [
        [entry] for entry in planned if entry.tuner.trains
    ]


@dataclass
class Evaluator:
    """Evaluates what the store lacks.

    Attributes:
        workshop: what gives the trained pools.
        backbone: the backbone of the base configuration, as a pool without experts.
        sources: test episodes, one source per domain.
        episodes: number of episodes per domain.
        settings: how everything is evaluated.
        store: finished results.
        sharing: who else does so.
    """

    workshop: Workshop
    backbone: SparseInterpolatedExperts
    sources: Sequence[EpisodeSource]
    episodes: int
    settings: EvaluationSettings
    store: Store
    sharing: Sharing

    def __post_init__(self) -> None:
        self.frozen = FixedFeatures(self.backbone, self.settings.precision, cache=self.settings.cache)

    def cells(self, batch: Sequence[Planned]) -> list[Cell]:
        """The results of a batch on all domains; finished ones come from the store."""
        pools = {planned.network: self._pool(planned) for planned in batch}
        entrants = []
        for planned in batch:
            setting, seed, tuner = planned
            pool = pools[planned.network]
            entrants.append(Entrant(setting.name, pool, tuner, setting.head, setting.strengths, seed))
        keys = [{entrant: entrant.key(source, self.settings) for entrant in entrants} for source in self.sources]
        spans = self.sharing.spans(self.episodes)
        left = [(source, of, span) for source, of in zip(self.sources, keys, strict=True) for span in spans]
        while left := [(source, of, span) for source, of, span in left if not self._take(source, of, span)]:
            self.sharing.wait(f"parts of the evaluation: {len(left)}", self.workshop.console)
        self.store.refresh()
        return [cell for of in keys for key in of.values() if (cell := self.store.find(key, self.episodes))]

    def _take(self, source: EpisodeSource, keys: Mapping[Entrant, CellKey], span: tuple[int, int]) -> bool:
        """Evaluate what is missing of a span of episodes; False if another process does it."""
        if not self._missing(keys, span):
            return True
        with self.sharing.lease(sorted(key.text() for key in keys.values()), span) as mine:
            if mine:
                missing = self._missing(keys, span)
                for first in sorted(set(missing.values())):
                    those = {entrant: keys[entrant] for entrant, begin in missing.items() if begin == first}
                    self._evaluate(those, source, first, span[1])
            return mine

    def _missing(self, keys: Mapping[Entrant, CellKey], span: tuple[int, int]) -> dict[Entrant, int]:
        """The entrants that lack episodes of a span, and the first one that each lacks."""
        self.store.refresh()
        first, stop = span
        found = {entrant: self.store.find(key, stop, first) for entrant, key in keys.items()}
        begins = {entrant: first + (len(cell.accuracies) if cell else 0) for entrant, cell in found.items()}
        return {entrant: begin for entrant, begin in begins.items() if begin < stop}

    def _pool(self, planned: Planned) -> SparseInterpolatedExperts:
        return self.workshop.open(planned.setting, planned.seed) if planned.setting.trained else self.backbone

    def _evaluate(self, keys: Mapping[Entrant, CellKey], source: EpisodeSource, first: int, stop: int) -> None:
        """Evaluate episodes first..stop-1; what is done is stored every few episodes."""
        domain = source.domains[0]
        contenders = {entrant: entrant.contender(source, self.settings) for entrant in keys}
        rows: list[EpisodeRow] = []

        def keep(row: EpisodeRow) -> None:
            follower(row)
            rows.append(row)
            if row.n + 1 == stop or (row.n + 1) % _BLOCK == 0:
                for entrant, contender in contenders.items():
                    rates = contender.rates[-len(rows) :] if isinstance(contender, FineTuned) else []
                    passes = entrant.passes(self.settings)
                    self.store.add(Cell.of(keys[entrant], domain.role, rows, entrant.label, rates, passes))
                rows.clear()

        with episode_progress(self.workshop.console) as bar:
            by_label = {entrant.label: contender for entrant, contender in contenders.items()}
            who = next(iter(by_label)) if len(by_label) == 1 else f"{len(by_label)} methods"
            follower = follow(bar, f"{domain.name}: {who}", stop, first)
            evaluate_domain(
                by_label,
                self.frozen,
                source,
                stop,
                first=first,
                workers=self.settings.workers,
                on_episode=keep,
            )
