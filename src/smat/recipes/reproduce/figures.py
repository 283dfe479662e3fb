"""Figures of `smat reproduce`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from smat.errors import ConfigError
from smat.evaluation import Comparison, role_lines
from smat.files import write_whole
from smat.recipes.reproduce.plan import Setting

_CLOSE = 14  # pixels


def check_roles(roles: Sequence[str]) -> None:
    """Raise a `ConfigError` unless there are domains for both axes of a figure."""
    if missing := {"id", "ood"} - set(roles):
        raise ConfigError(
            f"the figure shows ID against OOD accuracy, and there are no {' or '.join(sorted(missing)).upper()} "
            "domains: give others with domains, or their role in a splits file"
        )


def draw_curves(comparison: Comparison, settings: Sequence[Setting], path: Path) -> None:
    """Draw ID accuracy against OOD accuracy, one curve per swept setting, with 95 % intervals over episodes."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    lines = role_lines(comparison)

    def of(names: Sequence[str], role: str) -> tuple[list[float], list[float]]:
        found = [lines[role].entries[name].accuracy for name in names]
        return [100 * i.mean for i in found], [100 * i.half_width for i in found]

    curves: list[tuple[list[str], np.ndarray, Any]] = []
    for curve in dict.fromkeys(setting.curve for setting in settings):
        points = [setting for setting in settings if setting.curve == curve]
        (x, dx), (y, dy) = (of([p.name for p in points], role) for role in ("ood", "id"))
        style = {"marker": "*", "markersize": 12, "color": "black"} if not curve else {"marker": "o", "markersize": 4}
        drawn = axes.errorbar(x, y, xerr=dx, yerr=dy, label=curve or points[0].name, linewidth=1, **style)
        for bars in drawn.lines[2]:
            bars.set(alpha=0.35, linewidth=0.8)
        if curve:
            curves.append(([p.label for p in points], np.column_stack([x, y]), drawn.lines[0].get_color()))
    axes.set_xlabel("accuracy out of distribution, per cent")
    axes.set_ylabel("accuracy in distribution, per cent")
    axes.set_title(comparison.title, fontsize=9, wrap=True)
    axes.legend(fontsize=8, loc="lower right")  # curves lead from the lower left to the upper right
    axes.grid(alpha=0.3)
    figure.draw_without_rendering()  # only now is known where on the picture a point lies
    for number, (labels, positions, color) in enumerate(curves):
        side = (4, -9) if number % 2 else (4, 4)
        for label, position in shared_labels(labels, positions, axes.transData.transform(positions)):
            axes.annotate(
                label, (position[0], position[1]), textcoords="offset points", xytext=side, fontsize=7, color=color
            )
    write_whole(path, lambda file: figure.savefig(file, dpi=150), keep=True)


def shared_labels(labels: Sequence[str], positions: np.ndarray, pixels: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Labels and positions: one label for points that are so close to each other that theirs would overlap."""
    groups: list[list[int]] = []
    for n in range(len(labels)):
        near = (group for group in groups if np.abs(pixels[group] - pixels[n]).max(axis=1).min() < _CLOSE)
        group = next(near, None)
        if group is None:
            groups.append([n])
        else:
            group.append(n)
    return [(", ".join(labels[n] for n in group), positions[group[0]]) for group in groups]
