"""What the experts change for single images and classes, and for accuracy against ways and shots."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from smat.analysis.accuracy import GridCell, PairedAccuracy
from smat.analysis.won_lost import Confusion, Judgement, WonLost, distinct
from smat.domains import Domain
from smat.errors import DataError
from smat.left_out import leave_out
from smat.recipes.analyse.panels import in_percent, legend_below, name_rows, panels
from smat.recipes.analyse.parts import Cell, Drawn, Part, Table
from smat.recipes.figure_style import COLUMN, PAGE, SOFT, heat_map, look, styled
from smat.recipes.pages import Card, Picture, jpeg_of
from smat.statistics import Interval, average

_SIDE, _SHOWN = 96, 6  # pixels of a thumbnail, and how many each of won and lost
_CLASSES = 10  # of a confusion matrix, at most


@dataclass(frozen=True)
class Changes:
    """What a pool's experts change on the domains.

    Attributes:
        queries: the frozen and the merged network on the same queries, by domain.
        grid: accuracy against ways and shots, by domain.
    """

    queries: Sequence[WonLost]
    grid: Mapping[str, Sequence[GridCell]]

    @property
    def gain(self) -> Interval:
        """Accuracy of the merged network less that of the frozen one, averaged over the domains."""
        return average([each.accuracy.difference for each in self.queries])


def images_parts(pools: Mapping[str, Changes], domains: Mapping[str, Domain]) -> list[Part]:
    """The parts of the page on accuracy, and on images that were won and lost.

    Args:
        pools: by name: the pool, and the one that it is compared with, if any.
        domains: by name, to show their images.
    """
    sentences = [_gain_sentence(name, each, len(pools) > 1) for name, each in pools.items()]
    accuracy = Part(
        "What the experts change",
        "The merged and the frozen network with the same head on the same episodes.",
        texts=sentences,
        drawn=list(_drawn(pools)),
        tables=list(_tables(pools)),
        in_short=sentences,
    )
    sheets = [_sheet(name if len(pools) > 1 else "", each, domains) for name, each in pools.items()]
    return [accuracy, *sheets]


# -- words ----------------------------------------------------------------------------------------------------------


def _gain_sentence(name: str, found: Changes, named: bool) -> str:
    where, gain = f" of {name}" if named else "", found.gain
    by_gain = sorted(found.queries, key=lambda each: -each.accuracy.difference.mean)
    worst, best = by_gain[-1], by_gain[0]
    text = f"The experts{where} change accuracy by {_points(gain)} points on average"
    if len(by_gain) < 2:
        return f"{text}, from {100 * best.accuracy.frozen.mean:.1f} to {100 * best.accuracy.merged.mean:.1f} %."
    ends = [f"{each.domain} ({100 * each.accuracy.difference.mean:+.1f})" for each in (best, worst)]
    return f"{text} of {len(by_gain)} domains, most on {ends[0]}, least on {ends[1]}."


def _points(interval: Interval) -> str:
    half = interval.half_width
    return f"{100 * interval.mean:+.1f}" + (f" ± {100 * half:.1f}" if np.isfinite(half) else "")


# -- figures --------------------------------------------------------------------------------------------------------


def _drawn(pools: Mapping[str, Changes]) -> Iterator[Drawn]:
    listed = [
        f"{name}: {', '.join(f'{e.domain} {100 * e.accuracy.difference.mean:+.1f}' for e in each.queries)}"
        for name, each in pools.items()
    ]
    yield Drawn(
        "accuracy-domains",
        _gains(list(pools.values()), list(pools)),
        f"Accuracy of the merged less that of the frozen network in points: {'; '.join(listed)}",
        "Accuracy of the merged network less that of the frozen one on the same episodes, with 95 % intervals over "
        "episodes. Right of the line, the experts help.",
    )
    shown = {name: lines for name, each in pools.items() if (lines := accuracy_lines(each.grid))}
    if shown:
        yield Drawn(
            "accuracy-shots",
            _against_shots(list(shown.values()), list(shown)),
            f"Accuracy against shots, one line per number of ways, of {', '.join(shown)}; the table "
            "accuracy-grid.csv has the numbers",
            "Accuracy against the number of labelled images per class: of the merged network (solid) and the frozen "
            "one (dashed), for several numbers of classes. Means over the domains that have enough classes and "
            "images for all points of a line.",
        )
    for number, (name, each) in enumerate(pools.items()):
        for found in each.queries:
            if found.confusion.frozen.sum() > np.trace(found.confusion.frozen):
                whose = f" ({name})" if len(pools) > 1 else ""
                yield Drawn(
                    f"confusion-{found.domain}{'-against' if number else ''}",
                    _confusions(found.confusion),
                    f"Confusions of classes of {found.domain}{whose} by the frozen and the merged network; the table "
                    "confusions.csv has the numbers",
                    f"{found.domain}{whose}: how often images of a class (row) are taken for another (column), of "
                    "those that could be; left by the frozen network, right by the merged one. "
                    f"{_which_classes(found.confusion)}",
                )


def _which_classes(confusion: Confusion) -> str:
    if len(confusion.classes) <= _CLASSES:
        return "All classes that the episodes have."
    return f"The {_CLASSES} classes that are confused most, of {len(confusion.classes)}."


@styled()
def _gains(found: Sequence[Changes], names: Sequence[str]) -> Figure:
    domains = [each.domain for each in found[0].queries]
    figure = Figure(figsize=(COLUMN, 0.75 + 0.16 * len(domains)))
    axes = figure.subplots()
    axes.axvline(0, color=SOFT, linewidth=0.8)
    for number, (name, each) in enumerate(zip(names, found, strict=True)):
        gains = [query.accuracy.difference for query in each.queries]
        places = np.arange(len(domains)) + 0.24 * (number - (len(found) - 1) / 2)
        own, widths = look(number), np.nan_to_num([gain.half_width for gain in gains])
        means = [gain.mean for gain in gains]
        axes.errorbar(means, places, xerr=widths, fmt=own.marker, color=own.color, label=name, elinewidth=0.8)
    name_rows(axes, domains)
    axes.set_xlabel("merged less frozen, points")
    in_percent(axes.xaxis)
    if len(found) > 1:
        figure.legend(loc="outside lower center", ncols=len(found))
    return figure


Line = tuple[int, int, list[int], list[Interval], list[Interval]]
"""Ways, number of domains, shots, and accuracies of the frozen and the merged network at each."""


def accuracy_lines(grid: Mapping[str, Sequence[GridCell]]) -> list[Line]:
    """Accuracy against shots for each number of ways, over the domains that have all points of the line."""
    cells = {(name, cell.way, cell.shot): cell.accuracy for name, found in grid.items() for cell in found}
    lines: list[Line] = []
    for way in sorted({way for _, way, _ in cells}):
        shots = sorted({shot for _, of, shot in cells if of == way})
        whole = [name for name in grid if all((name, way, shot) in cells for shot in shots)]
        if whole:
            at = [[cells[name, way, shot] for name in whole] for shot in shots]
            lines.append((way, len(whole), shots, _averages(at, "frozen"), _averages(at, "merged")))
    return lines


def _averages(at: Sequence[Sequence[PairedAccuracy]], which: str) -> list[Interval]:
    return [average([getattr(accuracy, which) for accuracy in point]) for point in at]


@styled()
def _against_shots(found: Sequence[Sequence[Line]], names: Sequence[str]) -> Figure:
    figure, grid = panels(names, 2.6)
    for axes, lines in zip(grid[0], found, strict=True):
        shots = sorted({shot for line in lines for shot in line[2]})
        for number, (way, domains, own_shots, frozen, merged) in enumerate(lines):
            own = look(number)
            for values, line, label in ((merged, "-", f"{way}-way, {domains} domains"), (frozen, "--", None)):
                widths = np.nan_to_num([each.half_width for each in values])
                means = [each.mean for each in values]
                axes.errorbar(
                    own_shots,
                    means,
                    yerr=widths,
                    fmt=line,
                    marker=own.marker,
                    color=own.color,
                    label=label,
                    elinewidth=0.7,
                    mfc=own.color if line == "-" else "white",
                )
        axes.set_xscale("log")
        axes.set_xticks(shots, [str(shot) for shot in shots])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("shots")
        in_percent(axes.yaxis)
    grid[0, 0].set_ylabel("accuracy, %")
    legend_below(figure, grid[0])
    return figure


@styled()
def _confusions(confusion: Confusion) -> Figure:
    wrong = confusion.frozen + confusion.merged
    wrong = wrong - np.diag(np.diag(wrong))
    most = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:_CLASSES]
    kept = np.sort(most)
    names = [_short(confusion.classes[index]) for index in kept]
    figure = Figure(figsize=(PAGE, 0.9 + 0.2 * len(kept)))
    for axes, counts, title in zip(
        figure.subplots(1, 2), (confusion.frozen, confusion.merged), ("frozen", "merged"), strict=True
    ):
        offered = confusion.offered[np.ix_(kept, kept)]
        rates = np.where(offered, counts[np.ix_(kept, kept)] / np.maximum(offered, 1), np.nan)
        last = title == "merged"
        heat_map(axes, rates, names if not last else [""] * len(names), names, label="rate" if last else "", top=1.0)
        axes.set_title(title)
    return figure


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


# -- thumbnails -----------------------------------------------------------------------------------------------------


def _sheet(name: str, found: Changes, domains: Mapping[str, Domain]) -> Part:
    cards = [card for each in found.queries for card in _cards(each, domains[each.domain])]
    return Part(
        f"Images won and lost{f': {name}' if name else ''}",
        "Of each domain, images that only the merged network gets right (green), then those that only the frozen one "
        "gets right (red), the clearest first.",
        cards=cards,
    )


def _cards(found: WonLost, domain: Domain) -> Iterator[Card]:
    for judgements, mark, what in ((found.won, "right", "won"), (found.lost, "wrong", "lost")):
        shown = distinct(judgements, _SHOWN)
        if shown:
            text = f"{found.domain}: {len(judgements):,} {what} of {len(found.judgements):,}"
            yield Card([_picture(domain, each, mark) for each in shown], text)


def _picture(domain: Domain, judgement: Judgement, mark: str) -> Picture:
    source = None
    try:
        source = jpeg_of(domain.image(judgement.row), _SIDE)
    except DataError as error:
        leave_out("image", f"it cannot be read for the page ({error})", [f"{domain.name}, row {judgement.row}"])
    lines = [f"frozen: {judgement.frozen}", f"merged: {judgement.merged}"]
    return Picture(source, judgement.label, lines, mark="right" if mark == "right" else "wrong")


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(pools: Mapping[str, Changes]) -> Iterator[Table]:
    accuracies = ["frozen", "±", "merged", "± merged", "merged less frozen", "± of it"]
    yield Table(
        "accuracy-domains",
        "Accuracy by domain",
        ["pool", "domain", "episodes", "won", "lost", *accuracies],
        [
            [name, q.domain, q.accuracy.episodes, len(q.won), len(q.lost), *_numbers(q.accuracy)]
            for name, each in pools.items()
            for q in each.queries
        ],
    )
    grid: list[Sequence[Cell]] = [
        [name, domain, cell.way, cell.shot, cell.accuracy.episodes, *_numbers(cell.accuracy)]
        for name, each in pools.items()
        for domain, cells in each.grid.items()
        for cell in cells
    ]
    if grid:
        yield Table(
            "accuracy-grid",
            "Accuracy by ways and shots",
            ["pool", "domain", "way", "shot", "episodes", *accuracies],
            grid,
        )
    yield Table(
        "images",
        "Images won and lost",
        ["pool", "domain", "outcome", "row", "class", "frozen", "merged", "frozen margin", "merged margin", "episode"],
        [
            [name, q.domain, outcome, j.row, j.label, j.frozen, j.merged, j.frozen_margin, j.merged_margin, j.episode]
            for name, each in pools.items()
            for q in each.queries
            for outcome, judgements in (("won", q.won), ("lost", q.lost))
            for j in judgements
        ],
    )
    yield Table(
        "confusions",
        "Classes that are taken for others",
        ["pool", "domain", "class", "taken for", "frozen", "merged", "offered"],
        [
            [name, q.domain, c.classes[i], c.classes[j], int(c.frozen[i, j]), int(c.merged[i, j]), int(c.offered[i, j])]
            for name, each in pools.items()
            for q in each.queries
            for c in (q.confusion,)
            for i, j in np.argwhere((c.frozen + c.merged > 0) & ~np.eye(len(c.classes), dtype=bool))
        ],
    )


def _numbers(found: PairedAccuracy) -> list[Cell]:
    return [n for i in (found.frozen, found.merged, found.difference) for n in (i.mean, i.half_width)]
