"""Several networks on the same episodes, around one backbone or several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from smat.domains import Domain
from smat.episodes import Episode, EpisodeSource
from smat.evaluation.cells import Cell, CellKey
from smat.evaluation.contenders import FineTuned
from smat.evaluation.entrants import Entrant, EvaluationSettings, same_backbone
from smat.evaluation.protocol import Contender, EpisodeFeatures, EpisodeRow, FixedFeatures, evaluate_domain
from smat.experts import SparseInterpolatedExperts


@dataclass(frozen=True)
class FinishedPart:
    """Episodes of one domain that follow one another.

    Attributes:
        rows: the episodes.
        rates: learning rates of the fine-tuning in these episodes, by entrant; without fine-tuning none.
    """

    rows: list[EpisodeRow]
    rates: dict[str, list[float]]


class JointEvaluation:
    """Evaluates entrants domain by domain; those around one backbone share its frozen features.

    Args:
        entrants: of different names, for images of one format; at least one.
        settings: how they are evaluated.

    Attributes:
        rows: finished episodes, domain by domain.
    """

    def __init__(self, entrants: Sequence[Entrant], settings: EvaluationSettings) -> None:
        self.entrants, self.settings = entrants, settings
        self.rows: list[EpisodeRow] = []
        self._known: dict[str, tuple[Domain, Mapping[Entrant, CellKey]]] = {}
        self._begun: dict[str, Mapping[Entrant, Contender]] = {}  # which may have searched for learning rates
        self._rates: dict[tuple[str, str], list[float]] = {}  # of parts, by domain and entrant
        known: list[tuple[SparseInterpolatedExperts, FixedFeatures]] = []
        self._features: dict[Entrant, FixedFeatures] = {}
        for entrant in entrants:
            features = next((features for pool, features in known if same_backbone(pool, entrant.pool)), None)
            if features is None:
                features = FixedFeatures(entrant.pool, settings.precision, cache=settings.cache)
                known.append((entrant.pool, features))
            self._features[entrant] = features

    def run(self, source: EpisodeSource, episodes: int, on_episode: Callable[[EpisodeRow], None]) -> None:
        """Evaluate episodes of one domain.

        Args:
            source: the episodes.
            episodes: their number.
            on_episode: called after each of them.
        """

        def keep(row: EpisodeRow) -> None:
            self.rows.append(row)
            on_episode(row)

        self._evaluate(source, 0, episodes, keep)

    def part(
        self, source: EpisodeSource, first: int, stop: int, on_episode: Callable[[EpisodeRow], None]
    ) -> FinishedPart:
        """Evaluate episodes first..stop-1 of one domain, which are not added to `rows`: `add` does that."""
        contenders, rows = self._contenders(source), []
        before = {e.name: len(c.rates) for e, c in contenders.items() if isinstance(c, FineTuned)}

        def keep(row: EpisodeRow) -> None:
            rows.append(row)
            on_episode(row)

        self._evaluate(source, first, stop, keep)
        tuned = {e.name: c.rates[before[e.name] :] for e, c in contenders.items() if isinstance(c, FineTuned)}
        return FinishedPart(rows, tuned)

    def add(self, source: EpisodeSource, part: FinishedPart) -> None:
        """Add episodes of one domain that follow those that were added before."""
        self.keys(source)  # `cells` asks for them
        self.rows += part.rows
        for name, rates in part.rates.items():
            self._rates.setdefault((source.domains[0].name, name), []).extend(rates)

    def keys(self, source: EpisodeSource) -> Mapping[Entrant, CellKey]:
        """What the results of each entrant on a domain depend on."""
        domain = source.domains[0]
        if domain.name not in self._known:
            self._known[domain.name] = domain, {each: each.key(source, self.settings) for each in self.entrants}
        return self._known[domain.name][1]

    def _contenders(self, source: EpisodeSource) -> Mapping[Entrant, Contender]:
        self.keys(source)
        name = source.domains[0].name
        if name not in self._begun:
            self._begun[name] = {entrant: entrant.contender(source, self.settings) for entrant in self.entrants}
        return self._begun[name]

    def _evaluate(self, source: EpisodeSource, first: int, stop: int, on_episode: Callable[[EpisodeRow], None]) -> None:
        shared, contenders = self._features[self.entrants[0]], self._contenders(source)
        by_name = {
            entrant.name: contender
            if self._features[entrant] is shared
            else partial(_with_own_features, contender, self._features[entrant])
            for entrant, contender in contenders.items()
        }
        workers = self.settings.workers
        evaluate_domain(by_name, shared, source, stop, first=first, workers=workers, on_episode=on_episode)

    def cells(self) -> list[Cell]:
        """The results of each entrant on each domain of which an episode is finished."""
        found = []
        for name in dict.fromkeys(row.domain for row in self.rows):
            domain, keys = self._known[name]
            contenders, rows = self._begun.get(name, {}), [row for row in self.rows if row.domain == name]
            for entrant, key in keys.items():
                contender = contenders.get(entrant)
                own = contender.rates[: len(rows)] if isinstance(contender, FineTuned) else []
                rates = self._rates.get((name, entrant.name), own)
                found.append(Cell.of(key, domain.role, rows, entrant.name, rates, entrant.passes(self.settings)))
        return found


def _with_own_features(contender: Contender, frozen: FixedFeatures, episode: Episode, _: EpisodeFeatures) -> Tensor:
    return contender(episode, EpisodeFeatures(episode, frozen))
