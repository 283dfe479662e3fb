"""`smat evaluate`: few-shot accuracy of checkpoints on domains, next to that of the frozen backbone."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from smat.adaptation import Device, ExpertTuner, FineTuneConfig, FineTuner, Kind, default_grid, make_tuner, pick_device
from smat.backbones import ImageOptions
from smat.domains import Domain, open_domains
from smat.episodes import EpisodeOptions, EpisodePlan, EpisodeSource, FixedSampler, VariableSampler, read_episodes
from smat.errors import ConfigError, Interrupted
from smat.evaluation import (
    Cell,
    Comparison,
    EpisodeRow,
    EvaluationSettings,
    JointEvaluation,
    Rule,
    compare,
    domain_sources,
    table_paths,
    validation_sources,
    write_tables,
)
from smat.experts import FeatureCache
from smat.files import check_writable, shared
from smat.heads import Head, make_head
from smat.left_out import leave_out
from smat.precision import Precision, resolve_precision
from smat.process import keep_freed_memory, leave_cores_to
from smat.recipes.entries import common_format, enter, named_checkpoints
from smat.recipes.episode_progress import episode_progress, follow
from smat.recipes.evaluation_card import add_results, check_cards
from smat.recipes.evaluation_report import write_report
from smat.recipes.result_tables import result_title, show_results
from smat.recipes.shared_evaluation import SharedEvaluation
from smat.schema import Count, NotNegative, Number, Processes, checked_arguments

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        comparison: accuracies, paired differences and calibration errors of each method on each domain.
        cells: results of each method on each domain, episode by episode.
        rows: one per episode, domain by domain.
    """

    comparison: Comparison
    cells: list[Cell]
    rows: list[EpisodeRow]


@checked_arguments
def evaluate(
    checkpoint: str | Path | Mapping[str, str | Path],
    domains: list[str],
    *,
    method: str = "all",
    against: str | None = None,
    head: Head | str = "auto",
    adapt: Kind | FineTuner = "none",
    learning_rate_from: Rule = "validation",
    steps: Number = FineTuneConfig.steps,
    grid: Sequence[NotNegative] | None = None,
    episodes: Count | None = None,
    options: EpisodeOptions = EpisodeOptions(),
    image_options: ImageOptions = ImageOptions(),
    episodes_from: str | None = None,
    precision: Precision = "auto",
    device: Device = "auto",
    workers: Processes = 1,
    output: str | None = None,
    tables: str | None = None,
    card: bool = False,
    feature_cache: str | None = None,
    join: str | None = None,
    allow_imports: Sequence[str] = (),
) -> Evaluation:
    """Measure few-shot accuracy on domains, of checkpoints and of their frozen backbone on the same episodes.

    Prints a table: mean accuracy with its 95 % interval, the paired difference, the expected calibration error, and the
    averages over the ID and the OOD domains. After Ctrl-C or SIGTERM the table and the files have what is done.

    Several checkpoints are given before the domains, each as NAME=PATH, and compared on the same episodes. They must
    take images of one size and normalisation.

    Example: smat evaluate runs/mine/best birds.parquet photos/ --shot 1 --output results.json

    Args:
        checkpoint: folder or hub name of a checkpoint, or of a backbone, to measure that alone; or NAME=PATH, several
            of them one after another.
        domains: parquet files, folders of class folders, hub data sets, or pocket domains.
        method: what to evaluate, one or several with commas between them: the experts by their name (that of the
            checkpoint, or of its method, such as `smat`); `pretrained`, the frozen backbone; `all`, all of these. A
            head can follow, as in `smat+lda`, and before it the networks that it gets the features of, by their
            strength, as in `smat@0@1+lda`: 0 is the frozen network and 1 the merged one. Without, `auto` gets both, and
            other heads the merged one. `logistic` and `knn` are `pretrained+logistic` and `pretrained+knn`.
        against: method that paired differences are to; by default `pretrained`, where it is evaluated.
        head: classifier of features, where the method names none: `auto`, which fits itself to the task; `prototype`
            (class means, the paper's), `ridge`, `logistic`, `lda`, `knn`, `average`, `linear`, each with `:1`, `:2` or
            `:4` after it for so many views of each image; or a class of your own by its import path.
        adapt: fine-tuning on each support set: `none`; `full`, all parameters; `lora`, small adapters; `weights`, the
            weights that experts are merged by, block by block; `gates`, the parameters behind open gates of experts;
            or a fine-tuner of your own by its import path.
        learning_rate_from: where the learning rate of the fine-tuning comes from: the `validation` classes of the
            domain (in domains without, `support`; where there are domains with the role `validation`, these for all),
            cross-validation inside each `support` set, what that gives in 5 of them (`support-median`), or, to compare
            with published numbers only, query labels (`published`); `average` chooses none, but averages the
            probabilities of networks at all rates of `grid`, 2 seeds each.
        steps: number of fine-tuning steps.
        grid: learning rates to choose from, by default 0 and 1e-6 to 0.1, or to average over, by default 1e-5, 1e-4 and
            1e-3; those of LoRA and merge weights are ten times these.
        episodes: number of episodes per domain; 600, or all those of the file, if not given.
        options: which episodes are drawn.
        image_options: size and normalisation of the images, where the checkpoints are backbones.
        episodes_from: file of episodes that `smat data episodes` wrote, to be evaluated on; it has a split, way, shot,
            query, sampler, tracks and seed of its own.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        device: `auto`, `cpu` or `cuda`.
        workers: number of processes that decode images ahead; 0 for none.
        output: JSON file for settings, versions, fingerprints, summaries and a row for each episode.
        tables: path of the tables without their endings: NAME writes NAME.md, NAME.csv and NAME.tex.
        card: whether to add the results of experts to the cards (`card.json` and `README.md`) in the folders of their
            checkpoints, into which nothing is written otherwise.
        feature_cache: folder of a cache of features of frozen networks: images that were seen before, in whatever
            command, do not pass through them again.
        join: folder in which processes share the episodes, on this machine or on others that see it: give all of them
            the same command, whenever you like. Each takes what is left, and all end with all results.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.

    Returns:
        What was found.

    Raises:
        SmatError: if a checkpoint, domain or setting does not fit; all are checked before the work starts.
        Interrupted: after an interruption, with what was found until then.
    """
    asked = dict(locals())
    keep_freed_memory()
    leave_cores_to(workers)
    console, place = Console(), pick_device(device)
    path = check_writable(output) if output else None
    if tables:
        table_paths(tables)
    checkpoints, domains = named_checkpoints(checkpoint, domains)
    opened = open_domains(domains, **options.opening())
    drawn, plans = _from_file(episodes_from, options, opened) if episodes_from else (options, None)
    counts = _counts(episodes, episodes_from, opened, plans)
    most = max(counts.values())
    tuning = FineTuneConfig(steps=steps, grid=default_grid(learning_rate_from) if grid is None else tuple(grid))
    settings = EvaluationSettings(tuning, learning_rate_from, resolve_precision(precision, place), workers)
    tuner = make_tuner(adapt)
    entrants = enter(checkpoints, method.split(","), make_head(head), tuner, place, allow_imports, image_options)
    if card:
        check_cards(checkpoints, entrants)
    names = [entrant.name for entrant in entrants]
    if against not in (None, *names):
        raise ConfigError(f"against is {against!r}; choose one of what is evaluated: {', '.join(names)}")
    image_format, margin = common_format(entrants, drawn.margin)
    sampler, transforms = drawn.build_sampler(), drawn.transforms(margin)
    sources = domain_sources(image_format, opened, drawn.split, sampler, transforms, drawn.seed, plans, drawn.tracks)
    cache = FeatureCache.of(feature_cache)
    settings = replace(settings, validation=validation_sources(opened, sources[0]), cache=cache)
    if method == "all" and not any(entrant.pool.config.experts for entrant in entrants):
        given = ", ".join(checkpoints.values())
        console.print(f"{given} has no experts: evaluating the backbone as it is", soft_wrap=True, markup=False)
    elif method == "all" and isinstance(tuner, ExpertTuner):
        left = f"pretrained is left out: the backbone has no experts to tune by {tuner.name}"
        console.print(left, soft_wrap=True, markup=False)
    asked = {key: value for key, value in asked.items() if key not in ("options", "image_options", "allow_imports")}
    config = asked | {
        "checkpoint": checkpoints.get("", checkpoints),
        "domains": domains,
        "grid": tuning.grid,
        **vars(drawn),
        **vars(image_options),
        "tracks": sources[0].tracks,
        "episodes": most,
        "precision": settings.precision,
    }
    subject = ", ".join(name or str(Path(given)) for name, given in checkpoints.items())
    title = result_title(subject, head, [tuner], settings, sources, most)
    joint = JointEvaluation(entrants, settings)

    def deliver(complete: bool) -> Evaluation | None:
        """What was found, if anything: shown, then written to the files."""
        if not joint.rows:
            return None
        cells = joint.cells()
        found = Evaluation(compare(cells, against=against or "pretrained", title=title), cells, joint.rows)
        try:
            show_results([found.comparison], [tuner], settings, console)
        finally:  # whatever becomes of the screen
            if path:
                write_report(path, found.comparison, joint.rows, opened, config, complete)
            written = [*([path] if path else []), *(write_tables([found.comparison], tables) if tables else [])]
            if card and complete:
                written += add_results(checkpoints, entrants, cells, head)
            elif card:
                reason = "only the results of an evaluation that is finished are added; evaluate again"
                leave_out("card", reason, list(checkpoints.values()))
        for file in written:
            console.print(f"written: {file}", soft_wrap=True, markup=False)
        return found

    try:
        with ExitStack() as held:
            if join:
                held.enter_context(shared(Path(join)))
            bar = held.enter_context(episode_progress(console))

            def begin(source: EpisodeSource) -> Callable[[EpisodeRow], None]:
                name = source.domains[0].name
                return follow(bar, name, counts[name])

            if join:
                SharedEvaluation(Path(join), joint, console).run(sources, counts, begin)
            else:
                for source in sources:
                    joint.run(source, counts[source.domains[0].name], begin(source))
    except KeyboardInterrupt as interruption:
        found = deliver(complete=False)
        raise Interrupted(
            f"the results are of the {len(joint.rows)} episodes that were finished", found
        ) from interruption
    except Exception:
        # domains that were finished took long enough to be worth keeping
        try:
            deliver(complete=False)
        except ConfigError as unwritten:
            _log.warning("%s", unwritten)
        raise
    found = deliver(complete=True)
    assert found, "every source has episodes"
    return found


def _from_file(
    path: str, options: EpisodeOptions, domains: Sequence[Domain]
) -> tuple[EpisodeOptions, Mapping[str, Sequence[EpisodePlan]]]:
    """The options that a file's episodes were drawn with, and the episodes by domain."""
    usual = EpisodeOptions()
    own = ("split", "sampler", "way", "shot", "query", "hierarchy", "seed", "tracks")
    if chosen := [f"--{name}" for name in own if getattr(options, name) != getattr(usual, name)]:
        raise ConfigError(
            f"{', '.join(chosen)} cannot be chosen where episodes come from a file, which has its own: leave out "
            "--episodes-from, or what is chosen"
        )
    written = read_episodes(path, domains)
    sampler = written.sampler
    shape: dict[str, Any] = {"sampler": sampler}
    if isinstance(sampler, FixedSampler):
        shape = {"sampler": "fixed", **vars(sampler)}
    elif isinstance(sampler, VariableSampler) and sampler == VariableSampler(hierarchy=sampler.hierarchy):
        shape = {"sampler": "variable", "hierarchy": sampler.hierarchy}
    shape |= {"split": written.split, "seed": written.seed, "tracks": written.tracks}
    return replace(options, **shape), written.plans


def _counts(
    wanted: int | None,
    path: str | None,
    domains: Sequence[Domain],
    plans: Mapping[str, Sequence[EpisodePlan]] | None,
) -> dict[str, int]:
    """The number of episodes of each domain."""
    if plans is None:
        return dict.fromkeys((domain.name for domain in domains), 600 if wanted is None else wanted)
    few = {name: len(some) for name, some in plans.items() if len(some) < (wanted or 1)}
    if few:
        raise ConfigError(f"--episodes is {wanted}, but '{path}' has only {few}: ask for fewer, or write more")
    return {name: len(some) if wanted is None else wanted for name, some in plans.items()}
