"""What an evaluation adds to the cards of the checkpoints that it evaluated."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import smat
from smat.errors import ConfigError
from smat.evaluation import Cell, Entrant, same_backbone
from smat.experts import Result, add_to_card, check_card
from smat.experts.card import CARD
from smat.heads import Head
from smat.left_out import leave_out
from smat.plugins import import_path
from smat.statistics import Interval, interval, paired_difference


def check_cards(checkpoints: Mapping[str, str], entrants: Sequence[Entrant]) -> None:
    """Make sure, before long work, that results can be added to the cards of checkpoints.

    Args:
        checkpoints: folders by name.
        entrants: what is evaluated.

    Raises:
        ConfigError: no experts are evaluated, or their checkpoint is no folder of this machine that can be written to.
        CheckpointError: a card is damaged.
    """
    with_results = [path for name, path in checkpoints.items() if _experts_of(name, entrants)]
    if not with_results:
        raise ConfigError(
            f"--card adds results of experts, and none are evaluated of {', '.join(checkpoints.values())}: leave "
            "--card out, or evaluate experts (--method)"
        )
    reason = "no experts of it are evaluated, of which its card would have the results"
    leave_out("checkpoint", reason, [path for path in checkpoints.values() if path not in with_results])
    for path in with_results:
        check_local_card(path)


def check_local_card(path: str) -> None:
    """Make sure, before long work, that something can be added to the card of a checkpoint.

    Raises:
        ConfigError: the checkpoint is no folder of this machine that can be written to.
        CheckpointError: its card is damaged.
    """
    if not Path(path).is_dir():
        raise ConfigError(
            f"--card adds to the card in a checkpoint's folder, and '{path}' is no folder on this machine: save "
            "the pool as one (save_pretrained) and give that, or leave --card out"
        )
    check_card(Path(path))


def add_results(
    checkpoints: Mapping[str, str], entrants: Sequence[Entrant], cells: Sequence[Cell], head: Head | str
) -> list[Path]:
    """Add the results of the experts of checkpoints to their cards, and give the cards that were changed.

    Args:
        checkpoints: folders by name.
        entrants: what was evaluated.
        cells: results of each of them.
        head: head of those that name none.

    Raises:
        SmatError: a card cannot be read or written.
    """
    changed = []
    for name, folder in checkpoints.items():
        own = _experts_of(name, entrants)
        found = [_result(e, cell, entrants, cells, head) for e in own for cell in cells if cell.key.method == e.name]
        if found:
            add_to_card(folder, "results", found)
            changed.append(Path(folder) / CARD)
    return changed


def _experts_of(checkpoint: str, entrants: Sequence[Entrant]) -> list[Entrant]:
    """Those that are experts of a checkpoint, by its name; the only one has none."""
    return [e for e in entrants if e.pool.config.experts and checkpoint in ("", _method(e.name))]


def _method(contender: str) -> str:
    """The name of a checkpoint or method that the name of a contender begins with."""
    return contender.partition("+")[0].partition("@")[0]


def _result(
    entrant: Entrant, cell: Cell, entrants: Sequence[Entrant], cells: Sequence[Cell], head: Head | str
) -> Result:
    key, found = cell.key, interval(cell.accuracies)
    method, headed, own_head = entrant.name.partition("+")
    sampler: dict[str, Any] = key.protocol["sampler"]
    difference = _difference(entrant, cell, entrants, cells)
    return Result(
        checkpoint=key.checkpoint,
        smat_version=smat.__version__,
        method=entrant.pool.config.method + method.removeprefix(_method(method)),
        head=own_head if headed else head if isinstance(head, str) else import_path(type(head)),
        adapt=key.adapt,
        learning_rate=key.learning_rate,
        domain=key.domain,
        role=cell.role,
        data=key.data,
        split=key.split,
        sampler=sampler["name"],
        way=sampler.get("way"),
        shot=sampler.get("shot"),
        query=sampler.get("query"),
        seed=key.protocol["seed"],
        episodes=len(cell.accuracies),
        accuracy=found.mean,
        half_width=_half_width(found),
        difference=difference and difference.mean,
        difference_half_width=difference and _half_width(difference),
    )


def _difference(entrant: Entrant, cell: Cell, entrants: Sequence[Entrant], cells: Sequence[Cell]) -> Interval | None:
    """The difference to the frozen backbone with the same head, where that was evaluated too."""
    frozen = {
        other.name
        for other in entrants
        if not other.pool.config.experts and other.head == entrant.head and same_backbone(other.pool, entrant.pool)
    }
    of_it = (c for c in cells if c.key.method in frozen and c.key.domain == cell.key.domain)
    other = next((c for c in of_it if len(c.accuracies) == len(cell.accuracies)), None)
    return paired_difference(cell.accuracies, other.accuracies) if other else None


def _half_width(found: Interval) -> float | None:
    return found.half_width if math.isfinite(found.half_width) else None
