"""How much the experts' masks agree, and what they share: figures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from matplotlib.figure import Figure

from smat.analysis.contributions import Contributions
from smat.analysis.overlap import Null, Overlap, Sharing, overlap, sharing
from smat.recipes.analyse.panels import from_zero, in_percent, legend_below, name_rows, panels
from smat.recipes.analyse.parts import Cell, Drawn, Part, Table, percent
from smat.recipes.figure_style import HEAT, INK, PAGE, heat_map, look, styled

_LABELLED = 15  # pairs of experts that are named on an axis, at most
_STACKED = 4  # numbers of experts that bars tell apart; more are one

_NULLS: dict[Null, str] = {"density": "random masks", "layers": "random within layers"}


@dataclass(frozen=True)
class Agreement:
    """How far a pool's masks agree, counted in several ways."""

    overlap: Overlap
    whole: Sharing
    by_type: Sharing
    by_depth: Sharing

    @classmethod
    def of(cls, contributions: Contributions) -> "Agreement":
        """Count what a pool's experts have in common."""
        by_type, by_depth = sharing(contributions, "type"), sharing(contributions, "depth")
        return cls(overlap(contributions), sharing(contributions), by_type, by_depth)

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the two experts of each pair."""
        return np.triu_indices(len(self.overlap.first_sizes), 1)


def overlap_part(pools: Mapping[str, Agreement], names: Sequence[str], between: Overlap | None = None) -> Part:
    """The part of the page on what the masks have in common.

    Args:
        pools: by name: the pools that have several masks.
        names: names of all pools: the pool, and the one that it is compared with, if any.
        between: the masks of the first against those of the second.
    """
    in_short = [text for name, each in pools.items() for text in _in_short(name, each, len(names) > 1)]
    return Part(
        "Where they share, and where they specialise",
        "How far the experts' masks agree: Jaccard index, |A and B| / |A or B|, beside what random masks give.",
        texts=[*in_short, *([_between_sentence(names, between)] if between else [])],
        drawn=[*(_drawn(pools) if pools else ()), *(_drawn_between(names, between) if between else ())],
        tables=list(_tables(pools, names, between)),
        in_short=in_short,
    )


# -- words ----------------------------------------------------------------------------------------------------------


def _in_short(name: str, found: Agreement, named: bool) -> Iterator[str]:
    where = f" of {name}" if named else ""
    jaccard = found.overlap.jaccard
    seen, chance = (jaccard.observed[found.pairs], jaccard.expected["layers"][found.pairs])
    if np.isfinite(seen).any() and np.isfinite(chance).any():
        yield (
            f"Masks of two experts{where} have a Jaccard index of {np.nanmean(seen):.3f} on average; random masks "
            f"with as many open parameters in each layer have {np.nanmean(chance):.3f}."
        )
    shares = found.whole.share
    text = (
        f"Of the parameters that any expert{where} has open, {percent(shares[1] / max(shares[1:].sum(), 1e-12))} are "
    )
    yield f"{text}open in one alone, and {percent(shares[-1] / max(shares[1:].sum(), 1e-12))} in all {len(shares) - 1}."


def _between_sentence(names: Sequence[str], between: Overlap) -> str:
    seen, chance = between.jaccard.observed, between.jaccard.expected["layers"]
    return (
        f"A mask of {names[0]} and one of {names[1]} have a Jaccard index of {np.nanmean(seen):.3f} on average (at "
        f"most {np.nanmax(seen):.3f}); random masks with as many open parameters in each layer have "
        f"{np.nanmean(chance):.3f}."
    )


# -- figures --------------------------------------------------------------------------------------------------------


def _drawn(pools: Mapping[str, Agreement]) -> Iterator[Drawn]:
    listed = []
    for name, each in pools.items():
        seen = each.overlap.jaccard.observed[each.pairs]
        listed.append(f"{name}, {np.nanmin(seen):.3f} to {np.nanmax(seen):.3f} over {len(seen)} pairs")
    yield Drawn(
        "overlap",
        _overlaps(list(pools.values()), list(pools)),
        f"Jaccard index of every two experts' masks: {'; '.join(listed)}",
        "Each pair of experts, from the least to the most alike: the Jaccard index of their masks (filled), of random "
        "masks with as many open parameters (circles), and of those with as many in each type of layer at each depth "
        "(squares). What lies above the squares is agreement on single parameters, beyond that on layers. The bars of "
        "chance, of two standard deviations, are often too short to be seen.",
    )
    if len(next(iter(pools.values())).by_depth.labels[0]) > 1:
        yield Drawn(
            "sharing",
            _sharings(list(pools.values()), list(pools)),
            f"Share of parameters open in 1, 2, ... experts, by type of layer and by depth, of {', '.join(pools)}; the "
            "table sharing.csv has the numbers",
            "The share of parameters that are open in exactly so many experts, by type of layer (above) and by depth "
            "(below). Light: one expert alone, where they specialise; dark: many, where they share. The mark says how "
            "far the part of one expert alone would reach if masks were independent within layers.",
        )


@styled()
def _overlaps(found: Sequence[Agreement], names: Sequence[str]) -> Figure:
    figure, grid = panels(names, 2.4)
    for axes, each in zip(grid[0], found, strict=True):
        first, second = each.pairs
        jaccard = each.overlap.jaccard
        order = np.argsort(jaccard.observed[each.pairs], kind="stable")
        places = np.arange(len(order))
        for number, (null, label) in enumerate(_NULLS.items(), 1):
            mean, deviation = (values[null][each.pairs][order] for values in (jaccard.expected, jaccard.deviation))
            own = look(number)
            axes.errorbar(
                places, mean, yerr=2 * deviation, fmt="os"[number - 1], color=own.color, mfc="none", label=label, lw=0.8
            )
        axes.plot(places, jaccard.observed[each.pairs][order], "D", color=look(0).color, label="these experts")
        named = [f"{a}, {b}" for a, b in zip(first[order], second[order], strict=True)]
        axes.set_xticks(places if len(places) <= _LABELLED else [], named if len(places) <= _LABELLED else [])
        axes.tick_params("x", labelrotation=90 if len(places) > 6 else 0)
        axes.set_xlabel("pair of experts")
        axes.margins(y=0.08)
    from_zero(grid[0, 0])
    grid[0, 0].set_ylabel("Jaccard index of masks")
    legend_below(figure, grid[0])
    return figure


@styled()
def _sharings(found: Sequence[Agreement], names: Sequence[str]) -> Figure:
    kinds = len(found[0].by_type.labels[0])
    figure, grid = panels(names, 2.4 + 0.16 * kinds, rows=2)
    for (top, below), each in zip(grid.T, found, strict=True):
        for axes, part, across in ((top, each.by_type, True), (below, each.by_depth, False)):
            places, draw = np.arange(len(part.labels[0])), axes.barh if across else axes.bar
            begin = np.zeros(len(places))
            for number, (label, share) in enumerate(_stacked(part.share)):
                where = {"left" if across else "bottom": begin}
                colour = HEAT(0.15 + 0.8 * number / max(1, _STACKED - 1))
                draw(
                    places, share, 0.75, color=colour, label=label, hatch=look(number).hatch, edgecolor="white", **where
                )
                begin = begin + np.nan_to_num(share)
            chance = part.expected["layers"][1]
            marks = (chance, places) if across else (places, chance)
            axes.plot(*marks, "|" if across else "_", color=INK, markersize=6, label="one, by chance")
        name_rows(top, each.by_type.labels[0])
        top.set_xlabel("share of parameters, %")
        depths = each.by_depth.labels[0]
        below.set_xticks(np.arange(len(depths)), depths)
        for label in below.get_xticklabels():
            label.set_rotation(0 if label.get_text().isdigit() and len(depths) < 16 else 90)
        in_percent(top.xaxis)
        in_percent(below.yaxis, 4)
    grid[1, 0].set_ylabel("share of parameters, %")
    legend_below(figure, grid[0])
    return figure


def _stacked(share: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Shares of parameters that are open in 1, 2, ... experts; the largest numbers together."""
    experts = len(share) - 1
    for number in range(1, min(experts, _STACKED) + 1):
        last = number == _STACKED and experts > _STACKED
        label = f"{number} or more experts" if last else f"{number} expert{'s' if number > 1 else ''}"
        yield label, share[number:].sum(0) if last else share[number]


def _drawn_between(names: Sequence[str], between: Overlap) -> Iterator[Drawn]:
    seen = between.jaccard.observed
    yield Drawn(
        "overlap-against",
        _between(names, between),
        f"Jaccard index of each mask of {names[0]} with each of {names[1]}: {np.nanmin(seen):.3f} to "
        f"{np.nanmax(seen):.3f}",
        f"Left: the Jaccard index of each mask of {names[0]} (rows) with each of {names[1]} (columns); right: what "
        "is left of it after that of random masks with as many open parameters in each layer.",
    )


@styled()
def _between(names: Sequence[str], between: Overlap) -> Figure:
    seen = between.jaccard.observed
    rows, columns = ([f"expert {n}" for n in range(count)] for count in seen.shape)
    figure = Figure(figsize=(PAGE, 1.1 + 0.25 * len(rows)))
    left, right = figure.subplots(1, 2)
    excess = seen - between.jaccard.expected["layers"]
    for axes, values, label in ((left, seen, "Jaccard index"), (right, excess, "above chance")):
        low, high = min(0.0, float(np.nanmin(values))), max(0.01, float(np.nanmax(values)))
        heat_map(axes, values, rows, columns, label=label, form="{:z.3f}", bottom=low, top=high)
        axes.set_title(label)
        axes.set_xlabel(names[1])
        axes.set_ylabel(names[0])
    return figure


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(pools: Mapping[str, Agreement], names: Sequence[str], between: Overlap | None) -> Iterator[Table]:
    columns = ["pool", "expert", "other pool", "other expert", "open", "open in the other", "open in both", "Jaccard"]
    columns += [f"{what} {null}" for null in get_args(Null) for what in ("expected", "deviation", "z")]
    columns += ["containment", *(f"expected containment {null}" for null in get_args(Null))]
    rows = [
        row
        for name, each in pools.items()
        for row in _rows(
            name, name, each.overlap, [(i, j) for i, j in np.ndindex(each.overlap.intersection.shape) if i != j]
        )
    ]
    if between:
        rows += _rows(names[0], names[1], between, list(np.ndindex(between.intersection.shape)))
    yield Table("overlap", "Agreement of masks", columns, rows)
    groups = [
        [pool, axis, label, experts, int(part.counts[experts, index]), *_shares(part, experts, index)]
        for pool, each in pools.items()
        for axis, part in (("all", each.whole), ("type", each.by_type), ("depth", each.by_depth))
        for index, label in (enumerate(part.labels[0]) if part.axes else ((..., "all"),))
        for experts in range(len(part.counts))
    ]
    expected = [f"expected share {null}" for null in get_args(Null)]
    yield Table(
        "sharing",
        "Parameters that are open in so many experts",
        ["pool", "by", "group", "experts", "parameters", "share", *expected],
        groups,
    )


def _rows(first: str, second: str, found: Overlap, pairs: Sequence[tuple[int, int]]) -> Iterator[list[Cell]]:
    jaccard, contained = found.jaccard, found.containment
    for pair in pairs:
        i, j = pair
        sizes = int(found.first_sizes[i]), int(found.second_sizes[j]), int(found.intersection[pair])
        chance = [
            float(values[pair])
            for null in get_args(Null)
            for values in (jaccard.expected[null], jaccard.deviation[null], jaccard.z(null))
        ]
        containment = [float(contained.observed[pair]), *(float(contained.expected[n][pair]) for n in get_args(Null))]
        yield [first, str(i), second, str(j), *sizes, float(jaccard.observed[pair]), *chance, *containment]


def _shares(part: Sharing, experts: int, index: object) -> list[Cell]:
    expected = [float(part.expected[null][experts, index]) for null in get_args(Null)]  # pyright: ignore
    return [float(part.share[experts, index]), *expected]  # pyright: ignore
