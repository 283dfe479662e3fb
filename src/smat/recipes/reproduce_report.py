"""Tables and figures of `smat reproduce`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from smat.errors import ConfigError
from smat.evaluation import (
    Comparison,
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    comparison_table,
    role_lines,
)
from smat.files import write_whole
from smat.recipes.reproduce_plan import Setting


def write_tables(comparisons: Sequence[Comparison], stem: Path, console: Console) -> list[Path]:
    """Show the comparisons, and write them as `stem`.md, .csv and .tex; returns these files."""
    for comparison in comparisons:
        console.print(f"\n{comparison.title}", soft_wrap=True, highlight=False)
        console.print(comparison_table(comparison, console))
    texts = {
        ".md": "\n".join(map(comparison_markdown, comparisons)),
        ".csv": comparison_csv(comparisons),
        ".tex": "\n".join(map(comparison_latex, comparisons)),
    }
    paths = [stem.with_name(stem.name + end) for end in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text)
    return paths


def check_roles(roles: Sequence[str]) -> None:
    """Raise a `ConfigError` unless there are domains for both axes of a figure."""
    if missing := {"id", "ood"} - set(roles):
        raise ConfigError(
            f"the figure shows ID against OOD accuracy, and there are no {' or '.join(sorted(missing)).upper()} "
            "domains: give others with domains, or their role in a splits file"
        )


def draw_curves(comparison: Comparison, settings: Sequence[Setting], path: Path) -> None:
    """Draw ID accuracy against OOD accuracy, a curve a swept setting, with 95 % intervals over episodes."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    lines = role_lines(comparison)

    def of(names: Sequence[str], role: str) -> tuple[list[float], list[float]]:
        found = [lines[role].entries[name].accuracy for name in names]
        return [100 * i.mean for i in found], [100 * i.half_width for i in found]

    for curve in dict.fromkeys(setting.curve for setting in settings):
        points = [setting for setting in settings if setting.curve == curve]
        (x, dx), (y, dy) = (of([p.name for p in points], role) for role in ("ood", "id"))
        style = {"marker": "*", "markersize": 12, "color": "black"} if not curve else {"marker": "o", "markersize": 4}
        drawn = axes.errorbar(x, y, xerr=dx, yerr=dy, label=curve or points[0].name, linewidth=1, **style)
        for bars in drawn.lines[2]:
            bars.set(alpha=0.35, linewidth=0.8)
        for point, place in zip(points, zip(x, y, strict=True), strict=True):
            axes.annotate(point.label, place, textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set_xlabel("accuracy out of distribution, per cent")
    axes.set_ylabel("accuracy in distribution, per cent")
    axes.set_title(comparison.title, fontsize=9, wrap=True)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
