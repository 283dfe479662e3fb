"""What experts do at each target sparsity: how much their masks overlap, how tasks are routed, how gradients align."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smat.analysis import overlap, read_contributions, route_tasks
from smat.analysis.alignment import alignment, measure_alignment
from smat.domains import open_domains
from smat.episodes import EpisodeSource, sampler_settings
from smat.errors import CheckpointError, Interrupted
from smat.evaluation import FixedFeatures
from smat.experts import SparseInterpolatedExperts
from smat.files import write_whole
from smat.metatuning import TuningConfig
from smat.metatuning.sources import episode_sources
from smat.plugins import plain
from smat.recipes.figure_style import PAGE, look, styled, write_figure
from smat.recipes.reproduce.points import write_rows
from smat.recipes.reproduce.prepared import Prepared
from smat.recipes.reproduce.setting import Setting
from smat.schema import Finite, read_json

_ROUTED, _ALIGNED = 10, 4  # tasks of each domain
_ADVICE = "Remove it, and its numbers are computed again"
_LABELS = {
    "overlap": "Jaccard index of masks\nbeyond chance",
    "entropy": "entropy of routing",
    "alignment": "cosine between\ngradients of tasks",
}


@dataclass(frozen=True)
class Specialisation:
    """What the experts of a pool do; None: there is none, as of the overlap of one expert.

    Attributes:
        overlap: Jaccard index of two experts' masks minus that of random masks of the same densities, mean over pairs.
        overlap_in_layers: the same with random masks of the same densities at each depth and in each type of layer.
        entropy: entropy of the merge weights over that of equal ones, in 0..1; mean over test tasks of all domains.
        alignment: cosine between the gradients of two training tasks to the update, mean over pairs.
        alignment_within: the same over pairs of one domain.
        alignment_between: the same over pairs of two domains.
    """

    overlap: Finite | None
    overlap_in_layers: Finite | None
    entropy: Finite | None
    alignment: Finite | None
    alignment_within: Finite | None
    alignment_between: Finite | None


@dataclass(frozen=True)
class _Measured:
    """What was measured before, by all that it depends on."""

    pools: dict[str, Specialisation]


@dataclass(frozen=True)
class Found:
    """Numbers of a setting's pool from one training seed."""

    setting: Setting
    seed: int
    numbers: Specialisation


def write_specialisation(ready: Prepared, stem: Path) -> list[Path]:
    """Measure the pools of a sparsity sweep, draw what they do, and give the files.

    Args:
        ready: the comparison, whose trainings are finished.
        stem: path of the files without what they end in.

    Raises:
        CheckpointError: the file of what was measured before is damaged.
        ConfigError: if a file cannot be written.
        Interrupted: after an interruption; what is finished is kept.
    """
    found = specialisations(ready)
    rows = [{**each.setting.point, "seed": each.seed, **asdict(each.numbers)} for each in found]
    return [*write_figure(draw_specialisation(found), stem), write_rows(rows, stem.with_name(f"{stem.name}.csv"))]


def specialisations(ready: Prepared) -> list[Found]:
    """The numbers of all pools of a comparison; those that are in its folder are not computed again.

    Raises:
        CheckpointError: the file of those is damaged.
        Interrupted: after an interruption; what is finished is kept.
    """
    workshop, path = ready.workshop, ready.folder / "specialisation.json"
    known = read_json(path, _Measured, CheckpointError, _ADVICE).pools if path.exists() else {}
    config = workshop.base.resolved()
    domains = open_domains(config.domains, **config.opening())
    training, _ = episode_sources(config, domains, ready.backbone.backbone.spec.image_format)
    frozen = FixedFeatures(ready.backbone, ready.settings.precision, cache=ready.settings.cache)
    pools = [(setting, seed) for setting in ready.columns if setting.trained for seed in workshop.seeds]
    found = []
    try:
        for number, (setting, seed) in enumerate(pools, start=1):
            pool = workshop.open(setting, seed)
            tuning = replace(workshop.training_config(setting, seed).tuning, seed=config.tuning.seed)
            key = _key(pool, ready, training, tuning)
            if key not in known:
                workshop.console.print(f"experts {number}/{len(pools)}: {setting.training(seed)}", highlight=False)
                known[key] = _measured(pool, ready, frozen, training, tuning)
                write_whole(path, json.dumps(asdict(_Measured(known)), indent=1), keep=True)
            found.append(Found(setting, seed, known[key]))
    except KeyboardInterrupt as interruption:
        raise Interrupted(f"{len(known)} pools were looked at: the same command goes on from there") from interruption
    return found


def _key(pool: SparseInterpolatedExperts, ready: Prepared, training: EpisodeSource, tuning: TuningConfig) -> str:
    """Everything that the numbers of a pool depend on."""
    data = [
        [
            [domain.fingerprint for domain in source.domains],
            source.split,
            sampler_settings(source.sampler),
            source.seed,
        ]
        for source in [*ready.sources, training]
    ]
    objective = plain(tuning.objective)
    return json.dumps([pool.fingerprint(), ready.settings.precision, data, _ROUTED, _ALIGNED, objective])


def _measured(
    pool: SparseInterpolatedExperts,
    ready: Prepared,
    frozen: FixedFeatures,
    training: EpisodeSource,
    tuning: TuningConfig,
) -> Specialisation:
    workers, precision = ready.workshop.workers, ready.settings.precision
    tasks = route_tasks(pool, frozen, ready.sources, _ROUTED, workers=workers)
    cosines = measure_alignment(pool, training, tuning, tasks=_ALIGNED, precision=precision)
    masks = overlap(read_contributions(pool)).jaccard
    above = np.triu_indices(pool.config.experts, k=1)
    density, layers = ((masks.observed - masks.expected[null])[above] for null in ("density", "layers"))
    within, between, both = (alignment(cosines, "delta", pairs).mean for pairs in ("within", "between", "all"))
    return Specialisation(
        overlap=_mean(density),
        overlap_in_layers=_mean(layers),
        entropy=_mean(tasks.entropy) if tasks.shares.shape[1] > 1 else None,
        alignment=_mean([both]),
        alignment_within=_mean([within]),
        alignment_between=_mean([between]),
    )


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    """The mean of the numbers that there are; None where there are none."""
    there = [float(value) for value in values if math.isfinite(value)]
    return sum(there) / len(there) if there else None


def draw_specialisation(found: Sequence[Found]) -> Figure:
    """Draw the numbers against the target sparsity, each the mean over training seeds.

    Numbers of experts have colours of their own; lines of methods differ.
    """
    taus = sorted({each.setting.point["tau"] for each in found})
    curves = list(dict.fromkeys((each.setting.point["method"], each.setting.point["experts"]) for each in found))
    methods, experts = (list(dict.fromkeys(curve[part] for curve in curves)) for part in (0, 1))
    with styled():
        figure = Figure(figsize=(PAGE, 2.4))
        panels = dict(zip(_LABELS, figure.subplots(1, len(_LABELS)), strict=True))
        for name, axes in panels.items():
            for method, count in curves:
                _draw_curve(axes, found, taus, name, method, count, methods, experts)
            axes.set(xlabel="target sparsity τ", ylabel=_LABELS[name])
            axes.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
        handles, labels = panels["entropy"].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=max(3, len(experts)))
    return figure


def _draw_curve(
    axes: Axes,
    found: Sequence[Found],
    taus: Sequence[float],
    name: str,
    method: str,
    count: int,
    methods: Sequence[str],
    experts: Sequence[int],
) -> None:
    at: dict[float, list[float]] = {}
    for each in found:
        value = getattr(each.numbers, name)
        if (each.setting.point["method"], each.setting.point["experts"]) == (method, count) and value is not None:
            at.setdefault(each.setting.point["tau"], []).append(value)
    shown = [tau for tau in taus if tau in at]
    axes.plot(
        [taus.index(tau) for tau in shown],
        [sum(at[tau]) / len(at[tau]) for tau in shown],
        color=look(experts.index(count)).color,
        marker=look(experts.index(count)).marker,
        linestyle=look(methods.index(method)).linestyle,
        label=f"{method}, M = {count}" if len(methods) > 1 else f"M = {count}",
    )
