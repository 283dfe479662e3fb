"""How tasks of several domains are routed, and which are alike to a pool: figures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import dendrogram

from smat.analysis.dendrogram import Dendrogram, cluster
from smat.analysis.distances import mask_distances, weight_distances
from smat.analysis.tasks import DomainRecognition, Placement, Tasks, place, recognise_domains
from smat.experts import SparseInterpolatedExperts
from smat.recipes.analyse.panels import name_rows, panels
from smat.recipes.analyse.parts import Cell, Drawn, Part, Table, enumerated, number_of, percent
from smat.recipes.figure_style import COLUMN, INK, PAGE, SOFT, heat_map, look, styled
from smat.recipes.pages import Counts

_ROW = 0.145  # inches for the row of a domain
_BY = {"weights": "merge weights (Jensen-Shannon)", "masks": "masks (weighted Jaccard)"}


@dataclass(frozen=True)
class Routing:
    """How a pool routes tasks.

    Attributes:
        tasks: tasks of the domains.
        trees: dendrograms of the tasks, by what their distances are of: `weights`, and `masks` where these differ.
        domain_trees: those of the domains.
        recognition: how well merge weights tell the domain; None for one domain or one task each.
        own: where tasks of one's own lie.
    """

    tasks: Tasks
    trees: Mapping[str, Dendrogram]
    domain_trees: Mapping[str, Dendrogram]
    recognition: DomainRecognition | None
    own: Sequence[Placement] = ()

    @classmethod
    def of(cls, pool: SparseInterpolatedExperts, tasks: Tasks, own: Sequence[Tasks] = ()) -> "Routing":
        """Compare tasks that a pool has routed, and find the place of one's own among them."""
        names = [tasks.domains[index] for index in tasks.domain]
        masked = pool.update.merged_gates(pool.pretrained.new_ones(pool.config.experts)) is not None
        of_tasks = {"weights": weight_distances(tasks.shares)}
        of_domains = {"weights": weight_distances(tasks.mean_shares)}
        for found, weights in ((of_tasks, tasks.weights), (of_domains, tasks.mean_weights)):
            distances = mask_distances(pool, weights) if masked else None
            if distances is not None and distances.any():
                found["masks"] = distances
        counts = np.bincount(tasks.domain)
        several = len(tasks.domains) > 1
        return cls(
            tasks,
            {by: cluster(each, tasks.ids, names) for by, each in of_tasks.items()} if len(names) > 1 else {},
            {by: cluster(each, tasks.domains, tasks.domains) for by, each in of_domains.items()} if several else {},
            recognise_domains(tasks) if several and counts.min() > 1 else None,
            [placement for each in own for placement in place(each, tasks)],
        )


def tasks_part(pools: Mapping[str, Routing]) -> Part:
    """The part of the page on routing.

    Args:
        pools: by name: the pool, and the one that it is compared with, if any.
    """
    whose = {name: f" by {name}" if len(pools) > 1 else "" for name in pools}
    in_short = [text for name, each in pools.items() for text in _in_short(whose[name], each)]
    first = next(iter(pools.values())).tasks
    counts = np.bincount(first.domain)
    many = number_of(int(counts[0]), "task") if len(set(counts)) == 1 else f"{counts.min()} to {counts.max()} tasks"
    return Part(
        "Which tasks get which experts",
        f"Merge weights of {many} of each of {number_of(len(first.domains), 'domain')}.",
        texts=[*in_short, *(text for name, each in pools.items() for text in _sentences(whose[name], each))],
        drawn=list(_drawn(pools)),
        tables=list(_tables(pools)),
        counts=[_confusion(name, each, len(pools) > 1) for name, each in pools.items() if each.recognition],
        in_short=in_short,
    )


def used_for(routing: Routing, expert: int) -> str:
    """The domains that an expert is used for most: `weighs most in omniglot (0.52) and quickdraw (0.47)`."""
    weights = routing.tasks.mean_weights[:, expert]
    best = np.argsort(-weights, kind="stable")[:2]
    named = [f"{routing.tasks.domains[index]} ({weights[index]:.2f})" for index in best]
    if routing.tasks.idle[expert]:
        return "is idle: no domain gives it a weight worth mentioning"
    return f"weighs most in {enumerated(named)}"


# -- words ----------------------------------------------------------------------------------------------------------


def _in_short(where: str, found: Routing) -> Iterator[str]:
    tasks = found.tasks
    spread = tasks.mean_weights.max(0) - tasks.mean_weights.min(0)
    entropy = float(tasks.entropy.mean())
    yield (
        f"Routing{where} has an entropy of {entropy:.2f} of 1 on average; the mean weight of an "
        f"expert differs between domains by up to {spread.max():.2f}."
    )
    if found.recognition:
        r = found.recognition
        yield (
            f"From the merge weights alone{where}, the domain of {percent(r.accuracy)} of the tasks is found (95 % "
            f"interval {percent(r.low)} to {percent(r.high)}; by chance {percent(r.chance)})."
        )


def _sentences(where: str, found: Routing) -> Iterator[str]:
    if (idle := np.flatnonzero(found.tasks.idle)).size:
        experts = f"{'expert' if len(idle) == 1 else 'experts'} {enumerated([*map(str, idle)])}"
        yield f"Idle in all of these domains{where}: {experts}."
    for by, tree in found.trees.items():
        if tree.agreement == tree.agreement:
            yield (
                f"The tree of tasks by {by}{where}, cut into as many clusters as there are domains, agrees with "
                f"these to {tree.agreement:.2f} (adjusted Rand index; 1: each cluster is a domain, 0: as by chance)."
            )
    for own in found.own:
        near = enumerated([f"{domain} ({distance:.2f})" for domain, distance in own.nearest[:3]])
        yield (
            f"Your task '{own.name}'{where} lies nearest to {near}; {percent(own.within)} of the nearest domain's own "
            "tasks lie at least as far from its mean."
        )


# -- figures --------------------------------------------------------------------------------------------------------


def _drawn(pools: Mapping[str, Routing]) -> Iterator[Drawn]:
    first = next(iter(pools.values()))
    highest = [
        f"{domain}, expert {int(row.argmax())} ({row.max():.2f})"
        for domain, row in zip(first.tasks.domains, first.tasks.mean_weights, strict=True)
    ]
    own = " The last rows are your own tasks." if first.own else ""
    yield Drawn(
        "tasks-weights",
        _weights(list(pools.values()), list(pools)),
        f"Mean merge weights by domain and expert. The highest of each domain: {'; '.join(highest)}",
        f"Mean merge weight of each expert (columns) in the tasks of each domain (rows); dark is much.{own}",
    )
    entropies = [f"{d} {e:.2f}" for d, e in zip(first.tasks.domains, first.tasks.mean_entropy, strict=True)]
    yield Drawn(
        "tasks-entropy",
        _entropies(list(pools.values()), list(pools)),
        f"Entropy of routing by domain: {', '.join(entropies)}",
        "Entropy of each task's merge weights (dots) and their mean (mark): 1 where all experts weigh the same, 0 "
        "where one has all the weight.",
    )
    for number, (name, each) in enumerate(pools.items()):
        suffix, whose = ("-against", f" of {name}") if number else ("", f" of {name}" if len(pools) > 1 else "")
        for by, tree in each.trees.items():
            yield Drawn(
                f"tasks-tree-{by}{suffix}",
                _tree(tree, each.tasks.domains, by),
                f"Dendrogram of {len(tree.labels)} tasks{whose} by {_BY[by]}, with the domain of each below it; "
                f"cophenetic correlation {tree.cophenetic:.2f}",
                f"Tasks{whose} joined by the mean distance of their {_BY[by]}: the lower two branches join, the more "
                "alike their tasks are to the pool. Below, each task has a mark in the row of its domain; unbroken "
                "runs are domains that the pool tells apart. The tree keeps the distances with a correlation of "
                f"{tree.cophenetic:.2f}.",
            )
        if each.domain_trees:
            yield Drawn(
                f"domains-tree{suffix}",
                _domain_trees(each.domain_trees),
                f"Dendrograms of {len(each.tasks.domains)} domains{whose} by "
                f"{enumerated([_BY[by] for by in each.domain_trees])}",
                f"The same for the domains' mean weights and mean masks{whose}: which domains are alike to the pool.",
            )


@styled()
def _weights(found: Sequence[Routing], names: Sequence[str]) -> Figure:
    rows = _labels(found[0])
    figure, grid = panels(names, 0.7 + _ROW * len(rows))
    values = [np.vstack([each.tasks.mean_weights, *(own.weights for own in each.own)]) for each in found]
    top = max(float(each.max()) for each in values)
    for axes, each in zip(grid[0], values, strict=True):
        columns = [str(expert) for expert in range(each.shape[1])]
        last = axes is grid[0, -1]
        axes.set_xlabel("expert")
        heat_map(axes, each, rows, columns, label="mean merge weight" if last else "", top=top or 1.0)
    return figure


def _labels(found: Routing) -> list[str]:
    tasks = found.tasks
    told = {role for role in tasks.roles if role}
    shown = [
        f"{n} ({r.upper()})" if r and len(told) > 1 else n for n, r in zip(tasks.domains, tasks.roles, strict=True)
    ]
    return [*shown, *(f"> {own.name}" for own in found.own)]


@styled()
def _entropies(found: Sequence[Routing], names: Sequence[str]) -> Figure:
    tasks = found[0].tasks
    figure = Figure(figsize=(COLUMN, 0.7 + _ROW * len(tasks.domains)))
    axes = figure.subplots()
    for number, (name, each) in enumerate(zip(names, found, strict=True)):
        own, shift = look(number), 0.2 * (number - (len(found) - 1) / 2)
        places = np.arange(len(tasks.domains)) + shift
        axes.plot(each.tasks.entropy, places[each.tasks.domain], ".", color=own.color, alpha=0.35, markersize=3)
        axes.plot(each.tasks.mean_entropy, places, own.marker, color=own.color, label=name, mec=INK, mew=0.5, ms=4.5)
    name_rows(axes, _labels(found[0])[: len(tasks.domains)])
    axes.set_xlabel("entropy of routing")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(right=min(1.0, axes.get_xlim()[1]))
    if len(found) > 1:
        figure.legend(loc="outside lower center", ncols=len(found))
    return figure


@styled()
def _tree(tree: Dendrogram, domains: Sequence[str], by: str) -> Figure:
    figure = Figure(figsize=(PAGE, 1.5 + 0.13 * len(domains)))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 0.13 * len(domains)))
    _draw_linkage(top, tree, "top")
    top.set_ylabel("distance")
    top.tick_params("x", length=0, labelbottom=False)
    index = {domain: row for row, domain in enumerate(domains)}
    rows = [index[tree.groups[leaf]] for leaf in tree.order]
    places = 5 + 10 * np.arange(len(rows))  # where scipy puts leaves
    for row in range(len(domains)):
        mine = places[np.array(rows) == row]
        below.vlines(mine, row - 0.4, row + 0.4, color=look(row).color, linewidth=max(0.8, min(4, 350 / len(rows))))
    below.set_yticks(range(len(domains)), domains)
    below.set_ylim(len(domains) - 0.5, -0.5)
    below.tick_params("x", length=0, labelbottom=False)
    below.grid(axis="x", visible=False)
    below.set_xlabel(f"tasks, by {_BY[by]}")
    return figure


def _draw_linkage(axes: Axes, tree: Dendrogram, side: str) -> None:
    """The branches, as scipy lays them out."""
    laid = dendrogram(tree.linkage, no_plot=True, color_threshold=0)
    for along, across in zip(laid["icoord"], laid["dcoord"], strict=True):
        axes.plot(*((along, across) if side == "top" else (across, along)), "-", color=SOFT, linewidth=0.7)
    axes.grid(False)


@styled()
def _domain_trees(trees: Mapping[str, Dendrogram]) -> Figure:
    leaves = len(next(iter(trees.values())).labels)
    figure = Figure(figsize=(PAGE if len(trees) > 1 else COLUMN, 0.7 + _ROW * leaves))
    grid = figure.subplots(1, len(trees), squeeze=False)
    for axes, (by, tree) in zip(grid[0], trees.items(), strict=True):
        _draw_linkage(axes, tree, "left")
        axes.set_yticks(5 + 10 * np.arange(leaves), [tree.labels[leaf] for leaf in tree.order])
        axes.set_ylim(0, 10 * leaves)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"distance of {_BY[by]}")
    return figure


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(pools: Mapping[str, Routing]) -> Iterator[Table]:
    experts = max(each.tasks.weights.shape[1] for each in pools.values())
    weights = [f"weight {expert}" for expert in range(experts)]

    def padded(values: np.ndarray) -> list[Cell]:
        return [*values.tolist(), *[None] * (experts - len(values))]

    yield Table(
        "domains",
        "Mean merge weights by domain",
        ["pool", "domain", "role", "entropy", *weights],
        [
            [name, domain, tasks.roles[index], float(tasks.mean_entropy[index]), *padded(tasks.mean_weights[index])]
            for name, tasks in ((name, each.tasks) for name, each in pools.items())
            for index, domain in enumerate(tasks.domains)
        ],
    )
    yield Table(
        "tasks",
        "Merge weights of each task",
        ["pool", "task", "domain", "entropy", *weights],
        [
            [name, task, tasks.domains[tasks.domain[n]], float(tasks.entropy[n]), *padded(tasks.weights[n])]
            for name, tasks in ((name, each.tasks) for name, each in pools.items())
            for n, task in enumerate(tasks.ids)
        ],
    )
    own = [
        [name, task.name, task.entropy, domain, distance, *padded(task.weights)]
        for name, each in pools.items()
        for task in each.own
        for domain, distance in task.nearest
    ]
    if own:
        yield Table("own-tasks", "Your own tasks", ["pool", "task", "entropy", "domain", "distance", *weights], own)


def _confusion(name: str, found: Routing, named: bool) -> Counts:
    recognition, domains = found.recognition, found.tasks.domains
    assert recognition
    return Counts(
        f"Domains by merge weights alone{f': {name}' if named else ''}",
        "Rows are the domains that tasks are of, columns those whose other tasks have the nearest mean of merge "
        "weights.",
        "domain / nearest",
        domains,
        [(domain, row.tolist()) for domain, row in zip(domains, recognition.confusion, strict=True)],
    )
