"""What was not used, and why: nothing is left out without a word.

Whoever leaves something out calls `leave_out`. A command collects these and says them at its end, where people look;
without a command each is a warning of the logger at once.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)


@dataclass
class LeftOut:
    """Things that were left out for one reason.

    Attributes:
        what: what one of them is, such as `file`, `class`, `folder`, `image`, `row`, `setting`.
        reason: why, with what to do where that is not plain.
        names: each of them, once.
    """

    what: str
    reason: str
    names: dict[str, None] = field(default_factory=dict)  # a set that keeps its order

    def __str__(self) -> str:
        first = next(iter(self.names))
        shown = f"such as '{first}'" if len(self.names) > 1 else f"'{first}'"
        several = f"{self.what}{'es' if self.what.endswith('s') else 's'} were"
        counted = f"{len(self.names)} {several}" if len(self.names) > 1 else f"1 {self.what} was"
        return f"{counted} left out: {self.reason} ({shown})"


_current: ContextVar[dict[tuple[str, str], LeftOut] | None] = ContextVar("left_out", default=None)


def leave_out(what: str, reason: str, names: Sequence[str]) -> None:
    """Say that something was not used; without names nothing happens.

    Args:
        what: what one of them is, such as `file`, `class`, `folder`, `image`, `row`, `setting`.
        reason: why, with what to do where that is not plain; things with the same reason are counted together.
        names: name of each; saying one twice counts once.
    """
    if not names:
        return
    collected = _current.get()
    if collected is None:
        _log.warning("%s", LeftOut(what, reason, dict.fromkeys(names)))
        return
    collected.setdefault((what, reason), LeftOut(what, reason)).names.update(dict.fromkeys(names))


@contextmanager
def collecting() -> Iterator[list[LeftOut]]:
    """Within the block what is left out is collected; the list has it, one entry for each reason, when it ends."""
    collected: dict[tuple[str, str], LeftOut] = {}
    entries: list[LeftOut] = []
    token = _current.set(collected)
    try:
        yield entries
    finally:
        _current.reset(token)
        entries += collected.values()
