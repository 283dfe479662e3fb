"""`smat evaluate`: few-shot accuracy of a checkpoint on domains, next to the untouched backbone's."""

import inspect
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from smat.adaptation import Device, FineTuneConfig, Kind, open_model, pick_device
from smat.domains import Domain, open_domains
from smat.episodes import (
    EpisodePlan,
    EpisodeShape,
    FixedSampler,
    Sampler,
    SamplerKind,
    TransformConfig,
    VariableSampler,
    read_episodes,
    sampler_settings,
)
from smat.errors import ConfigError
from smat.evaluation import (
    BASELINES,
    Contender,
    EpisodeRow,
    Experts,
    Frozen,
    FrozenFeatures,
    Rule,
    Summary,
    averages,
    domain_sources,
    evaluate_domain,
    fine_tuned,
    published_warning,
    results_table,
    summarise,
)
from smat.experts import SparseInterpolatedExperts
from smat.files import check_writable, write_whole
from smat.precision import NetworkPrecision, Precision, resolve_precision
from smat.process import keep_freed_memory, leave_cores_to, versions
from smat.recipes.episode_progress import episode_progress, follow


@dataclass
class Evaluation:
    """What `evaluate` found.

    Attributes:
        summaries: one a domain.
        rows: one an episode, domain by domain.
        complete: False where it was interrupted: the last domain may then have fewer episodes.
    """

    summaries: list[Summary] = field(default_factory=list)
    rows: list[EpisodeRow] = field(default_factory=list)
    complete: bool = False


def evaluate(
    checkpoint: str,
    domains: list[str],
    *,
    method: str = "all",
    adapt: Kind = "none",
    learning_rate_from: Rule = "validation",
    steps: int = FineTuneConfig.steps,
    grid: list[float] = list(FineTuneConfig.grid),  # noqa: B006
    split: Literal["train", "val", "test"] = "test",
    episodes: int | None = None,
    way: int = 5,
    shot: int = 5,
    query: int = 15,
    sampler: SamplerKind = "fixed",
    episodes_from: str | None = None,
    margin: float | None = None,
    splits: str | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    workers: int = 1,
    output: str | None = None,
) -> Evaluation:
    """Measure few-shot accuracy on domains, of the experts and of the untouched backbone on the same episodes.

    Prints a table: mean accuracy with its 95 % interval, the paired difference, the expected calibration error,
    and the averages over the ID and the OOD domains. After Ctrl-C the table and the output have what is done.

    Example: smat evaluate runs/mine/best birds.parquet photos/ --shot 1 --output results.json

    Args:
        checkpoint: folder or hub name of a checkpoint; or of a backbone, to measure that alone.
        domains: parquet files, folders of class folders, hub data sets, or pocket domains.
        method: the experts by the name of their method, such as `smat`; `pretrained`, the untouched backbone; `all`,
            both; `logistic` or `knn`, logistic regression or nearest neighbours on the untouched backbone's features.
        adapt: fine-tuning on each support set: `none`, `full` or `lora`.
        learning_rate_from: where its learning rate comes from: the domain's `validation` classes (in domains without,
            `support`), cross-validation inside each `support` set, what that gives in 5 of them (`support-median`),
            or, to compare with published numbers only, query labels (`published`).
        steps: of fine-tuning.
        grid: learning rates to choose from, LoRA's times ten.
        split: whose classes.
        episodes: how many a domain; 600, or all those of the file, if not given.
        way: classes of an episode (fixed sampler).
        shot: support images a class (fixed sampler).
        query: query images a class (fixed sampler).
        sampler: `fixed`, or `variable`: ways and shots vary by Meta-Dataset's rule.
        episodes_from: take the episodes of a file that `smat data episodes` wrote, which has its own split, way, shot,
            query, sampler and seed.
        margin: side of the square that images are cut to over the image size, of which the network sees the centre;
            that of the checkpoint's training by default.
        splits: a splits file for all domains; the one beside each otherwise.
        skip_bad: go on without images that cannot be read.
        seed: another seed, other episodes.
        precision: `32-true`, `bf16-mixed`, or `auto`: the second where the device computes fast in bfloat16, the first
            elsewhere.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that decode images ahead; 0: none.
        output: JSON file for settings, versions, fingerprints, summaries and a row an episode.

    Returns:
        Summaries and rows.

    Raises:
        SmatError: a checkpoint, domain or setting that does not fit; all are looked at before the work starts.
    """
    settings = dict(locals())
    keep_freed_memory()
    leave_cores_to(workers)
    console = Console()
    path = check_writable(output) if output else None
    draws = EpisodeShape(sampler, way, shot, query).build_sampler()
    if episodes_from:
        _check_left_to_the_file(settings)
    opened = open_domains(domains, splits=splits, skip_bad=skip_bad)
    part, plans = str(split), None
    if episodes_from:
        written = read_episodes(episodes_from, opened)
        part, draws, seed, plans = written.split, written.sampler, written.seed, written.plans
        settings |= {"split": part, "seed": seed, **_sampler_settings(draws)}
    counts = _episodes(episodes, episodes_from, opened, plans)
    settings["episodes"] = max(counts.values())
    place = pick_device(device)
    settings["precision"] = computed = resolve_precision(precision, place)
    pool = open_model(checkpoint, place)
    transforms = TransformConfig(margin=pool.backbone.spec.margin if margin is None else margin)
    sources = domain_sources(pool.backbone.spec.image_format, opened, part, draws, transforms, seed, plans)
    pools = _pools(pool, method, adapt, checkpoint)
    if not pool.config.experts and method == "all":
        console.print(f"{checkpoint} has no experts: evaluating the backbone as it is", soft_wrap=True, markup=False)
    tuning = FineTuneConfig(steps=steps, grid=tuple(grid))
    result = Evaluation()
    try:
        frozen = FrozenFeatures(pool, computed)
        with episode_progress(console) as bar:
            for source in sources:
                count = counts[source.domains[0].name]
                show = follow(bar, source.domains[0].name, count)

                def keep(row: EpisodeRow, show: Callable[[EpisodeRow], None] = show) -> None:
                    result.rows.append(row)
                    show(row)

                contenders = {
                    name: _unadapted(name, tuned, computed)
                    if adapt == "none"
                    else fine_tuned(tuned, adapt, tuning, learning_rate_from, source, computed, workers)
                    for name, tuned in pools.items()
                }
                evaluate_domain(contenders, frozen, source, count, workers=workers, on_episode=keep)
        result.complete = True
    except KeyboardInterrupt:
        console.print("interrupted: what follows is what was done until then")
    finally:  # also after an error in a later domain: finished ones took long enough to be worth keeping
        result.summaries = _summaries(result.rows, opened)
        if path and result.rows:
            write_whole(path, json.dumps(_report(result, settings, opened), indent=1) + "\n")
    if result.summaries:
        console.print(f"\n{_title(settings)}", soft_wrap=True, markup=False)
        console.print(results_table(result.summaries))
    if warning := published_warning(learning_rate_from, [adapt], tuning):
        console.print(warning, soft_wrap=True, style="bold red")
    if path and result.rows:
        console.print(f"a row an episode: {path}", soft_wrap=True, markup=False)
    return result


def _check_left_to_the_file(settings: dict[str, Any]) -> None:
    usual = {name: parameter.default for name, parameter in inspect.signature(evaluate).parameters.items()}
    given = [f for f in ("split", "sampler", "way", "shot", "query", "seed") if settings[f] != usual[f]]
    if given:
        raise ConfigError(
            f"{', '.join(given)} cannot be chosen where episodes come from a file, which has its own: leave out "
            "episodes_from, or what is chosen"
        )


def _sampler_settings(sampler: Sampler) -> dict[str, Any]:
    """What the sampler of a file of episodes is as this recipe's settings."""
    if isinstance(sampler, FixedSampler):
        return {"sampler": "fixed", **asdict(sampler)}
    return {"sampler": "variable" if isinstance(sampler, VariableSampler) else sampler_settings(sampler)["name"]}


def _episodes(
    wanted: int | None,
    path: str | None,
    domains: Sequence[Domain],
    plans: Mapping[str, Sequence[EpisodePlan]] | None,
) -> dict[str, int]:
    """How many episodes of each domain."""
    if plans is None:
        return dict.fromkeys((domain.name for domain in domains), 600 if wanted is None else wanted)
    few = {name: len(some) for name, some in plans.items() if len(some) < (wanted or 1)}
    if few:
        raise ConfigError(f"episodes is {wanted}, but '{path}' has only {few}: ask for fewer, or write more")
    return {name: len(some) if wanted is None else wanted for name, some in plans.items()}


def _pools(
    pool: SparseInterpolatedExperts, method: str, adapt: Kind, checkpoint: str
) -> dict[str, SparseInterpolatedExperts]:
    """The pool of each method to evaluate; the untouched backbone is one without experts."""
    own = pool.config.method if pool.config.experts else "pretrained"
    names = [*dict.fromkeys([own, "pretrained"])]
    known = [*names, *BASELINES]
    if method not in ("all", *known):
        advice = "" if pool.config.experts else "; this is a backbone without experts: to have them, meta-tune it first"
        raise ConfigError(f"method is {method!r}; of {checkpoint} there are all, {', '.join(known)}{advice}")
    if method in BASELINES and adapt != "none":
        raise ConfigError(f"{method} cannot be fine-tuned: set adapt to none, not {adapt}")
    plain = open_model(pool.backbone, pool.pretrained.device)
    return {name: pool if name == own else plain for name in (names if method == "all" else [method])}


def _unadapted(name: str, pool: SparseInterpolatedExperts, precision: NetworkPrecision) -> Contender:
    """A method without fine-tuning."""
    return Experts(pool, precision) if pool.config.experts else BASELINES.get(name, Frozen())


def _summaries(rows: Sequence[EpisodeRow], domains: Sequence[Domain]) -> list[Summary]:
    by_domain = {domain.name: [row for row in rows if row.domain == domain.name] for domain in domains}
    return [summarise(by_domain[d.name], d.role) for d in domains if by_domain[d.name]]


def _title(settings: dict[str, Any]) -> str:
    kind = (
        f"{settings['way']}-way {settings['shot']}-shot" if settings["sampler"] == "fixed" else "variable way and shot"
    )
    tuned = f", fine-tuning: {settings['adapt']}" if settings["adapt"] != "none" else ""
    return f"{Path(settings['checkpoint'])}: {kind}, {settings['episodes']} episodes a domain{tuned}"


def _report(result: Evaluation, settings: dict[str, Any], domains: Sequence[Domain]) -> dict[str, Any]:
    """Everything that was found and that it depends on, for JSON."""
    return {
        "complete": result.complete,
        "config": settings,
        "versions": versions("torch", "transformers", "datasets", "pillow") | {"python": platform.python_version()},
        "domains": {domain.name: {"role": domain.role, "fingerprint": domain.fingerprint} for domain in domains},
        "summary": [_plain(asdict(summary)) for summary in result.summaries],
        "averages": [_plain(asdict(summary)) for summary in averages(result.summaries)],
        "rows": [_row(row) for row in result.rows],
    }


def _row(row: EpisodeRow) -> dict[str, Any]:
    facts = {key: getattr(row, key) for key in ("id", "domain", "n", "way", "n_support", "n_query")}
    return facts | {
        "accuracy": {method: outcome.accuracy for method, outcome in row.outcomes.items()},
        "confidence": {method: float(outcome.confidence.mean()) for method, outcome in row.outcomes.items()},
    }


def _plain(value: Any) -> Any:
    """NaN and infinity, which JSON does not have, as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
