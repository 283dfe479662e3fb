"""`smat train`: meta-tune a backbone on several domains."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric import Fabric, seed_everything

from smat.domains import DomainConfig, open_domains
from smat.errors import CheckpointError, CollapseError, ConfigError
from smat.files import check_folder, locked, write_whole
from smat.metatuning import MetaTuner
from smat.metatuning.callbacks import callbacks_of
from smat.metatuning.compilation import is_compiled
from smat.metatuning.methods import method_files
from smat.metatuning.optimizers import tunes_delta
from smat.metatuning.run_config import EpisodeConfig, TrainConfig, load_config
from smat.metatuning.sources import episode_sources
from smat.plugins import plain
from smat.precision import Precision, resolve_precision
from smat.process import keep_freed_memory, leave_cores_to
from smat.recipes.devices import by_first, launch
from smat.recipes.rate_search import find_rate
from smat.recipes.run_folder import (
    ANEW,
    COLLAPSE,
    FREE,
    ORIGINS,
    SETTINGS,
    check_origins,
    clear,
    is_begun,
    origins_of,
    read_origins,
)
from smat.recipes.training_card import training_entry
from smat.recipes.training_log import TrainingLog
from smat.schema import check_settings, read_yaml

_log = logging.getLogger(__name__)


def train(config: TrainConfig, *, out: str, resume: bool = False, find_lr: bool = False) -> Path:
    """Meta-tune a backbone on several domains, and keep the best pool of experts.

    Writes `config.yaml`, `versions.yaml`, `log.jsonl`, TensorBoard's `tensorboard/`, the pools `best/` and `last/`,
    `state/`, from which a stopped run resumes to the same numbers, and, with `tuning.keep_every`, pools in `kept/`.
    Where the settings give no learning rate of the update, short trials find one first: `find_lr.yaml` says what they
    came to, `config.yaml` has the rate.

    Args:
        config: settings of the run.
        out: folder of the run.
        resume: go on with the run that the folder holds, or begin it where it holds none yet.
        find_lr: find the update's learning rate, `tuning.optimizers.delta.lr`, by short trials first, in place of one
            that is given.

    Returns:
        The folder of the best pool.

    Raises:
        SmatError: if settings, data or the folder do not fit, a loss is not finite, or features become constant.
        KeyboardInterrupt: if it was interrupted; the state is saved first.
    """
    config, folder = config.resolved(), check_folder(out, "--out")
    if find_lr:
        config = with_rate(config, None)
    keep_freed_memory()
    leave_cores_to(config.workers)
    fabric = launch(config.accelerator, config.devices, config.num_nodes)
    # one for all processes: each might find another precision
    config, begun = by_first(fabric, lambda: (_completed_by(config, folder, fabric), is_begun(folder)))
    if begun and not resume:
        raise ConfigError(f"{folder} holds a run already: go on with it (--resume), or choose another folder (--out)")
    seed_everything(config.tuning.seed, verbose=False)
    domains = open_domains(config.domains, **config.opening())
    pool = config.new_pool()
    config, backbone = config.of_pool(pool), pool.backbone
    backbone.spec = replace(backbone.spec, margin=config.episodes.transforms.margin)  # for whoever uses the pool
    image_format = backbone.spec.image_format
    train_source, validation = episode_sources(config, domains, image_format)
    tunes_experts = tunes_delta(pool) and not config.tuning.only_router
    if find_lr and not tunes_experts:
        what = "with tuning.only_router" if config.tuning.only_router else f"of {type(pool.update).__name__}"
        raise ConfigError(f"nothing {what} follows tuning.optimizers.delta.lr: leave out --find-lr (find_lr)")
    searched = config.tuning.optimizers.delta.lr is None and tunes_experts
    if searched and config.strategy == "sharded":
        raise ConfigError(
            "with strategy sharded no learning rate can be searched for: give tuning.optimizers.delta.lr, or find it "
            "with fewer experts first (--find-lr)"
        )
    with ExitStack() as held:
        compiled = is_compiled(pool, config.tuning, fabric.device)

        def take() -> None:
            _take(folder, config, origins_of(domains, pool, config.init, compiled=compiled), begun, held)

        by_first(fabric, take)
        if searched:
            config = with_rate(config, find_rate(pool, train_source, domains, image_format, config, folder, fabric))
        if fabric.is_global_zero:  # which saves the pool
            training = training_entry(config, read_origins(folder), train_source, validation)
            pool.card = replace(pool.card, training=training)
        callbacks = callbacks_of(config.loggers, config.callbacks) if fabric.is_global_zero else []
        log = held.enter_context(
            TrainingLog(folder, config.tuning.tasks, active=fabric.is_global_zero, callbacks=callbacks)
        )
        tuner = MetaTuner(
            pool,
            train_source,
            validation,
            config.tuning,
            folder,
            fabric,
            workers=config.workers,
            sharded=config.strategy == "sharded",
            on_step=log.step,
            on_validation=log.validation,
            on_alignment=log.alignment,
            on_warning=log.warning,
        )
        if searched:
            tuner.save()  # before the rate is written: a run with a rate has a state to resume from
            if fabric.is_global_zero:
                _write_settings(folder, config)
        elif begun:
            tuner.resume()
        log.start(tuner.progress.tasks, plain(config))
        try:
            tuner.run()
        except CollapseError as error:
            if fabric.is_global_zero:
                write_whole(folder / COLLAPSE, yaml.safe_dump(_pace(plain(config)) | {"error": str(error)}))
            raise
        log.end(config.tuning)
    return folder / "best"


def meta_tune(
    config: TrainConfig | Mapping[str, Any] | str | Path | None = None,
    *,
    out: str | Path,
    method: str | None = None,
    resume: bool = False,
    find_lr: bool = False,
    **settings: Any,
) -> Path:
    """Meta-tune a backbone on several domains, as `smat train` does: `train` with settings in any form.

        smat.meta_tune(domains=["birds.parquet", "photos"], tuning={"tasks": 2000}, out="runs/mine")
        smat.meta_tune("src/smat/configs/real_small.yaml", method="pmf", out="runs/pmf")

    Args:
        config: base configuration: an object, a dict, or a YAML file.
        out: folder of the run.
        method: trained method of `smat.methods`, or a YAML file of one's own, laid over the base configuration.
        resume: whether to go on with the run that the folder holds, or to begin it where it holds none yet; without
            base and method, its own settings are the base.
        find_lr: whether to find the learning rate of the update by short trials first, in place of one that is given;
            without any, that is done in any case.
        **settings: settings of `TrainConfig`, laid over all of these: objects, or dicts of what changes.

    Returns:
        The folder of the best pool, for `SparseInterpolatedExperts.from_pretrained`.

    Raises:
        SmatError: if settings, data or the folder do not fit, a loss is not finite, or features become constant.
        KeyboardInterrupt: if it was interrupted; the state is saved first.
    """
    own = Path(out, SETTINGS)
    if resume and config is None and method is None and own.exists():
        config = own
    bases = [config] if isinstance(config, str | Path) else []
    method_layers = method_files(method, *bases) if method else []
    layers = [layer for layer in (config, *method_layers, settings) if layer]
    return train(load_config(layers), out=str(out), resume=resume, find_lr=find_lr)


def _completed_by(config: TrainConfig, folder: Path, fabric: Fabric) -> TrainConfig:
    """The settings without what they leave open: as the run in the folder has it, or as this machine suggests."""
    config = as_begun(config, folder)
    return with_precision(config, resolve_precision(config.tuning.precision, fabric.device))


def as_begun(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings, with what they leave open as it is in the run in the folder, where there is one.

    These are the precision `auto`, a learning rate of the update that is to be found, and the rule for tracks.
    """
    if not is_begun(folder) or not (folder / SETTINGS).exists():
        return config
    config = with_kept_tracks(config, folder)
    begun = _completed(_begun(folder))["tuning"]
    if config.tuning.precision == "auto":
        config = with_precision(config, begun["precision"])
        _log.info("precision: %s (that of the run in %s)", begun["precision"], folder)
    rate = begun["optimizers"]["delta"]["lr"]
    if config.tuning.optimizers.delta.lr is None and rate is not None:
        config = with_rate(config, rate)
        _log.info("learning rate: %g (that of the run in %s)", rate, folder)
    return config


def with_precision(config: TrainConfig, precision: Precision) -> TrainConfig:
    """The settings with another precision."""
    return replace(config, tuning=replace(config.tuning, precision=precision))


def with_rate(config: TrainConfig, rate: float | None) -> TrainConfig:
    """The settings with another learning rate of the update; None: to be found."""
    optimizers = config.tuning.optimizers
    optimizers = replace(optimizers, delta=replace(optimizers.delta, lr=rate))
    return replace(config, tuning=replace(config.tuning, optimizers=optimizers))


def with_kept_tracks(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings, without regard to tracks where they do not say and the folder's run began before one could."""
    if config.episodes.tracks is not None or not (folder / SETTINGS).exists():
        return config
    if "tracks" in (_begun(folder).get("episodes") or {}):
        return config
    return replace(config, episodes=replace(config.episodes, tracks="ignore"))


def _take(folder: Path, config: TrainConfig, origins: dict[str, Any], begun: bool, held: ExitStack) -> None:
    """Keep other processes out of the folder of a run for as long as `held` is open, and prepare it."""
    held.enter_context(locked(folder))
    if begun != is_begun(folder):
        raise ConfigError(
            f"another process has begun a run in {folder}: go on with it by --resume, or give another --out"
        )
    prepare_folder(folder, config, origins, resume=begun)
    written = read_origins(folder)
    if origins.keys() - written.keys():  # the run began before they were written down
        write_whole(folder / ORIGINS, yaml.safe_dump(origins | written, sort_keys=False))


def prepare_folder(folder: Path, config: TrainConfig, record: dict[str, Any], resume: bool) -> None:
    """Write the run's settings and origins, or compare them with those of the run to resume.

    Raises:
        ConfigError: if the folder holds a run with other settings, or one that these settings broke.
        CheckpointError: if the settings of the run to resume are missing, or its data or backbone have changed.
    """
    origins = folder / ORIGINS
    if not resume:
        clear(folder)
        write_whole(origins, yaml.safe_dump(record, sort_keys=False))
        _write_settings(folder, config)
        return
    if not (folder / SETTINGS).exists() or not origins.exists():
        raise CheckpointError(f"{folder} has a run without {SETTINGS} or {ORIGINS}: start another (--out)")
    before, now = _completed(_begun(folder)), plain(config)
    collapse = folder / COLLAPSE
    if collapse.exists():
        if _pace(before) == _pace(now):
            raise ConfigError(
                f"the run in {folder} has broken its network with these settings, and would again: give a lower "
                "tuning.optimizers.delta.lr, or a longer tuning.optimizers.warmup"
            )
        before["tuning"]["optimizers"] = _with_pace(before["tuning"]["optimizers"], now["tuning"]["optimizers"])
    changed = sorted(_differences(before, now))
    if changed:
        raise ConfigError(
            f"the run in {folder} has other settings: {'; '.join(changed)}. Resume it with its own config.yaml"
        )
    written = read_origins(folder)
    check_origins(written, record, folder)
    if collapse.exists():
        broken = read_yaml(collapse, dict, CheckpointError, ANEW)
        written["collapses"] = [*(written.get("collapses") or []), broken]
        write_whole(origins, yaml.safe_dump(written, sort_keys=False))
        _write_settings(folder, config)
        collapse.unlink()


def _begun(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder, as they are written there; their objects are not made."""
    path = folder / SETTINGS
    settings = read_yaml(path, dict, CheckpointError, ANEW)
    check_settings(settings, TrainConfig, lambda setting: f"'{path}': {setting}")
    return settings


def _write_settings(folder: Path, config: TrainConfig) -> None:
    write_whole(folder / SETTINGS, yaml.safe_dump(plain(config), sort_keys=False))


def _pace(settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings of a run that a resumed one may change once it has broken its network."""
    optimizers = settings["tuning"]["optimizers"]
    return {"delta_lr": optimizers["delta"]["lr"], "warmup": optimizers["warmup"]}


def _with_pace(optimizers: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The settings of the optimizers with the pace of others."""
    return optimizers | {"delta": optimizers["delta"] | {"lr": other["delta"]["lr"]}, "warmup": other["warmup"]}


def _completed(settings: dict[str, Any]) -> dict[str, Any]:
    """A run's settings with the defaults of those that there were not yet when it was begun; tracks were ignored then.

    They are not parsed, which would import the code that they name.
    """
    domains = [
        _over(plain(DomainConfig("")), domain) if isinstance(domain, dict) else domain
        for domain in settings.get("domains", [])
    ]
    before = TrainConfig(domains=[], episodes=EpisodeConfig(tracks="ignore"))
    return _over(plain(before), settings) | {"domains": domains}


def _over(defaults: Any, given: Any) -> Any:
    """Settings over their defaults; a plug-in's go together."""
    if not (isinstance(defaults, dict) and isinstance(given, dict)) or "class_path" in given:
        return given
    return defaults | {name: _over(defaults.get(name), value) for name, value in given.items()}


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if path in FREE:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in before | now
            for difference in _differences(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{path} was {before}, is {now}"]
