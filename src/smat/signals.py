"""SIGINT and SIGTERM: work that is asked to end keeps what it has done."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_STOP = (signal.SIGINT, signal.SIGTERM)
_SAVING = b"\nWhat is done is being kept; Ctrl-C once more ends at once, and may lose it.\n"


class StopSignals:
    """A context in which SIGINT (Ctrl-C) and SIGTERM ask the work to end.

    The first asks. The second changes nothing, for by then what is done is being saved. A third SIGINT ends at once.
    Signals belong to the main thread: in others the context changes nothing. Contexts may lie within one another.

    Args:
        raising: whether the first one raises a `KeyboardInterrupt` at once; if not, the work looks at `asked`.

    Attributes:
        asked: the first signal; None before there was one.
    """

    def __init__(self, *, raising: bool = False) -> None:
        self.asked: signal.Signals | None = None
        self._raising, self._interrupts, self._process = raising, 0, os.getpid()

    def __enter__(self) -> "StopSignals":
        ours = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._receive) for number in _STOP if ours}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, StopSignals):  # it is not asked again
                outer.asked = outer.asked or self.asked
                outer._interrupts = max(outer._interrupts, self._interrupts)
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block, where nothing is lost by it, the first signal raises a `KeyboardInterrupt` at once."""
        self._raising = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._raising = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that was forked: the one that forked it decides
            return
        self._interrupts += number == signal.SIGINT
        if self.asked is None:
            self.asked = signal.Signals(number)
            if self._raising:
                raise KeyboardInterrupt
        elif self._interrupts > 2:
            raise KeyboardInterrupt
        elif number == signal.SIGINT:
            os.write(2, _SAVING)  # print() may be in the middle of something


@contextmanager
def held_back() -> Iterator[None]:
    """SIGINT and SIGTERM wait for the end of the block; processes that are started in it never get them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
