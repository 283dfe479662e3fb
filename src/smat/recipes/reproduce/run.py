"""`smat reproduce`: the paper's comparisons, on domains of one's own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from smat.adaptation import Device, FineTuneConfig, Kind, make_tuner
from smat.domains import Domain, open_domains
from smat.episodes import EpisodeSource, FixedSampler
from smat.errors import ConfigError
from smat.evaluation import (
    Comparison,
    Rule,
    Store,
    compare,
    domain_sources,
    paper_averages,
    published_warning,
)
from smat.experts import Precision, SparseInterpolatedExperts
from smat.metatuning.run_config import TrainConfig, load_config
from smat.process import keep_freed_memory, leave_cores_to
from smat.recipes.reproduce.cells import Evaluator, batches
from smat.recipes.reproduce.plan import What, check_adaptable, given_checkpoints, plan
from smat.recipes.reproduce.report import check_roles, draw_curves, write_tables
from smat.recipes.reproduce.training import Workshop

_FIGURES = ("sparsity", "wise-ft")
_RULES = {
    "validation": "validation classes, or else the support set",
    "support": "the support set",
    "support-median": "the support sets of 5 episodes",
    "published": "query labels of test episodes",
}


def reproduce(
    what: What,
    base: str,
    *,
    out: str = "runs/reproduce",
    name: str | None = None,
    checkpoint: list[str] = [],  # noqa: B006
    seeds: list[int] = [0],  # noqa: B006
    adapt: list[Kind] = ["none"],  # noqa: B006
    learning_rate_from: Rule = "validation",
    steps: int = FineTuneConfig.steps,
    grid: list[float] = list(FineTuneConfig.grid),  # noqa: B006
    episodes: int = 600,
    methods: list[str] | None = None,
    domains: list[str] | None = None,
    against: str = "pretrained",
    tau: list[float] = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99],  # noqa: B006
    experts: list[int] = [4, 8, 16],  # noqa: B006
    scales: list[float] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],  # noqa: B006
    paper: str | None = None,
    way: int | None = None,
    shot: int | None = None,
    query: int | None = None,
    precision: Precision = "32-true",
    workers: int = 1,
    device: Device = "auto",
) -> list[Comparison]:
    """Train what a comparison of the paper lacks, evaluate all of it on the same episodes, and make its tables.

    Writes trained pools to `out/training`, every finished result to `out/cells.jsonl`, tables (.md, .csv, .tex) and
    figures (.png) beside it. The same command goes on after an interruption, with nothing computed again.

    Example: smat reproduce table1 src/smat/configs/real_small.yaml --seeds [0,1,2] --out runs/table1

    Args:
        what: `table1` (methods), `table2` (ablations), `sparsity` (target sparsity times number of experts) or
            `wise-ft` (a trained update, scaled or kept in part).
        base: YAML file of the base configuration: backbone, domains to tune on, episodes, length. What a method needs
            otherwise over BASE.yaml, such as a learning rate, is in BASE/METHOD.yaml, where it is there.
        out: folder of all results; several comparisons can share it, and then the trained pools.
        name: of the tables and figures; `what` by default.
        checkpoint: METHOD=PATH of pools that are trained already, one for each seed.
        seeds: of the trainings.
        adapt: any of `none`, `full`, `lora`: a table each.
        learning_rate_from: where fine-tuning's learning rate comes from: `validation` classes of the domain (in
            domains without, `support`), cross-validation inside each `support` set, what that gives in 5 of them
            (`support-median`), or, to compare with published numbers only, query labels (`published`).
        steps: of fine-tuning.
        grid: learning rates to choose from, LoRA's times ten.
        episodes: how many a domain.
        methods: which ones, in the order of the columns (`smat methods` lists them); the paper's by default.
        domains: domains to evaluate on; by default those of the base configuration, without those of the role
            `validation`.
        against: the method that paired differences are to.
        tau: target sparsities (sparsity).
        experts: numbers of experts (sparsity).
        scales: factors of the update, and shares of it that are kept, 0..1 (wise-ft).
        paper: JSON file of the paper's numbers, to show its averages beside ours.
        way: classes of an episode; the base configuration's by default, as shot and query.
        shot: support images a class.
        query: query images a class.
        precision: of evaluation, `32-true` or `bf16-mixed`.
        workers: processes that make episodes.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        A comparison a kind of adaptation.

    Raises:
        SmatError: a method, checkpoint, domain or setting that does not fit; all are looked at before the work starts.
        KeyboardInterrupt: after an interruption; what is finished is kept.
    """
    console, folder = Console(), Path(out)
    settings = plan(what, base, methods, tau, experts, scales)
    check_adaptable(settings, adapt)
    given = given_checkpoints(checkpoint, settings, seeds)
    if against not in (names := [setting.name for setting in settings]):
        raise ConfigError(f"against is {against!r}; choose one of what is compared: {', '.join(names)}")
    if not seeds or len(set(seeds)) < len(seeds) or episodes < 1:
        raise ConfigError(f"seeds are {seeds} and episodes {episodes}; give one seed or more, each once, and 1 or more")
    published = {kind: paper_averages(paper, what, kind) if paper else {} for kind in adapt}
    tuning, store = FineTuneConfig(steps=steps, grid=tuple(grid)), Store(folder / "cells.jsonl")
    keep_freed_memory()
    config = load_config([base])
    workshop = Workshop(base, config, folder / "training", given, seeds, device, workers, console)
    opened = open_domains(domains or config.domains, splits=config.splits, skip_bad=config.skip_bad)
    opened = [domain for domain in opened if domains or domain.role != "validation"]
    if what in _FIGURES:
        check_roles([domain.role for domain in opened])
    untouched_pool = workshop.untouched_pool()
    for kind in adapt:
        make_tuner(kind).check(untouched_pool.backbone)  # for its error, before anything is trained
    sources = _sources(config, opened, untouched_pool, way, shot, query)
    workshop.check(settings, untouched_pool)
    missing = workshop.trainings(settings)

    try:
        workshop.train(missing)
        leave_cores_to(workers)
        evaluator = Evaluator(workshop, untouched_pool, sources, episodes, learning_rate_from, tuning, precision, store)
        cells = [cell for group in batches(settings, seeds, adapt) for cell in evaluator.cells(group)]
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(
            f"{len(store)} results are kept in {store.path}, trainings beside it: the same command goes on from there"
        ) from interruption
    order = [setting.name for setting in settings]
    comparisons = [
        compare(
            sorted((c for c in cells if c.key.adapt == kind), key=lambda c: order.index(c.key.method)),
            against=against,
            title=_title(name or what, _tuned(kind, tuning, learning_rate_from), sources[0], episodes, seeds),
            paper=published[kind],
        )
        for kind in adapt
    ]
    paths = write_tables(comparisons, folder / (name or what), console)
    for comparison, kind in zip(comparisons, adapt, strict=True) if what in _FIGURES else ():
        paths.append(folder / (f"{name or what}.png" if kind == "none" else f"{name or what}-{kind}.png"))
        draw_curves(comparison, settings, paths[-1])
    if warning := published_warning(learning_rate_from, adapt, tuning):
        console.print(warning, soft_wrap=True, style="bold red")
    console.print(f"written: {', '.join(map(str, [*paths, store.path]))}", soft_wrap=True, highlight=False)
    return comparisons


def _sources(
    config: TrainConfig,
    domains: Sequence[Domain],
    pool: SparseInterpolatedExperts,
    way: int | None,
    shot: int | None,
    query: int | None,
) -> list[EpisodeSource]:
    """Test episodes of each domain, by the base configuration's sampler with what was given for it."""
    sampler = config.episodes.build_sampler()
    given = {name: value for name, value in (("way", way), ("shot", shot), ("query", query)) if value is not None}
    if given:
        if not isinstance(sampler, FixedSampler):
            raise ConfigError(
                f"{' and '.join(given)} of episodes vary by the base configuration's sampler: leave them out"
            )
        sampler = replace(sampler, **given)
    return domain_sources(pool.backbone.spec.image_format, domains, "test", sampler, config.episodes.transforms)


def _tuned(kind: Kind, tuning: FineTuneConfig, rule: Rule) -> str:
    """What is done on a support set, for a title."""
    if kind == "none":
        return "no fine-tuning"
    chosen = f"{make_tuner(kind).learning_rates(tuning)[0]:g}" if tuning.one_rate else f"by {_RULES[rule]}"
    return f"{'LoRA' if kind == 'lora' else 'full fine-tuning'} (learning rate {chosen})"


def _title(name: str, tuned: str, source: EpisodeSource, episodes: int, seeds: Sequence[int]) -> str:
    sampler = source.sampler
    task = f"{sampler.way}-way {sampler.shot}-shot" if isinstance(sampler, FixedSampler) else "variable way and shot"
    trained = "1 training seed" if len(seeds) == 1 else f"{len(seeds)} training seeds"
    return f"{name}, {tuned}: {task}, {source.image_format.size} px, {episodes} episodes a domain, {trained}"
