"""`smat analyse`: what the experts of a meta-tuned pool learned, as a page, figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from smat.adaptation import Device, pick_device
from smat.analysis.accuracy import SHOTS, WAYS
from smat.domains import Domain, open_domains
from smat.episodes import EpisodeOptions, EpisodeSource
from smat.errors import ConfigError, Interrupted
from smat.evaluation import domain_sources
from smat.experts import FeatureCache
from smat.files import check_folder
from smat.heads import Head, make_head
from smat.left_out import leave_out
from smat.precision import Precision, resolve_precision
from smat.process import keep_freed_memory, leave_cores_to
from smat.recipes.analyse.on_tasks import OnTasks, TaskSettings
from smat.recipes.analyse.parts import Part
from smat.recipes.analyse.pool_card import add_analysis
from smat.recipes.analyse.record import facts_of, record_part
from smat.recipes.analyse.structure import structure_parts
from smat.recipes.analyse.subjects import Subject, check_alike, open_subject, told_apart
from smat.recipes.analyse.summary import summary_part
from smat.recipes.analyse.writing import PAGE, write_analysis
from smat.recipes.episode_progress import episode_progress
from smat.recipes.evaluation_card import check_local_card
from smat.schema import Count, Number, Processes, checked_arguments


@dataclass(frozen=True)
class Analysis:
    """What `analyse` wrote.

    Attributes:
        page: the page.
        files: tables and figures.
        in_short: what was found, in sentences.
    """

    page: Path
    files: list[Path]
    in_short: list[str]


@checked_arguments
def analyse(
    checkpoint: str,
    domains: list[str] = [],  # noqa: B006
    *,
    out: str,
    against: str | None = None,
    support: str | Sequence[str] = (),
    tasks: Count = 10,
    grid_tasks: Number = 2,
    gradient_tasks: Number = 2,
    ways: Sequence[Count] = WAYS,
    shots: Sequence[Count] = SHOTS,
    head: Head | str = "prototype",
    card: bool = False,
    options: EpisodeOptions = EpisodeOptions(),
    precision: Precision = "auto",
    device: Device = "auto",
    workers: Processes = 0,
    feature_cache: str | None = None,
    allow_imports: Sequence[str] = (),
) -> Analysis:
    """Show what the experts of a meta-tuned pool learned: a page, its figures, and tables of all numbers.

    Without domains: where experts are open and how much they move, how far their masks agree, and, of a run, its
    course. With domains also: which tasks get which experts, whether tasks pull the same way, and which images the
    experts win and lose. After Ctrl-C or SIGTERM the page has what is done.

    Example: smat analyse runs/first data/birds.parquet data/tools --out runs/first-analysis

    Args:
        checkpoint: folder of a run, whose best pool is taken, or folder or hub name of a checkpoint.
        domains: parquet files, folders of class folders, hub data sets, or pocket domains, to draw tasks from.
        out: folder for `report.html`, `figures/` and `tables/`, new or empty, or that of an earlier analysis, which is
            replaced.
        against: second run or checkpoint around the same network, to show beside the first.
        support: folders of class folders of your own, each a task whose place among the domains is shown.
        tasks: number of tasks per domain, for routing and for images won and lost.
        grid_tasks: number of tasks per domain for each number of ways and shots; 0 leaves that figure out.
        gradient_tasks: number of tasks per domain whose gradients are compared, 2 or more; 0 leaves that out.
        ways: numbers of classes of the figure of accuracy against shots.
        shots: numbers of support images per class of that figure.
        head: classifier of features: `prototype` (class means, the paper's), `ridge`, `logistic`, `lda`, `knn`,
            `average`, `linear`, `auto`; or a class of your own by its import path.
        card: whether to add what was found, and some figures, to the card (`card.json` and `README.md`) in the folder
            of the checkpoint; not with a second pool.
        options: which episodes are drawn.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        workers: number of processes that decode images ahead; 0 for none.
        feature_cache: folder of a cache of features of frozen networks, which other commands share.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.

    Returns:
        What was written.

    Raises:
        SmatError: if a checkpoint, domain or setting does not fit; all are checked before the work starts.
        Interrupted: after an interruption, with what was written.
    """
    keep_freed_memory()
    leave_cores_to(workers)
    console, place = Console(), pick_device(device)
    folder = check_folder(out, "--out", PAGE)
    own = [support] if isinstance(support, str) else list(support)
    _check(domains, own, gradient_tasks)
    if card and against:
        raise ConfigError("--card is of one pool: leave it out, or --against")
    subjects = [open_subject(checkpoint, place, allow_imports)]
    if card:
        check_local_card(subjects[0].path)
    if against:
        subjects = told_apart([*subjects, open_subject(against, place, allow_imports)])
        check_alike(*subjects, margin=options.margin)
    opened = open_domains(domains, **options.opening()) if domains else []
    on_tasks = None
    if opened:
        settings = TaskSettings(
            tasks,
            grid_tasks,
            gradient_tasks,
            ways,
            shots,
            make_head(head),
            resolve_precision(precision, place),
            workers,
        )
        mine = open_domains(own, **options.opening()) if own else []
        sources = _sources(subjects[0], opened, options)
        on_tasks = OnTasks(subjects, sources, mine, settings, FeatureCache.of(feature_cache))
    config = {
        "checkpoint": checkpoint,
        "domains": domains,
        "against": against,
        "support": own,
        **({"tasks": tasks, "grid_tasks": grid_tasks, "gradient_tasks": gradient_tasks} if domains else {}),
        **({"ways": ways, "shots": shots, "head": head, **vars(options)} if domains else {}),
        "card": card,
        "precision": precision,
        "device": str(place),
    }
    parts: list[Part] = []

    def deliver(stopped: bool) -> Analysis:
        short = summary_part(subjects, parts, on_tasks.routing if on_tasks else {}, stopped)
        whole = [short, *parts, record_part(subjects, opened, config)]
        title, facts = f"What the experts of {subjects[0].name} learned", facts_of(subjects)
        with episode_progress(console) as bar:
            step = bar.add_task("figures", total=sum(len(part.drawn) for part in whole), status="")
            files = write_analysis(folder, title, facts, whole, lambda: bar.advance(step))
        if card and stopped:
            leave_out("card", "the analysis was stopped, and only a whole one is added: run it again", [checkpoint])
        elif card:
            add_analysis(subjects[0], short.texts, [drawn for part in whole for drawn in part.drawn], folder)
        return Analysis(files[0], files[1:], list(short.texts))

    try:
        with episode_progress(console) as bar:
            for part in structure_parts(subjects, allow_imports):
                parts.append(part)
            if on_tasks:
                for part in on_tasks.parts(bar):
                    parts.append(part)
    except KeyboardInterrupt as interruption:
        if not parts:
            raise
        found = deliver(stopped=True)
        raise Interrupted(f"{found.page} has the {len(parts)} parts that were finished", found) from interruption
    found = deliver(stopped=False)
    for text in found.in_short:
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"written: {found.page} ({len(found.files)} figures and tables beside it)", soft_wrap=True, markup=False
    )
    return found


def _check(domains: Sequence[str], support: Sequence[str], gradient_tasks: int) -> None:
    if support and not domains:
        raise ConfigError(
            "--support shows where tasks of your own lie among domains, and there are none: give domains after the "
            "checkpoint, such as those that it was meta-tuned on"
        )
    if gradient_tasks == 1:
        raise ConfigError("gradient_tasks is 1; give 2 or more tasks per domain to compare, or 0 for none")


def _sources(subject: Subject, domains: Sequence[Domain], options: EpisodeOptions) -> list[EpisodeSource]:
    """Episodes of each domain; raises a `DataError` or `ConfigError` where they cannot be drawn."""
    spec = subject.pool.backbone.spec
    return domain_sources(
        spec.image_format,
        domains,
        options.split,
        options.build_sampler(),
        options.transforms(spec.margin),
        options.seed,
        tracks=options.tracks,
    )
