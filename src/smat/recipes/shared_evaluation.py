"""Episodes that several processes of `smat evaluate --join` evaluate together, a file for each part."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from rich.console import Console

from smat.episodes import EpisodeSource
from smat.errors import CheckpointError
from smat.evaluation import EpisodeRow, FinishedPart, JointEvaluation, Outcome
from smat.files import write_whole, writing
from smat.recipes.sharing import Sharing
from smat.schema import Count, NotNegative, Number, Share, read_json

_SPAN = 25  # episodes in a file: what is lost with a process that dies
_ADVICE = "Remove it, and its episodes are evaluated again"


@dataclass(frozen=True)
class _Outcome:
    """An outcome as it is written."""

    confidence: Annotated[list[Share], Field(min_length=1)]
    correct: list[Share]
    seconds: NotNegative


@dataclass(frozen=True)
class _Row:
    """An episode as it is written."""

    id: str
    domain: str
    n: Number
    way: Count
    n_support: Count
    n_query: Count
    outcomes: dict[str, _Outcome]


@dataclass(frozen=True)
class _File:
    """What is in a file; see `FinishedPart`."""

    rows: list[_Row]
    rates: dict[str, list[NotNegative]]


class SharedEvaluation:
    """Evaluates with others that are given the same folder, checkpoints and episodes.

    Args:
        folder: the folder.
        joint: what evaluates.
        console: where to say that others are waited for.
    """

    def __init__(self, folder: Path, joint: JointEvaluation, console: Console) -> None:
        self.sharing, self.joint, self.console = Sharing(folder, True), joint, console
        self.parts = folder / "parts"

    def run(
        self,
        sources: Sequence[EpisodeSource],
        counts: Mapping[str, int],
        begin: Callable[[EpisodeSource], Callable[[EpisodeRow], None]],
    ) -> None:
        """Evaluate what nobody else does, wait for the rest, and have all of it.

        Args:
            sources: the episodes, a source for each domain.
            counts: their number, by domain.
            begin: gives, for each source, what is called with each of its episodes: own ones as they are finished, and
                those of others as soon as all of a domain are there.
        """
        by_name = {source.domains[0].name: source for source in sources}
        left = {name: self.sharing.spans(counts[name], _SPAN) for name in by_name}
        spans, own, heard, order = dict(left), set[tuple[str, int]](), {}, list(by_name)

        def mine(row: EpisodeRow) -> None:
            own.add((row.domain, row.n))
            heard[row.domain](row)

        while left:
            for name in list(left):  # where others have the rest of a domain in hand, the next one meanwhile
                if name not in heard:
                    heard[name] = begin(by_name[name])
                left[name] = [span for span in left[name] if not self._take(by_name[name], span, mine)]
                if not left[name]:
                    del left[name]
                    for row in self._collect(by_name[name], spans[name]):
                        if (name, row.n) not in own:
                            heard[name](row)
                    self.joint.rows.sort(key=lambda row: order.index(row.domain))
            if left:
                self.sharing.wait(f"parts of the evaluation: {sum(map(len, left.values()))}", self.console)

    def _collect(self, source: EpisodeSource, spans: Sequence[tuple[int, int]]) -> list[EpisodeRow]:
        """Add all parts of a domain to what is found; their episodes."""
        parts = [self._read(source, span) for span in spans]
        for part in parts:
            self.joint.add(source, part)
        return [row for part in parts for row in part.rows]

    def _take(self, source: EpisodeSource, span: tuple[int, int], on_episode: Callable[[EpisodeRow], None]) -> bool:
        """Evaluate a span unless it is there; False if another process does it."""
        path = self._path(source, span)
        if path.exists():
            return True
        with self.sharing.lease(path.name) as mine:
            if mine and not path.exists():
                part = self.joint.part(source, *span, on_episode)
                with writing(self.parts):
                    self.parts.mkdir(exist_ok=True)
                write_whole(path, json.dumps(_written(part)) + "\n")
            return mine

    def _path(self, source: EpisodeSource, span: tuple[int, int]) -> Path:
        """The file of a span: its name is of all that the results depend on."""
        keys = [key.text() for key in self.joint.keys(source).values()]
        names = [entrant.name for entrant in self.joint.entrants]
        given = list(source.plans[slice(*span)]) if source.plans is not None else None
        digest = hashlib.sha256(repr((keys, names, given, span)).encode()).hexdigest()[:16]
        return self.parts / f"{source.domains[0].name}-{span[0]}-{digest}.json"

    def _read(self, source: EpisodeSource, span: tuple[int, int]) -> FinishedPart:
        found = read_json(self._path(source, span), _File, CheckpointError, _ADVICE)
        rows = []
        for row in found.rows:
            outcomes = {
                name: Outcome(torch.tensor(each.confidence), torch.tensor(each.correct), each.seconds)
                for name, each in row.outcomes.items()
            }
            facts: dict[str, Any] = vars(row) | {"outcomes": outcomes}
            rows.append(EpisodeRow(**facts))
        return FinishedPart(rows, found.rates)


def _written(part: FinishedPart) -> dict[str, Any]:
    """A part as plain data."""
    rows = [
        vars(row)
        | {
            "outcomes": {
                name: {
                    "confidence": each.confidence.tolist(),
                    "correct": each.correct.tolist(),
                    "seconds": each.seconds,
                }
                for name, each in row.outcomes.items()
            }
        }
        for row in part.rows
    ]
    return {"rows": rows, "rates": part.rates}
