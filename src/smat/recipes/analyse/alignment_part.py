"""How far the gradients of different tasks point the same way at the checkpoints: a figure and a table."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from smat.analysis.alignment import alignment, difference
from smat.metatuning.alignment import PAIRS, GradientCosines, Pairs
from smat.recipes.analyse.panels import name_rows
from smat.recipes.analyse.parts import Drawn, Part, Table, number_of
from smat.recipes.figure_style import COLUMN, SOFT, look, styled
from smat.statistics import Interval


def alignment_part(pools: Mapping[str, GradientCosines]) -> Part:
    """The part of the page on the alignment of gradients.

    Args:
        pools: by name: cosines at the pool, and at the one that it is compared with, on the same tasks.
    """
    first = next(iter(pools.values()))
    return Part(
        "Do tasks pull the same way?",
        f"Cosines between the gradients of {number_of(len(first.tasks), 'task')}, taken at the checkpoint and not "
        "applied.",
        texts=[*(t for name, each in pools.items() for t in _sentences(name, each, len(pools) > 1)), *_compared(pools)],
        drawn=[_drawn(pools)],
        tables=[_table(pools)],
    )


def _sentences(name: str, found: GradientCosines, named: bool) -> Iterator[str]:
    where = f" at {name}" if named else ""
    within, between = (alignment(found, "delta", pairs) for pairs in ("within", "between"))
    if between.mean == between.mean:
        yield (
            f"Gradients of the update{where} have a mean cosine of {_with_width(within)} for two tasks of one "
            f"domain, and of {_with_width(between)} for tasks of two domains."
        )
    if found.sketched:
        yield f"Cosines of {', '.join(found.sketched)}{where} are of sketches, with an error of 0.016 or less."


def _compared(pools: Mapping[str, GradientCosines]) -> Iterator[str]:
    if len(pools) > 1:
        (first, one), (second, other) = pools.items()
        shared = "delta" in one.groups and "delta" in other.groups
        if shared and (gap := difference(one, other, "delta")).mean == gap.mean:
            yield f"{first} less {second}, of the same tasks: {_with_width(gap)} over all pairs."


def _with_width(interval: Interval) -> str:
    if interval.mean != interval.mean:
        return "unknown size"
    width = interval.half_width
    return f"{interval.mean:.3f}" + (f" ± {width:.3f}" if np.isfinite(width) else "")


def _drawn(pools: Mapping[str, GradientCosines]) -> Drawn:
    listed = [
        f"{name}, {group}, {pairs} {each.mean(group, pairs):.3f}"
        for name, each in pools.items()
        for group in each.groups
        for pairs in PAIRS
    ]
    return Drawn(
        "alignment",
        _figure(list(pools.values()), list(pools)),
        f"Mean cosines between tasks' gradients: {'; '.join(listed)}",
        "Mean cosine between the gradients of two tasks, with 95 % intervals (jackknife over tasks): of all pairs, of "
        "pairs within a domain and between domains, for the update, the gates and the router. Right of the line, tasks "
        "help each other.",
    )


@styled()
def _figure(found: Sequence[GradientCosines], names: Sequence[str]) -> Figure:
    groups = list(dict.fromkeys(group for each in found for group in each.groups))
    rows: list[tuple[str, Pairs]] = [(group, pairs) for group in groups for pairs in PAIRS]
    figure = Figure(figsize=(COLUMN, 0.75 + 0.17 * len(rows)))
    axes = figure.subplots()
    axes.axvline(0, color=SOFT, linewidth=0.8)
    for number, (name, each) in enumerate(zip(names, found, strict=True)):
        own, shift = look(number), 0.24 * (number - (len(found) - 1) / 2)
        there = [place for place, (group, _) in enumerate(rows) if group in each.groups]
        values = [alignment(each, *rows[place]) for place in there]
        axes.errorbar(
            [value.mean for value in values],
            [place + shift for place in there],
            xerr=np.nan_to_num([value.half_width for value in values]),
            fmt=own.marker,
            color=own.color,
            label=name,
            elinewidth=0.8,
        )
    name_rows(axes, [f"{group}, {pairs}" for group, pairs in rows])
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -1), min(high, 1))  # the interval of few tasks can be wider than what there is
    axes.set_xlabel("mean cosine of gradients")
    if len(found) > 1:
        figure.legend(loc="outside lower center", ncols=len(found))
    return figure


def _table(pools: Mapping[str, GradientCosines]) -> Table:
    rows = [
        [name, group, pairs, value.mean, value.half_width]
        for name, each in pools.items()
        for group in each.groups
        for pairs in PAIRS
        for value in (alignment(each, group, pairs),)
    ]
    return Table("alignment", "Alignment of gradients", ["pool", "group", "pairs", "mean cosine", "±"], rows)
