"""Steps of fine-tuning on the screen."""

import time
from collections.abc import Callable

from rich.progress import Progress

LONG = 60.0
"""Seconds from which on it is said how long something will take."""

_TIMED = 3  # calls between which steps are timed; the first step of all is slower than others


def followed(progress: Progress, text: str) -> Callable[[int, int], None]:
    """A bar, as a function to be called after each step; where it takes long, a line says so after the first few.

    Args:
        progress: where the bar appears.
        text: what is being done.
    """
    task, times = progress.add_task(text, total=None), []

    def follow(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)
        if len(times) == _TIMED:
            return
        times.append(time.monotonic())
        rest = (times[-1] - times[0]) / max(len(times) - 1, 1) * (total - done)
        if len(times) == _TIMED and rest > LONG and not progress.disable:
            progress.console.print(f"{text}: about {rest / 60:.0f} minutes; Ctrl-C stops it", highlight=False)

    return follow
