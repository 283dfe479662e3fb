"""`smat train`: meta-tune a backbone on several domains."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric import Fabric, seed_everything

from smat import backbones
from smat.domains import DomainConfig, open_domains
from smat.errors import CheckpointError, ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning import MetaTuner
from smat.metatuning.methods import method_files
from smat.metatuning.run_config import EpisodeConfig, TrainConfig, load_config
from smat.metatuning.sources import episode_sources
from smat.plugins import plain
from smat.precision import Precision, resolve_precision
from smat.process import keep_freed_memory, leave_cores_to, versions
from smat.recipes.training_log import TrainingLog
from smat.rng import seeded_torch

_log = logging.getLogger(__name__)

# Settings that a resumed run may change: they do not change its numbers.
_FREE = ("workers", "accelerator", "devices")


def train(config: TrainConfig, *, out: str, resume: bool = False) -> Path:
    """Meta-tune a backbone on several domains, and keep the best pool of experts.

    Writes `config.yaml`, `versions.yaml`, `log.jsonl`, TensorBoard's `tensorboard/`, the pools `best/` and `last/`, and
    `state/`, from which a stopped run resumes to the same numbers.

    Args:
        config: settings of the run.
        out: folder of the run.
        resume: go on with the run that the folder holds.

    Returns:
        The folder of the best pool.

    Raises:
        SmatError: if settings, data or the folder do not fit, or a loss is not finite.
        KeyboardInterrupt: if it was interrupted; the state is saved first.
    """
    folder = Path(out)
    config = with_kept_tracks(config.resolved(), folder)
    keep_freed_memory()
    leave_cores_to(config.workers)
    fabric = Fabric(accelerator=config.accelerator, devices=config.devices, strategy="auto")
    fabric.launch()
    precision = config.tuning.precision
    if fabric.is_global_zero:
        precision = resolve_precision(kept_precision(config, folder), fabric.device)
    config = with_precision(config, fabric.broadcast(precision))  # one for all processes: each might find another
    seed_everything(config.tuning.seed, verbose=False)
    domains = open_domains(config.domains, splits=config.splits, skip_bad=config.skip_bad)
    backbone = backbones.load(config.backbone, image_size=config.image_size)
    record = {
        "versions": versions("torch", "transformers", "lightning", "kornia", "datasets")
        | {"python": platform.python_version()},
        "data": {domain.name: domain.fingerprint for domain in domains},
    }
    if fabric.is_global_zero:
        prepare_folder(folder, config, record, resume)
    fabric.barrier()
    backbone.spec = replace(backbone.spec, margin=config.episodes.transforms.margin)  # for whoever uses the pool
    with seeded_torch(config.tuning.seed, "initialisation"):
        pool = SparseInterpolatedExperts(backbone, config.pool)
    train_source, validation = episode_sources(config, domains, backbone.spec.image_format)
    with TrainingLog(folder, config.tuning.tasks, active=fabric.is_global_zero) as log:
        tuner = MetaTuner(
            pool,
            train_source,
            validation,
            config.tuning,
            folder,
            fabric,
            workers=config.workers,
            on_step=log.step,
            on_validation=log.validation,
        )
        if resume:
            tuner.resume()
        log.start(tuner.progress.tasks)
        tuner.run()
    return folder / "best"


def meta_tune(
    config: TrainConfig | Mapping[str, Any] | str | Path | None = None,
    *,
    out: str | Path,
    method: str | None = None,
    resume: bool = False,
    **settings: Any,
) -> Path:
    """Meta-tune a backbone on several domains, as `smat train` does: `train` with settings in any form.

        smat.meta_tune(domains=["birds.parquet", "photos"], tuning={"tasks": 2000}, out="runs/mine")
        smat.meta_tune("src/smat/configs/real_small.yaml", method="pmf", out="runs/pmf")

    Args:
        config: base configuration: an object, a dict, or a YAML file.
        out: folder of the run.
        method: trained method of `smat.methods`, or a YAML file of one's own, laid over the base configuration.
        resume: whether to go on with the run that the folder holds.
        **settings: settings of `TrainConfig`, laid over all of these: objects, or dicts of what changes.

    Returns:
        The folder of the best pool, for `SparseInterpolatedExperts.from_pretrained`.

    Raises:
        SmatError: if settings, data or the folder do not fit, or a loss is not finite.
        KeyboardInterrupt: if it was interrupted; the state is saved first.
    """
    bases = [config] if isinstance(config, str | Path) else []
    method_layers = method_files(method, *bases) if method else []
    layers = [layer for layer in (config, *method_layers, settings) if layer]
    return train(load_config(layers), out=str(out), resume=resume)


def kept_precision(config: TrainConfig, folder: Path) -> Precision:
    """The precision that the settings say; for `auto` that of the run in the folder, where there is one."""
    settings = folder / "config.yaml"
    if config.tuning.precision != "auto" or not settings.exists():
        return config.tuning.precision
    precision = yaml.safe_load(settings.read_text())["tuning"]["precision"]
    _log.info("precision: %s (that of the run in %s)", precision, folder)
    return precision


def with_precision(config: TrainConfig, precision: Precision) -> TrainConfig:
    """The settings with another precision."""
    return replace(config, tuning=replace(config.tuning, precision=precision))


def with_kept_tracks(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings, without regard to tracks where they do not say and the folder's run began before one could."""
    settings = folder / "config.yaml"
    if config.episodes.tracks is not None or not settings.exists():
        return config
    if "tracks" in yaml.safe_load(settings.read_text()).get("episodes", {}):
        return config
    return replace(config, episodes=replace(config.episodes, tracks="ignore"))


def prepare_folder(folder: Path, config: TrainConfig, record: dict[str, Any], resume: bool) -> None:
    """Write the run's settings and origins, or compare them with those of the run to resume.

    Raises:
        ConfigError: if the folder holds a run already, or one with other settings.
        CheckpointError: if there is no run to resume, or its data have changed.
    """
    settings, origins = folder / "config.yaml", folder / "versions.yaml"
    if not resume:
        if settings.exists():
            raise ConfigError(
                f"{folder} holds a run already: go on with it (--resume), or choose another folder (--out)"
            )
        folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(yaml.safe_dump(plain(config), sort_keys=False))
        origins.write_text(yaml.safe_dump(record, sort_keys=False))
        return
    if not settings.exists():
        raise CheckpointError(f"{folder} holds no run to resume: start one without --resume")
    before = _completed(yaml.safe_load(settings.read_text()))
    changed = sorted(_differences(before, plain(config), _FREE))
    if changed:
        raise ConfigError(
            f"the run in {folder} has other settings: {'; '.join(changed)}. Resume it with its own config.yaml"
        )
    data = yaml.safe_load(origins.read_text())["data"]
    if data != record["data"]:
        names = sorted(name for name in data | record["data"] if data.get(name) != record["data"].get(name))
        raise CheckpointError(f"the data of the run in {folder} have changed: {', '.join(names)}. Start a new run")


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


def _differences(before: Any, now: Any, free: Sequence[str] = (), path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in before | now if key not in free]
        return [d for key in keys for d in _differences(before.get(key), now.get(key), (), f"{path}.{key}".lstrip("."))]
    return [] if before == now else [f"{path} was {before}, is {now}"]
