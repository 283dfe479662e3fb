"""What evaluation shows while it runs."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from smat.evaluation import EpisodeRow


def episode_progress(console: Console) -> Progress:
    """Bars of episodes, each with a status."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
    )


def follow(bar: Progress, description: str, episodes: int, first: int = 0) -> Callable[[EpisodeRow], None]:
    """A new bar, as a function that moves it on by an episode and shows the accuracy so far.

    Args:
        bar: display that it is added to.
        description: what is evaluated.
        episodes: number of episodes.
        first: number of episodes that were done before.
    """
    task = bar.add_task(description, total=episodes, completed=first, status="")
    sums: dict[str, float] = {}

    def show(row: EpisodeRow) -> None:
        for name, outcome in row.outcomes.items():
            sums[name] = sums.get(name, 0.0) + outcome.accuracy
        bar.update(task, advance=1)
        done = bar.tasks[bar.task_ids.index(task)].completed - first
        shown = list(sums.items())[:2]  # a line has no room for more
        bar.update(task, status="  ".join(f"{name} {100 * total / done:.1f} %" for name, total in shown))

    return show
