"""Several networks on the same episodes, around one backbone or several."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor

from smat.domains import Domain
from smat.episodes import Episode, EpisodeSource
from smat.evaluation.cells import Cell, CellKey
from smat.evaluation.contenders import FineTuned
from smat.evaluation.entrants import Entrant, EvaluationSettings, same_backbone
from smat.evaluation.protocol import Contender, EpisodeFeatures, EpisodeRow, FixedFeatures, evaluate_domain
from smat.experts import SparseInterpolatedExperts


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
        self._begun: list[tuple[Domain, Mapping[Entrant, CellKey], Mapping[Entrant, Contender]]] = []
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
        contenders = {entrant: entrant.contender(source, self.settings) for entrant in self.entrants}
        keys = {entrant: entrant.key(source, self.settings) for entrant in self.entrants}
        self._begun.append((source.domains[0], keys, contenders))
        shared = self._features[self.entrants[0]]

        def keep(row: EpisodeRow) -> None:
            self.rows.append(row)
            on_episode(row)

        by_name = {
            entrant.name: contender
            if self._features[entrant] is shared
            else partial(_with_own_features, contender, self._features[entrant])
            for entrant, contender in contenders.items()
        }
        evaluate_domain(by_name, shared, source, episodes, workers=self.settings.workers, on_episode=keep)

    def cells(self) -> list[Cell]:
        """The results of each entrant on each domain of which an episode is finished."""
        found = []
        for domain, keys, contenders in self._begun:
            if rows := [row for row in self.rows if row.domain == domain.name]:
                for entrant, key in keys.items():
                    contender = contenders[entrant]
                    rates = contender.rates[: len(rows)] if isinstance(contender, FineTuned) else []
                    found.append(Cell.of(key, domain.role, rows, entrant.name, rates, entrant.passes(self.settings)))
        return found


def _with_own_features(contender: Contender, frozen: FixedFeatures, episode: Episode, _: EpisodeFeatures) -> Tensor:
    return contender(episode, EpisodeFeatures(episode, frozen))
