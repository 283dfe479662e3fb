"""The settings of a meta-tuning run, from YAML files and the command line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser

from smat.backbones import Backbone, load
from smat.backbones.spec import Pixels
from smat.domains import DataOptions, DomainConfig
from smat.episodes import EpisodeShape, TransformConfig
from smat.errors import ConfigError
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.metatuning.callbacks import Callback, LoggerName
from smat.metatuning.settings import TuningConfig
from smat.options import YAML, instantiated, readable
from smat.plugins import plain
from smat.rng import seeded_torch
from smat.schema import Count, Finite, Processes, checked


@dataclass(frozen=True)
class EpisodeConfig(EpisodeShape):
    """What the tasks of a training are like.

    Attributes:
        split: whether support and query are different images in training; if not, a task's images are both.
        transforms: cutting and augmentation of images.
    """

    split: bool = True
    transforms: TransformConfig = TransformConfig()


@dataclass(frozen=True)
@checked()
class TrainConfig(DataOptions):
    """A meta-tuning run.

    Attributes:
        domains: domains to tune on: parquet files, folders of class folders, hub data sets, pocket domains. Those with
            the role `validation` are not trained on; where there are some, they alone choose the best checkpoint.
        test_domains: further domains that `smat reproduce` tests on; nothing is trained or chosen on them.
        backbone: pre-trained network: a hub name, a folder, `pocket`, `timm:NAME`, or `module:PATH`, the import path of
            a function or class of your own that gives a network.
        image_size: side of the backbone's images in pixels; by default that of its checkpoint.
        mean: mean that the red, green and blue of images, in 0..1, are normalised with, or one number for all three; by
            default that of the backbone's checkpoint.
        std: standard deviation of the colours, likewise.
        episodes: ways, shots and images of the training tasks.
        pool: experts, gates and router.
        init: checkpoint to go on tuning from, by its folder or name on the hub, in place of new experts: its backbone,
            experts and router are then the run's, and `backbone`, `image_size` and `pool` follow from it.
        tuning: objective, optimizers and schedule.
        compat: `official` takes the settings of the authors' code wherever they differ from ours.
        workers: number of processes that make episodes.
        accelerator: device to train on: `auto`, `cpu` or `cuda`.
        devices: number of devices of each machine, which take one task each at a time; by default 1, or one for each
            process that torchrun or SLURM has started there.
        num_nodes: number of machines; by default those on which torchrun or SLURM has started processes.
        strategy: whether each process holds the whole pool (`replicated`), or a slice of its update and gates, with
            their gradients and what optimizers keep (`sharded`), for pools that are too large for one.
        loggers: where numbers go besides `log.jsonl` and TensorBoard: any of `csv` (`log.csv`), `wandb` (Weights &
            Biases) and `mlflow`, which are set up by their own environment variables.
        callbacks: classes of one's own that follow the training, by import path.
    """

    domains: list[str | DomainConfig]
    test_domains: list[str | DomainConfig] = field(default_factory=list)
    backbone: str = "pocket"
    image_size: Pixels | None = None
    mean: Finite | Sequence[Finite] | None = None
    std: Finite | Sequence[Finite] | None = None
    episodes: EpisodeConfig = EpisodeConfig()
    pool: PoolConfig = PoolConfig()
    init: str | None = None
    tuning: TuningConfig = TuningConfig()
    compat: Literal["none", "official"] = "none"
    workers: Processes = 1
    accelerator: str = "auto"
    devices: Count | None = None
    num_nodes: Count | None = None
    strategy: Literal["replicated", "sharded"] = "replicated"
    loggers: list[LoggerName] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)

    def new_pool(self) -> SparseInterpolatedExperts:
        """The experts to begin with: new ones around the backbone, or those of `init`.

        Raises:
            ConfigError: settings of the backbone or the pool that are not those of `init`.
            SmatError: as `smat.backbones.load` and `SparseInterpolatedExperts.from_pretrained` raise.
        """
        if self.init is None:
            backbone = self.load_backbone()
            with seeded_torch(self.tuning.seed, "initialisation"):
                return SparseInterpolatedExperts(backbone, self.pool)
        pool = SparseInterpolatedExperts.from_pretrained(self.init)
        if pool.config.packed:
            raise ConfigError(f"init is {self.init}, a packed pool, which cannot be tuned: give the one it was made of")
        own, usual = self.of_pool(pool), {field.name: field.default for field in fields(TrainConfig)}
        other = [
            name
            for name in ("backbone", "image_size", "mean", "std", "pool")
            if getattr(self, name) not in (usual[name], getattr(own, name))
        ]
        if other:
            raise ConfigError(
                f"{' and '.join(other)} differ from those of init, {self.init}: leave them out, or leave out init"
            )
        return pool

    def of_pool(self, pool: SparseInterpolatedExperts) -> "TrainConfig":
        """The settings with the backbone and the pool of `init`, where it is given."""
        if self.init is None:
            return self
        spec = pool.backbone.spec
        return replace(self, backbone=spec.name, image_size=spec.image_size, mean=None, std=None, pool=pool.config)

    def load_backbone(self) -> Backbone:
        """The pre-trained network; raises as `smat.backbones.load`."""
        return load(self.backbone, image_size=self.image_size, mean=self.mean, std=self.std)

    def resolved(self) -> "TrainConfig":
        """With what other settings stand for: those of `compat`, and the seed of random masks."""
        if self.pool.gating == "random" and self.pool.mask_seed is None:
            return replace(self, pool=replace(self.pool, mask_seed=self.tuning.seed)).resolved()
        if self.compat == "none":
            return self
        tuning = replace(self.tuning, objective=self.tuning.objective.official())
        return replace(self, pool=self.pool.official(), tuning=tuning)


def load_config(configs: Sequence[TrainConfig | Mapping[str, Any] | str | Path], *overrides: str) -> TrainConfig:
    """A run's settings from several sources, later ones over earlier ones.

    Args:
        configs: YAML files, dicts of settings, which may hold objects, or whole configurations.
        overrides: settings as on the command line (`--tuning.tasks=100`), over all of these.

    Raises:
        ConfigError: a file that cannot be read, or settings that there are not.
    """
    sources = [str(c) if isinstance(c, str | Path) else json.dumps(plain(c)) for c in configs]
    named = [str(c) if isinstance(c, str | Path) else "settings" for c in configs]
    try:
        arguments = [*(f"--config={source}" for source in sources), *overrides]
        options = instantiated(_parser(), arguments, named, TrainConfig)
    except ArgumentError as error:
        raise ConfigError(f"{' and '.join([*named, *overrides])}: {readable(str(error))}") from error
    return TrainConfig(**{key: value for key, value in vars(options).items() if key != "config"})


@cache
def _parser() -> ArgumentParser:
    """Made once: it takes as long as parsing does, and comparisons read dozens of configurations."""
    parser = ArgumentParser(exit_on_error=False, parser_mode=YAML)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TrainConfig)
    return parser
