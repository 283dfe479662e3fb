"""`smat reproduce`: the comparisons of the paper, on domains of one's own."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from smat.adaptation import Device, ExpertTuner, FineTuneConfig, FineTuner, Kind, default_grid, pick_device
from smat.errors import ConfigError
from smat.evaluation import Comparison, EvaluationSettings, Rule, Store, paper_numbers, with_tuning, write_tables
from smat.experts import FeatureCache
from smat.heads import Head, make_head
from smat.metatuning.run_config import load_config
from smat.precision import NetworkPrecision, Precision, resolve_precision
from smat.process import keep_freed_memory
from smat.recipes.reproduce.backends import Jobs
from smat.recipes.reproduce.episodes import EpisodeOverrides
from smat.recipes.reproduce.figures import check_sources, draw
from smat.recipes.reproduce.plan import FIGURES, GAINS, What, given_checkpoints, make_tuners, places_of, plan, tunes
from smat.recipes.reproduce.prepared import Prepared, prepare
from smat.recipes.reproduce.specialisation import write_specialisation
from smat.recipes.reproduce.sweeps import Sweep
from smat.recipes.reproduce.training import Workshop
from smat.recipes.result_tables import show_results
from smat.recipes.sharing import Sharing
from smat.schema import Count, NotNegative, Number, Processes, Seed, checked_arguments

_log = logging.getLogger(__name__)


@checked_arguments
def reproduce(
    what: What,
    base: str,
    *,
    out: str = "runs/reproduce",
    name: str | None = None,
    checkpoint: Sequence[str] = (),
    seeds: Sequence[Seed] = (0,),
    head: Head | str = "prototype",
    adapt: Sequence[Kind | FineTuner] = ("none",),
    learning_rate_from: Rule = "validation",
    steps: Number = FineTuneConfig.steps,
    grid: Sequence[NotNegative] | None = None,
    episodes: Count = 600,
    methods: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    against: str | None = None,
    sweep: Sweep = Sweep(),
    paper: bool = False,
    options: EpisodeOverrides = EpisodeOverrides(),
    precision: Precision = "auto",
    workers: Processes = 1,
    device: Device = "auto",
    join: bool = False,
    jobs: Jobs = Jobs(),
    feature_cache: str | None = None,
    allow_imports: Sequence[str] = (),
) -> list[Comparison]:
    """Train what a comparison of the paper lacks, evaluate all of it on the same episodes, and make its tables.

    Writes trained pools to `out/training`, every finished result to `out/cells.jsonl`, tables (.md, .csv, .tex) and
    figures (.png, .svg, .pdf) beside it. The same command goes on after an interruption, with nothing computed again.

    Example: smat reproduce table1 src/smat/configs/real_small.yaml --adapt [none,full,lora] --paper --out runs/table1

    Args:
        what: `table1` (methods), `table2` (ablations), `masks` (gates learned and set by hand), `sparsity` (target
            sparsity times number of experts), `wise-ft` (a trained update, scaled or kept in part), `scale` (number of
            training domains), `backbones` (size of the backbone) or `overfitting` (number of training tasks).
        base: YAML file of the base configuration: backbone, domains to tune on, episodes, length. What a method needs
            otherwise over BASE.yaml, such as a learning rate, is in BASE/METHOD.yaml, where it is there.
        out: folder of all results; several comparisons can share it, and then the trained pools.
        name: name of the tables and figures; `what` by default.
        checkpoint: pools that are trained already, METHOD=PATH, one for each seed.
        seeds: training seeds.
        head: classifier of features, where a method names none: `prototype` (class means, the paper's), `ridge`,
            `logistic`, `lda`, `knn`, `average`, `linear`, `auto`, each with `:1`, `:2` or `:4` after it for so many
            views of each image; or a class of your own by its import path.
        adapt: kinds of fine-tuning on each support set: any of `none`, `full`, `lora`, `weights`, `gates`, and
            fine-tuners of your own, each with its columns of the table, or a figure of its own. `none,full,lora` gives
            the whole table 1 of the paper. `weights` and `gates` need experts: they have no column for `pretrained`.
        learning_rate_from: where the learning rate of the fine-tuning comes from: the `validation` classes of the
            domain (in domains without, `support`; where there are domains with the role `validation`, these for all),
            cross-validation inside each `support` set, what that gives in 5 of them (`support-median`), or, to compare
            with published numbers only, query labels (`published`); `average` chooses none, but averages the
            probabilities of networks at all rates of `grid`, 2 seeds each.
        steps: number of fine-tuning steps.
        grid: learning rates to choose from, by default 0 and 1e-6 to 0.1, or to average over, by default 1e-5, 1e-4 and
            1e-3; those of LoRA and merge weights are ten times these.
        episodes: number of episodes per domain.
        methods: methods to compare, in the order of the columns: names (`smat methods` lists them) or YAML files of
            your own, settings over the base configuration, each named as its file; by default those of the paper. A
            head can follow a method, as in `smat+lda`, and before it the networks that it gets the features of, as in
            `smat@0@1+auto`: 0 is the frozen network and 1 the merged one.
        domains: domains to evaluate on; by default those of the base configuration and its `test_domains`, without
            those of the role `validation`.
        against: method that paired differences are to, with the fine-tuning of the column; by default `pretrained`
            (masks: the first of the methods), or else the first of the columns.
        sweep: what a figure varies.
        paper: show the numbers of the paper beside ours (table1, table2): those of domains that it has too, by their
            names, and its averages.
        options: what differs from the episodes of the base configuration.
        precision: precision of evaluation: `32-true`, `bf16-mixed`, or `auto`: that of the results already in `out`,
            or else the second where the device computes fast in bfloat16 and the first elsewhere.
        workers: number of processes that make episodes.
        device: `auto`, `cpu` or `cuda`.
        join: share the work with other processes, on this machine or on others that see the same folder: give all of
            them the same command, whenever you like. Each takes what is left, and all end with the whole table.
        jobs: processes elsewhere that share the work.
        feature_cache: folder of a cache of features of frozen networks: images that were seen before, in whatever
            command, do not pass through them again.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.

    Returns:
        A table's comparison, or one for the figure of each kind of fine-tuning.

    Raises:
        SmatError: if a method, checkpoint, domain or setting does not fit; all are checked before the work starts.
        Interrupted: after an interruption; what is finished is in the files.
    """
    given = locals() | {"join": True, "jobs": Jobs()}
    console, folder = Console(), Path(out)
    columns = plan(what, base, methods, sweep, make_head(head))
    tuners = make_tuners(adapt, columns)
    order = [column.name for column in columns]
    if against is None:
        against = order[1] if what == "masks" else "pretrained" if "pretrained" in order else order[0]
    if against not in order:
        raise ConfigError(f"against is {against!r}; choose one of what is compared: {', '.join(order)}")
    if not seeds or len(set(seeds)) < len(seeds) or episodes < 1:
        raise ConfigError(
            f"seeds are {list(seeds)} and episodes {episodes}; give one seed or more, each once, and 1 or more"
        )
    _check_gains(what, against, tuners)
    rates = default_grid(learning_rate_from) if grid is None else tuple(grid)
    trained = given_checkpoints(checkpoint, columns, seeds)
    if jobs.backend:
        jobs.run(partial(_share, given, str(Path.cwd())), folder, console)
        join = True
    with ExitStack() as held:
        ready: list[Prepared] = []
        for file, place in places_of(what, base, sweep.bases, folder, checkpoint):
            sharing = Sharing(place, join)
            held.enter_context(sharing.held())
            store, training = Store(place / "cells.jsonl", sharing.new_name()), place / "training"
            settings = EvaluationSettings(
                FineTuneConfig(steps=steps, grid=rates),
                learning_rate_from,
                _precision(precision, store, device, sharing),
                workers,
                cache=FeatureCache.of(feature_cache),
            )
            keep_freed_memory()
            config = load_config([file])
            workshop = Workshop(file, config, training, trained, seeds, device, workers, console, allow_imports)
            ready.append(prepare(workshop, columns, tuners, domains, options, episodes, settings, store, sharing))
        check_sources(what, [(each.workshop.config, each.sources) for each in ready])
        shown = [with_tuning(column.name, tuner.name) for tuner in tuners for column in columns if tunes(tuner, column)]
        tested = [source.domains[0].name for source in ready[0].sources]
        published = paper_numbers(what, shown, tested) if paper else {}
        tables = [[tuner] for tuner in tuners] if what in FIGURES else [tuners]
        subjects = [name or what] if len(ready) == 1 else [f"{name or what}, {each.size.name}" for each in ready]
        found = [
            each.compared(subject, head, against, published, tables)
            for each, subject in zip(ready, subjects, strict=True)
        ]
        paths = _results(what, name or what, folder, ready, found)
        if what == "sparsity":
            with ready[0].sharing.one_after_another("specialisation"):
                paths += write_specialisation(ready[0], folder / f"{name or what}-specialisation")
        console.print(f"written: {', '.join(map(str, paths))}", soft_wrap=True, highlight=False)
    return [comparison for comparisons in found for comparison in comparisons]


def _share(given: Mapping[str, Any], place: str) -> None:
    """What each process elsewhere does, in the same working directory; what it finds is in the folder."""
    os.chdir(place)
    reproduce(**given)


def _results(
    what: What, name: str, folder: Path, ready: Sequence[Prepared], found: Sequence[Sequence[Comparison]]
) -> list[Path]:
    """Show comparisons, write their tables and figures, and give the files."""
    columns, tuners, paths = ready[0].columns, ready[0].tuners, []
    try:
        for each, comparisons in zip(ready, found, strict=True):
            show_results(comparisons, tuners, each.settings, each.workshop.console)
    finally:  # whatever becomes of the screen
        for each, comparisons in zip(ready, found, strict=True):
            paths += [*write_tables(comparisons, each.folder / name), each.store.path]
        for number, tuner in enumerate(tuners if what in FIGURES else ()):
            parts = [(each.size, comparisons[number]) for each, comparisons in zip(ready, found, strict=True)]
            paths += draw(what, parts, columns, folder / f"{name}{f'-{tuner.name}' if tuner.trains else ''}")
    return paths


def _check_gains(what: What, against: str, tuners: Sequence[FineTuner]) -> None:
    """Raise a `ConfigError` where gains over the frozen network are to be shown, and cannot be."""
    if what not in GAINS:
        return
    if against != "pretrained":
        raise ConfigError(f"against is {against!r}: {what} shows gains over pretrained; leave it out")
    if without := [tuner.name for tuner in tuners if isinstance(tuner, ExpertTuner)]:
        raise ConfigError(
            f"{what} shows gains over pretrained, which has no experts that {' and '.join(without)} could tune: leave "
            f"{' and '.join(without)} out of adapt"
        )


def _precision(precision: Precision, store: Store, device: Device, sharing: Sharing) -> NetworkPrecision:
    """The precision of the networks to evaluate; with `auto` a comparison goes on as it began, and all agree on it."""
    before = next((found for key in store if (found := key.protocol.get("precision"))), None)
    if precision == "auto" and before is not None:
        precision = before
        _log.info("precision: %s (that of the results in %s)", before, store.path)
    if precision != "auto":
        return resolve_precision(precision, pick_device(device))
    agreed = sharing.agreed("precision.txt", lambda: resolve_precision("auto", pick_device(device)))
    return "bf16-mixed" if agreed == "bf16-mixed" else "32-true"
