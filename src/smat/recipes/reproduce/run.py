"""`smat reproduce`: the comparisons of the paper, on domains of one's own."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from smat.adaptation import Device, FineTuneConfig, FineTuner, Kind, default_grid, pick_device
from smat.domains import open_domains
from smat.errors import ConfigError, Interrupted
from smat.evaluation import (
    Comparison,
    EvaluationSettings,
    Rule,
    Store,
    compare,
    domain_sources,
    paper_numbers,
    validation_sources,
    with_tuning,
    write_tables,
)
from smat.experts import FeatureCache
from smat.files import locked
from smat.heads import Head, make_head
from smat.metatuning.run_config import load_config
from smat.precision import NetworkPrecision, Precision, resolve_precision
from smat.process import keep_freed_memory, leave_cores_to
from smat.recipes.reproduce.episodes import EpisodeOverrides
from smat.recipes.reproduce.evaluator import Evaluator, batches
from smat.recipes.reproduce.figures import check_roles, draw_curves
from smat.recipes.reproduce.plan import What, given_checkpoints, make_tuners, plan, tunes
from smat.recipes.reproduce.training import Workshop
from smat.recipes.result_tables import result_title, show_results
from smat.schema import Count, Finite, NotNegative, Number, Processes, Seed, Share, checked_arguments

_log = logging.getLogger(__name__)

_FIGURES = ("sparsity", "wise-ft")


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
    tau: Sequence[Share] = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99),
    experts: Sequence[Count] = (4, 8, 16),
    scales: Sequence[Finite] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    paper: bool = False,
    options: EpisodeOverrides = EpisodeOverrides(),
    precision: Precision = "auto",
    workers: Processes = 1,
    device: Device = "auto",
    feature_cache: str | None = None,
    allow_imports: Sequence[str] = (),
) -> list[Comparison]:
    """Train what a comparison of the paper lacks, evaluate all of it on the same episodes, and make its tables.

    Writes trained pools to `out/training`, every finished result to `out/cells.jsonl`, tables (.md, .csv, .tex) and
    figures (.png) beside it. The same command goes on after an interruption, with nothing computed again.

    Example: smat reproduce table1 src/smat/configs/real_small.yaml --adapt [none,full,lora] --paper --out runs/table1

    Args:
        what: `table1` (methods), `table2` (ablations), `sparsity` (target sparsity times number of experts) or
            `wise-ft` (a trained update, scaled or kept in part).
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
        against: method that paired differences are to, with the fine-tuning of the column; by default `pretrained`, or
            else the first of the columns.
        tau: target sparsities (sparsity).
        experts: numbers of experts (sparsity).
        scales: factors of the update, and shares of it that are kept, 0..1 (wise-ft).
        paper: show the numbers of the paper beside ours (table1, table2): those of domains that it has too, by their
            names, and its averages.
        options: what differs from the episodes of the base configuration.
        precision: precision of evaluation: `32-true`, `bf16-mixed`, or `auto`: that of the results already in `out`,
            or else the second where the device computes fast in bfloat16 and the first elsewhere.
        workers: number of processes that make episodes.
        device: `auto`, `cpu` or `cuda`.
        feature_cache: folder of a cache of features of frozen networks: images that were seen before, in whatever
            command, do not pass through them again.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.

    Returns:
        A table's comparison, or one for the figure of each kind of fine-tuning.

    Raises:
        SmatError: if a method, checkpoint, domain or setting does not fit; all are checked before the work starts.
        Interrupted: after an interruption; what is finished is in the files.
    """
    console, folder = Console(), Path(out)
    columns = plan(what, base, methods, tau, experts, scales, make_head(head))
    tuners = make_tuners(adapt, columns)
    given = given_checkpoints(checkpoint, columns, seeds)
    order = [column.name for column in columns]
    against = against or ("pretrained" if "pretrained" in order else order[0])
    if against not in order:
        raise ConfigError(f"against is {against!r}; choose one of what is compared: {', '.join(order)}")
    if not seeds or len(set(seeds)) < len(seeds) or episodes < 1:
        raise ConfigError(
            f"seeds are {list(seeds)} and episodes {episodes}; give one seed or more, each once, and 1 or more"
        )
    rates = default_grid(learning_rate_from) if grid is None else tuple(grid)
    with locked(folder):
        tuning, store = FineTuneConfig(steps=steps, grid=rates), Store(folder / "cells.jsonl")
        settings = EvaluationSettings(tuning, learning_rate_from, _precision(precision, store, device), workers)
        keep_freed_memory()
        config = load_config([base])
        workshop = Workshop(base, config, folder / "training", given, seeds, device, workers, console, allow_imports)
        drawn = options.options(config)
        opened = open_domains(domains or [*config.domains, *config.test_domains], **drawn.opening())
        every, opened = opened, [domain for domain in opened if domains or domain.role != "validation"]
        if what in _FIGURES:
            check_roles([domain.role for domain in opened])
        shown = [with_tuning(column.name, tuner.name) for tuner in tuners for column in columns if tunes(tuner, column)]
        published = paper_numbers(what, shown, [domain.name for domain in opened]) if paper else {}
        backbone = workshop.open_backbone()
        image_format, transforms = backbone.backbone.spec.image_format, drawn.transforms()
        sampler = drawn.build_sampler()
        sources = domain_sources(
            image_format, opened, drawn.split, sampler, transforms, drawn.seed, tracks=drawn.tracks
        )
        cache = FeatureCache.of(feature_cache)
        settings = replace(settings, validation=validation_sources(every, sources[0]), cache=cache)
        workshop.check(columns, backbone)
        workshop.check_tuners(tuners, columns, backbone)
        missing = workshop.trainings(columns, backbone)

        try:
            workshop.train(missing)
            leave_cores_to(workers)
            evaluator = Evaluator(workshop, backbone, sources, episodes, settings, store)
            cells = [cell for batch in batches(columns, seeds, tuners) for cell in evaluator.cells(batch)]
        except KeyboardInterrupt as interruption:
            raise Interrupted(
                f"{len(store)} results are kept in {store.path}, trainings beside it: the same command goes on from "
                "there"
            ) from interruption
        trained = "1 training seed" if len(seeds) == 1 else f"{len(seeds)} training seeds"
        cells.sort(key=lambda cell: order.index(cell.key.method))
        comparisons = [
            compare(
                [cell for tuner in together for cell in cells if cell.key.adapt == tuner.name],
                against=against,
                title=f"{result_title(name or what, head, together, settings, sources, episodes)}, {trained}",
                paper=published,
            )
            for together in ([[tuner] for tuner in tuners] if what in _FIGURES else [tuners])
        ]
        try:
            show_results(comparisons, tuners, settings, console)
        finally:  # whatever becomes of the screen
            paths = write_tables(comparisons, folder / (name or what))
            for comparison, tuner in zip(comparisons, tuners, strict=True) if what in _FIGURES else ():
                paths.append(folder / f"{name or what}{f'-{tuner.name}' if tuner.trains else ''}.png")
                draw_curves(comparison, columns, paths[-1])
        console.print(f"written: {', '.join(map(str, [*paths, store.path]))}", soft_wrap=True, highlight=False)
        return comparisons


def _precision(precision: Precision, store: Store, device: Device) -> NetworkPrecision:
    """The precision of the networks to evaluate; with `auto` a comparison goes on as it began."""
    before = next((found for key in store if (found := key.protocol.get("precision"))), None)
    if precision == "auto" and before is not None:
        precision = before
        _log.info("precision: %s (that of the results in %s)", before, store.path)
    return resolve_precision(precision, pick_device(device))
