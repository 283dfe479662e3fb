"""Where the experts are open, and how much they move: figures and tables by type and depth of layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from smat.analysis.capacity import Capacity, capacity
from smat.analysis.contributions import Contributions
from smat.recipes.analyse.panels import draw_experts, from_zero, in_percent, legend_below, name_rows, panels
from smat.recipes.analyse.parts import Cell, Drawn, Part, Table, percent
from smat.recipes.figure_style import PALE, heat_map, styled

_RARE = 0.01  # share of a network's parameters below which a type of layer is not spoken of
_EVEN = 1.1  # times the whole network's share that all common types of layers stay below where they are alike
_CONCENTRATED = 0.4  # share of the blocks, in a row, that half of the open parameters lie in if they are not spread


@dataclass(frozen=True)
class Capacities:
    """A pool's capacity, counted in several ways."""

    gated: bool
    whole: Capacity
    by_type: Capacity
    by_depth: Capacity
    by_both: Capacity
    gate_values: np.ndarray | None

    @classmethod
    def of(cls, contributions: Contributions) -> "Capacities":
        """Count a pool's open gates in all ways."""
        return cls(
            contributions.gated,
            capacity(contributions),
            capacity(contributions, "type"),
            capacity(contributions, "depth"),
            capacity(contributions, "type", "depth"),
            contributions.gate_values,
        )


def capacity_part(pools: Mapping[str, Capacities]) -> Part:
    """The part of the page on where the experts are open.

    Args:
        pools: by name: the pool, and the one that it is compared with, if any.
    """
    gated = all(each.gated for each in pools.values())
    what = "open gates" if gated else "changed parameters"
    note = f"The share of {what}, and how much the experts move the network, by type and depth of layer."
    return Part(
        "Where the experts work",
        note,
        texts=[text for name, each in pools.items() for text in _sentences(name, each, len(pools) > 1)],
        drawn=list(_drawn(pools, what)),
        tables=list(_tables(pools)),
        in_short=[text for name, each in pools.items() for text in _in_short(name, each, len(pools) > 1)],
        experts={name: _of_experts(each) for name, each in pools.items()},
    )


# -- words ----------------------------------------------------------------------------------------------------------


def _in_short(name: str, found: Capacities, named: bool) -> Iterator[str]:
    whole, where = found.whole, f" of {name}" if named else ""
    shares = whole.share
    verb = "is open in" if found.gated else "changes"
    if shares.min() == 1:
        yield f"{'Every' if len(shares) > 1 else 'The'} expert{where} {verb} all parameters."
        return
    if len(shares) == 1:
        yield f"The expert{where} {verb} {percent(shares[0])} of the parameters, {_most(found, 0)}."
        return
    union = (
        f"all {len(shares)} together {'are open in' if found.gated else 'change'} {percent(float(whole.share_in_any))}"
    )
    each = f"Each expert{where} {verb} {_range(shares)} of the parameters"
    yield f"{each}; {union}."


def _of_experts(found: Capacities) -> dict[int, str]:
    """Where each expert is open: `is open in 8.1 % of the parameters, ...`; nothing where all are open everywhere."""
    verb, shares = "is open in" if found.gated else "changes", found.whole.share
    if shares.min() == 1:
        return {}
    return {
        expert: f"{verb} {percent(share)} of the parameters, {_most(found, expert)}"
        for expert, share in enumerate(shares)
    }


def _sentences(name: str, found: Capacities, named: bool) -> Iterator[str]:
    whole, where = found.whole, f" of {name}" if named else ""
    count = len(whole.share)
    move = whole.relative_energy
    amount = _range(move)
    yield (
        f"{'The expert' if count == 1 else 'Each expert'}{where}, alone and at full weight, moves the network by "
        f"{amount} of the norm of its pre-trained parameters."
    )
    if found.gate_values is not None:
        between = found.gate_values[:, 1].sum() / max(1, found.gate_values[:, 1:].sum())
        yield f"Of the open gates{where}, {percent(between)} are between 0 and 1; the others are 1."


def _range(shares: np.ndarray) -> str:
    return " to ".join(dict.fromkeys([percent(float(shares.min())), percent(float(shares.max()))]))


def _most(found: Capacities, expert: int) -> str:
    """In which layers an expert is most densely open, and which blocks have half of its open parameters."""
    kinds, share = found.by_type, found.by_type.share[expert]
    if not found.whole.open[expert]:
        return "that is, nothing"
    if found.whole.open[expert] == found.whole.params:
        return "that is, all of them"
    common = kinds.params >= _RARE * kinds.params.sum()
    best = int(np.where(common, share, -1).argmax())
    if share[best] < _EVEN * found.whole.share[expert]:
        return f"in all types of layers alike{_half_of(found.by_depth, expert)}"
    return (
        f"most densely in '{kinds.labels[0][best]}' layers ({percent(share[best])}){_half_of(found.by_depth, expert)}"
    )


def _half_of(found: Capacity, expert: int) -> str:
    """The fewest blocks in a row that have half of an expert's open parameters, where these are fewer than usual."""
    labels = found.labels[0]
    blocks = [index for index, label in enumerate(labels) if label.isdigit()]
    counts = found.open[expert][blocks]
    for length in range(1, int(_CONCENTRATED * len(blocks)) + 1):
        sums = np.convolve(counts, np.ones(length, dtype=counts.dtype), "valid")
        if sums.max() >= found.open[expert].sum() / 2:
            first, last = (labels[blocks[int(sums.argmax()) + step]] for step in (0, length - 1))
            where = f"block {first}" if length == 1 else f"blocks {first} to {last}"
            return f", half of them in {where} of {len(blocks)}"
    return ", spread over all blocks" if len(blocks) > 2 else ""


# -- figures --------------------------------------------------------------------------------------------------------


def _drawn(pools: Mapping[str, Capacities], what: str) -> Iterator[Drawn]:
    names = ", ".join(pools)
    one = next(iter(pools.values()))
    yield Drawn(
        "capacity-type",
        _by_type([each.by_type for each in pools.values()], list(pools), what),
        _alt(f"Share of {what} by type of layer", {name: each.by_type for name, each in pools.items()}),
        f"Upper panel: the share of {what} in each type of layer, per expert (marks), and in at least one of them "
        "(bar). Lower panel: the norm of what the expert adds over the norm of the pre-trained parameters. An open "
        "gate over an update of zero moves nothing, so the two can differ.",
    )
    dense = all(each.whole.share.min() == 1 for each in pools.values())  # shares of 1 everywhere would say nothing
    shown = (
        "the relative norm of the update, a mean over experts"
        if dense
        else f"the share of {what} in at least one expert"
    )
    if len(one.by_depth.labels[0]) > 1:
        yield Drawn(
            "capacity-depth",
            _by_depth([each.by_depth for each in pools.values()], list(pools), what),
            _alt(f"Share of {what} by depth", {name: each.by_depth for name, each in pools.items()}),
            f"The same from the input (left) to the output: above the share of {what}, below the relative norm of what "
            "the expert adds. Embedding is what comes before the first block, rest what comes after the last.",
        )
        yield Drawn(
            "capacity-type-depth",
            _by_both([each.by_both for each in pools.values()], list(pools), dense),
            f"Heat map of {shown}, types of layers by depth, of {names}; the table capacity-type-depth.csv has its "
            "numbers",
            f"{shown[0].upper()}{shown[1:]}, types of layers (rows) by depth (columns); dark is much. Where there is "
            "no such layer, the cell is empty.",
        )


def _alt(title: str, found: Mapping[str, Capacity]) -> str:
    parts = []
    for name, each in found.items():
        shares = each.share_in_any
        listed = ", ".join(f"{label} {percent(share)}" for label, share in zip(each.labels[0], shares, strict=True))
        parts.append(f"{name}, in at least one expert: {listed}")
    return f"{title}. {'; '.join(parts)}"


@styled()
def _by_type(found: Sequence[Capacity], names: Sequence[str], what: str) -> Figure:
    kinds = found[0].labels[0]
    places = np.arange(len(kinds))
    figure, grid = panels(names, 1.2 + 0.36 * len(kinds), rows=2)
    for (top, below), each in zip(grid.T, found, strict=True):
        top.barh(places, each.share_in_any, color=PALE, height=0.7, label="at least one expert")
        draw_experts(top, places, each.share, across=True)
        draw_experts(below, places, each.relative_energy, across=True)
        for axes, label in ((top, f"share of {what}, %"), (below, "relative norm of the update, %")):
            name_rows(axes, kinds)
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
            in_percent(axes.xaxis)
    legend_below(figure, grid[0])
    return figure


@styled()
def _by_depth(found: Sequence[Capacity], names: Sequence[str], what: str) -> Figure:
    depths = found[0].labels[0]
    places = np.arange(len(depths))
    figure, grid = panels(names, 3.4, rows=2, sharex=True)
    for column, each in zip(grid.T, found, strict=True):
        column[0].bar(places, each.share_in_any, color=PALE, width=0.7, label="at least one expert")
        for axes, values in zip(column, (each.share, each.relative_energy), strict=True):
            draw_experts(axes, places, values)
            axes.set_xticks(places, depths)
            in_percent(axes.yaxis, 4)
        for label in column[1].get_xticklabels():
            label.set_rotation(0 if label.get_text().isdigit() and len(depths) < 16 else 90)
        column[1].set_xlabel("block")
    for axes in grid[:, 0]:
        from_zero(axes)
    grid[0, 0].set_ylabel(f"{what}, %" if what == "open gates" else "changed, %")
    grid[1, 0].set_ylabel("relative norm, %")
    legend_below(figure, grid[0])
    return figure


@styled()
def _by_both(found: Sequence[Capacity], names: Sequence[str], dense: bool) -> Figure:
    kinds, depths = found[0].labels
    figure, grid = panels(names, 1.0 + 0.17 * len(kinds), sharey=False)
    amounts = [each.relative_energy.mean(0) if dense else each.share_in_any for each in found]
    top = float(np.nanmax([np.nanmax(each) for each in amounts])) or 1.0
    for axes, each in zip(grid[0], amounts, strict=True):
        label = "relative norm" if dense else "share in at least one expert"
        heat_map(axes, each, kinds, depths, label=label if axes is grid[0, -1] else "", top=top, numbers=False)
        axes.set_xlabel("block")
    for axes in grid[0, 1:]:
        axes.set_yticklabels([])
    return figure


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(pools: Mapping[str, Capacities]) -> Iterator[Table]:
    ways = (("type", "by_type"), ("depth", "by_depth"), ("type-depth", "by_both"))
    for name, attribute in ways:
        found = {pool: getattr(each, attribute) for pool, each in pools.items()}
        axes = next(iter(found.values())).axes
        columns = ["pool", "expert", *axes, "parameters", "open", "share open", "norm added", "norm pre-trained"]
        rows = [row for pool, each in found.items() for row in _rows(pool, each)]
        yield Table(f"capacity-{name}", f"Open parameters by {' and '.join(axes)}", columns, rows)
    rows = [
        [pool, expert, *map(int, values)]
        for pool, each in pools.items()
        for expert, values in enumerate(each.gate_values if each.gate_values is not None else ())
    ]
    if rows:
        yield Table("gate-values", "Gates that are 0, between, and 1", ["pool", "expert", "0", "between", "1"], rows)


def _rows(pool: str, found: Capacity) -> Iterator[list[Cell]]:
    for place in np.ndindex(found.params.shape):
        labels = [names[index] for names, index in zip(found.labels, place, strict=True)]
        params, pretrained = int(found.params[place]), float(found.pretrained_energy[place])
        if not params:
            continue
        for expert in range(len(found.open)):
            share, energy = float(found.share[(expert, *place)]), float(found.energy[(expert, *place)])
            yield [pool, str(expert), *labels, params, int(found.open[(expert, *place)]), share, energy, pretrained]
        union = int(found.open_in_any[place]), float(found.share_in_any[place])
        yield [pool, "any", *labels, params, *union, None, pretrained]
