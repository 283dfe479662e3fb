"""The course of runs: what their logs say, recorded alignment, and how gates moved between kept pools."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smat.analysis.alignment import recorded_alignment
from smat.analysis.curves import GateCourse, RunCurves, Series
from smat.recipes.analyse.panels import TOLD_APART, from_zero, in_percent, legend_below, panels, say_empty
from smat.recipes.analyse.parts import Cell, Drawn, Part, Table, enumerated, number_of, percent
from smat.recipes.figure_style import INK, SOFT, look, styled

_WINDOW = 0.05  # of the run's length, that noisy series are averaged over
_GROUPS = {"delta": "update", "gates": "gates", "router": "router"}


def course_part(runs: Mapping[str, RunCurves], gates: Mapping[str, GateCourse]) -> Part:
    """The part of the page on the course of runs.

    Args:
        runs: by name: the run, and the one that it is compared with, if any.
        gates: how the gates moved in those runs that kept pools on the way.
    """
    return Part(
        "How it was learned",
        f"From the log of the training; noisy numbers are averages over a window of {percent(_WINDOW)} of the run.",
        texts=[text for name, run in runs.items() for text in _sentences(name, run, len(runs) > 1)],
        drawn=[*_drawn(runs), *(_drawn_gates(gates) if gates else ())],
        tables=list(_tables(runs, gates)),
    )


# -- words ----------------------------------------------------------------------------------------------------------


def _sentences(name: str, run: RunCurves, named: bool) -> Iterator[str]:
    which = f"The run {name}" if named else "The run"
    planned = f" of {run.planned:,}" if run.planned else ""
    early = ": it was stopped early" if run.planned and run.tasks < run.planned else ""
    yield f"{which} went over {run.tasks:,}{planned} tasks{early}."
    if run.best:
        tasks, accuracy = run.best
        yield f"Its best validation was after {tasks:,} tasks, at an accuracy of {percent(accuracy)}."
    if run.left_out:
        yield f"{number_of(run.left_out, 'line')} of its log left out: not whole, as a kill leaves it."
    for tasks, text in run.warnings[:5]:
        yield f"After {tasks:,} tasks it warned: {text}"


# -- figures --------------------------------------------------------------------------------------------------------


def _drawn(runs: Mapping[str, RunCurves]) -> Iterator[Drawn]:
    listed, names = list(runs.values()), enumerated(list(runs))
    ends = [
        f"{name} ends at {_last(run, 'accuracy')}, frozen {_last(run, 'accuracy/frozen')}" for name, run in runs.items()
    ]
    yield Drawn(
        "course-accuracy",
        _figure(list(runs), listed, _accuracy, "accuracy, %"),
        f"Accuracy on training tasks in the course of {names}: {'; '.join(ends)}",
        "Accuracy on the queries of training tasks: of the merged network, of the frozen one where it was logged, "
        "and on validation episodes (marks; the star is the best, whose pool is kept).",
    )
    if any(run.family("loss") for run in listed):
        yield Drawn(
            "course-loss",
            _figure(list(runs), listed, _losses, "loss"),
            f"Terms of the loss in the course of {names}",
            "The terms of the training loss, each as it enters the sum.",
        )
    if any(run.family("sparsity") for run in listed):
        yield Drawn(
            "course-sparsity",
            _figure(list(runs), listed, _of_experts("sparsity", share=True), "closed gates, %"),
            f"Sparsity of each expert in the course of {names}",
            "The share of each expert's gates that are exactly 0.",
        )
    if any(run.family("multiplier") for run in listed):
        yield Drawn(
            "course-multipliers",
            _figure(list(runs), listed, _of_experts("multiplier"), "multiplier"),
            f"Lagrange multipliers in the course of {names}",
            "The Lagrange multiplier of each expert: it grows while the expert is less sparse than asked for, and "
            "pushes its gates shut.",
        )
    if any(len(run.family("merge_weight")) > 1 for run in listed):
        yield Drawn(
            "course-routing",
            _figure(list(runs), listed, _routing, "mean merge weight; entropy"),
            f"Mean merge weights in the course of {names}",
            "The mean merge weight of each expert over training tasks, and the entropy of routing (black), 1 where all "
            "weigh the same.",
        )
    if any(run.family("gradient_norm") for run in listed):
        yield Drawn(
            "course-gradients",
            _figure(list(runs), listed, _gradients, "norm of the gradient"),
            f"Norms of gradients in the course of {names}",
            "The norm of the gradient of each group of parameters, before it is clipped.",
        )
    if any(recorded_alignment(run) for run in listed):
        yield Drawn(
            "course-alignment",
            _figure(list(runs), listed, _alignment, "mean cosine"),
            f"Alignment of the gradients of different tasks in the course of {names}",
            "The mean cosine between the gradients of different tasks, of the update (full colour), the gates and the "
            "router: of pairs of one domain (solid) and of two domains (dashed). Above 0, tasks help each other.",
        )


def _last(run: RunCurves, name: str) -> str:
    found = run.series.get(name)
    return percent(float(_smooth(run, found).values[-1])) if found is not None and len(found.values) else "unknown"


Draw = Callable[[Axes, RunCurves], None]


@styled()
def _figure(names: Sequence[str], runs: Sequence[RunCurves], draw: Draw, label: str) -> Figure:
    figure, grid = panels(names, 2.3, sharex=True)
    for axes, run in zip(grid[0], runs, strict=True):
        draw(axes, run)
        if not axes.get_legend_handles_labels()[1]:
            say_empty(axes, "not in its log")
        axes.set_xlabel("training tasks")
    grid[0, 0].set_ylabel(label)
    if draw is _routing:
        from_zero(grid[0, 0])
    legend_below(figure, grid[0])
    return figure


def _smooth(run: RunCurves, series: Series) -> Series:
    return series.smoothed(_WINDOW * run.tasks)


def _accuracy(axes: Axes, run: RunCurves) -> None:
    for number, (name, label) in enumerate((("accuracy", "merged"), ("accuracy/frozen", "frozen"))):
        if name in run.series:
            series = _smooth(run, run.series[name])
            axes.plot(series.tasks, series.values, label=label, **look(number).line)
    if "validation" in run.series:
        found = run.series["validation"]
        axes.plot(found.tasks, found.values, "D", color=look(2).color, label="validation")
    if run.best:
        axes.plot(*run.best, "*", color=INK, markersize=8, label="best")
    in_percent(axes.yaxis)


def _losses(axes: Axes, run: RunCurves) -> None:
    for number, (name, series) in enumerate(run.family("loss").items()):
        smooth = _smooth(run, series)
        axes.plot(smooth.tasks, smooth.values, label=name.replace("_", " "), **look(number).line)


def _of_experts(family: str, share: bool = False) -> Draw:
    def draw(axes: Axes, run: RunCurves) -> None:
        _experts(axes, run.family(family))
        if share:
            in_percent(axes.yaxis)

    return draw


def _experts(axes: Axes, series: Mapping[str, Series]) -> None:
    if len(series) > TOLD_APART:
        values, tasks = np.stack([each.values for each in series.values()]), next(iter(series.values())).tasks
        axes.fill_between(tasks, values.min(0), values.max(0), color=look(0).color, alpha=0.25, lw=0)
        label = f"median and range of {len(series)} experts"
        axes.plot(tasks, np.median(values, axis=0), label=label, **look(0).line)
        return
    for number, (name, each) in enumerate(series.items()):
        label = (f"expert {name}" if len(series) > 1 else "the expert") if name.isdigit() else f"{name} expert"
        axes.plot(each.tasks, each.values, label=label, **look(number).line)


def _routing(axes: Axes, run: RunCurves) -> None:
    _experts(axes, {name: _smooth(run, each) for name, each in run.family("merge_weight").items()})
    if "routing_entropy" in run.series:
        entropy = _smooth(run, run.series["routing_entropy"])
        axes.plot(entropy.tasks, entropy.values, color=INK, linewidth=1.6, label="entropy")


def _gradients(axes: Axes, run: RunCurves) -> None:
    for number, (name, series) in enumerate(run.family("gradient_norm").items()):
        if (series.values > 0).any():
            smooth = _smooth(run, series)
            axes.plot(smooth.tasks, smooth.values, label=name, **look(number).line)
    axes.set_yscale("log")


def _alignment(axes: Axes, run: RunCurves) -> None:
    for number, (group, by_pairs) in enumerate(recorded_alignment(run).items()):
        for pairs, line in (("within", "-"), ("between", "--")):
            if pairs in by_pairs:
                own, series = look(number), by_pairs[pairs]
                label = f"{_GROUPS.get(group, group)}, {pairs}"
                axes.plot(series.tasks, series.values, line, marker=own.marker, color=own.color, label=label)
    axes.axhline(0, color=SOFT, linewidth=0.6)


def _drawn_gates(gates: Mapping[str, GateCourse]) -> Iterator[Drawn]:
    ends = [f"{name}, {percent(float(each.moved_since_start[-1].mean()))}" for name, each in gates.items()]
    yield Drawn(
        "course-gates",
        _gate_figure(list(gates.values()), list(gates)),
        f"Share of gates that crossed zero between kept pools; since the start: {'; '.join(ends)}",
        "Between the pools that were kept on the way: above, the share of gates that became closed or open since the "
        "pool before, and that are otherwise than at the start; below, the share of gates that are 0, between, and "
        "1. Means over experts.",
    )


@styled()
def _gate_figure(gates: Sequence[GateCourse], names: Sequence[str]) -> Figure:
    figure, grid = panels(names, 3.6, rows=2, sharex=True)
    for (top, below), each in zip(grid.T, gates, strict=True):
        moved = {
            "became closed": each.became_closed,
            "became open": each.became_open,
            "otherwise than at the start": each.moved_since_start,
        }
        states = {"0": each.closed, "between": each.fractional, "1": each.full}
        for axes, drawn, first in ((top, moved, 0), (below, states, 3)):
            for number, (label, values) in enumerate(drawn.items(), first):
                axes.plot(each.tasks, values.mean(1), marker=look(number).marker, label=label, **look(number).line)
            in_percent(axes.yaxis)
            axes.legend()
        below.set_xlabel("training tasks")
    grid[0, 0].set_ylabel("share of gates, %")
    grid[1, 0].set_ylabel("share of gates, %")
    return figure


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(runs: Mapping[str, RunCurves], gates: Mapping[str, GateCourse]) -> Iterator[Table]:
    rows: list[Sequence[Cell]] = [
        [name, what, int(tasks), float(value)]
        for name, run in runs.items()
        for what, series in run.series.items()
        for tasks, value in zip(series.tasks, series.values, strict=True)
    ]
    yield Table("course", "Every number of the log", ["run", "name", "tasks", "value"], rows)
    moved: list[Sequence[Cell]] = [
        [name, int(tasks), str(expert), *(float(values[kept, expert]) for values in _movements(each))]
        for name, each in gates.items()
        for kept, tasks in enumerate(each.tasks)
        for expert in range(each.closed.shape[1])
    ]
    if moved:
        columns = ["run", "tasks", "expert", "0", "between", "1", "became closed", "became open"]
        columns += ["otherwise than at the start", "ever crossed"]
        yield Table("course-gates", "Gates in the kept pools, as shares", columns, moved)


def _movements(course: GateCourse) -> Sequence[np.ndarray]:
    states = course.closed, course.fractional, course.full
    return *states, course.became_closed, course.became_open, course.moved_since_start, course.ever_crossed
