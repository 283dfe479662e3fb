"""Training what is missing, for `smat reproduce`."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from smat.adaptation import Device, ExpertTuner, FineTuner, open_model, pick_device
from smat.backbones import BackboneSpec
from smat.domains import one_by_one, open_domains
from smat.errors import CheckpointError, ConfigError, SmatError
from smat.evaluation import same_backbone
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.methods import method_config
from smat.metatuning.run_config import TrainConfig
from smat.plugins import packages_named, plain
from smat.recipes.reproduce.setting import Setting
from smat.recipes.run_folder import backbone_fingerprint, is_begun
from smat.recipes.sharing import Sharing
from smat.recipes.train import as_begun, prepare_folder, train


@dataclass(frozen=True)
class Workshop:
    """What all trainings and evaluations of a comparison share.

    Attributes:
        config: YAML file of the base configuration.
        base: what it says.
        folder: folder of the trainings.
        checkpoints: paths of pools that need no training, by `Setting.training`.
        seeds: seeds of the trainings.
        device: `auto`, `cpu` or `cuda`.
        workers: number of processes that make episodes.
        console: where to write.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.
    """

    config: str
    base: TrainConfig
    folder: Path
    checkpoints: Mapping[str, str]
    seeds: Sequence[int]
    device: Device
    workers: int
    console: Console
    allow_imports: Sequence[str] = ()
    _configs: dict[str, TrainConfig] = field(default_factory=dict, init=False)

    def open_backbone(self) -> SparseInterpolatedExperts:
        """The backbone of the base configuration, as a pool without experts."""
        backbone = self.base.load_backbone()
        return open_model(backbone, pick_device(self.device)).eval()

    def open(self, setting: Setting, seed: int) -> SparseInterpolatedExperts:
        """A trained pool, changed as the setting says."""
        given = self.checkpoints.get(setting.training(seed))
        if given is None:
            path, named = str(self.folder / setting.training(seed) / setting.pool), self.training_config(setting, seed)
            pool = self._load(path, packages_named(plain(named)))  # what the user's own configuration names
        else:
            pool = self._load(given)
        return setting.carry_out(pool.to(pick_device(self.device)))

    def training_config(self, setting: Setting, seed: int) -> TrainConfig:
        """The base configuration turned into that of a training; raises a `ConfigError` if it does not fit."""
        name = setting.training(seed)
        if name not in self._configs:
            self._configs[name] = self._training_config(setting, seed)
        return self._configs[name]

    def _training_config(self, setting: Setting, seed: int) -> TrainConfig:
        fixed = (
            f"--tuning.seed={seed}",
            f"--accelerator={self.device}",
            f"--workers={self.workers}",
            "--devices=1",
            "--num_nodes=null",
        )
        config = method_config(setting.method, self.config, *fixed, *setting.overrides).resolved()
        return replace(config, domains=list(setting.domains)) if setting.domains else config

    def trainings(self, settings: Sequence[Setting], own: SparseInterpolatedExperts) -> dict[str, TrainConfig]:
        """The trainings that are not finished, by name, after a check of all that were begun.

        Raises:
            ConfigError: if one does not fit, or was begun with other settings, data or another backbone.
        """
        configs = {
            setting.training(seed): self.training_config(setting, seed)
            for setting in settings
            if setting.trained
            for seed in self.seeds
            if setting.training(seed) not in self.checkpoints
        }
        sources = one_by_one(self.base.domains)
        opened = list(zip(sources, open_domains(sources, **self.base.opening()), strict=True))
        backbone, missing = backbone_fingerprint(own), {}
        for name, config in configs.items():
            folder = self.folder / name
            if is_begun(folder):
                config = as_begun(config, folder)
                chosen = one_by_one(config.domains)
                data = {domain.name: domain.fingerprint for source, domain in opened if source in chosen}
                record = {"backbone": backbone, "data": data}
                try:
                    prepare_folder(folder, config, record, resume=True)
                except SmatError as error:
                    raise ConfigError(f"{error}; or remove {folder}, or choose another --out") from error
            if not (folder / "last").exists():  # written when a training ends
                missing[name] = config
        self._check_kept(settings, missing)
        return missing

    def _check_kept(self, settings: Sequence[Setting], missing: Collection[str]) -> None:
        """Raise a `CheckpointError` if a finished training lacks a pool that it has kept on its way."""
        for setting in (setting for setting in settings if setting.kept is not None):
            for folder in (self.folder / setting.training(seed) for seed in self.seeds):
                if folder.name not in missing and not (folder / setting.pool).exists():
                    raise CheckpointError(
                        f"{folder / setting.pool} is not there any more, and its training has ended: remove {folder}"
                    )

    def train(self, configs: Mapping[str, TrainConfig], sharing: Sharing) -> None:
        """Run trainings, from their beginning or from where they were interrupted; those of others are waited for."""
        threads, left = torch.get_num_threads(), dict(configs)
        while left:
            for name, config in list(left.items()):
                folder = self.folder / name
                with sharing.lease("training", name) as mine:
                    if mine and not (folder / "last").exists():
                        self.console.rule(f"training {len(configs) - len(left) + 1}/{len(configs)}: {name}")
                        torch.set_num_threads(threads)  # a training leaves some to its workers
                        train(config, out=str(folder), resume=True)
                    if mine:
                        del left[name]
            if left:
                sharing.wait(f"training of {', '.join(left)}", self.console)
        torch.set_num_threads(threads)

    def check(self, settings: Sequence[Setting], own: SparseInterpolatedExperts) -> None:
        """Raise a `CheckpointError` if a given pool does not start from the backbone of the base configuration."""
        for name in {s.training(seed) for s in settings if s.trained for seed in self.seeds} & self.checkpoints.keys():
            path = self.checkpoints[name]
            check_backbone(self._load(path), own, path, self.config)

    def check_tuners(
        self, tuners: Sequence[FineTuner], settings: Sequence[Setting], own: SparseInterpolatedExperts
    ) -> None:
        """Raise a `ConfigError` if a kind of fine-tuning cannot tune the backbone or the experts of a setting."""
        for tuner in (tuner for tuner in tuners if not isinstance(tuner, ExpertTuner)):
            tuner.check_pool(own)
        if by_experts := [tuner for tuner in tuners if isinstance(tuner, ExpertTuner)]:
            for setting in (setting for setting in settings if setting.trained):
                config = self.training_config(setting, self.seeds[0]).pool
                untrained = SparseInterpolatedExperts(copy.deepcopy(own.backbone), config)
                for tuner in by_experts:
                    tuner.check_pool(untrained)

    def _load(self, path: str, allowed: Collection[str] = ()) -> SparseInterpolatedExperts:
        return SparseInterpolatedExperts.from_pretrained(path, allow_imports=[*self.allow_imports, *allowed])


def check_backbone(pool: SparseInterpolatedExperts, own: SparseInterpolatedExperts, path: str, config: str) -> None:
    """Raise a `CheckpointError` if two pools are not around the same network at the same image size."""
    theirs, ours = pool.backbone.spec, own.backbone.spec
    if theirs.image_size != ours.image_size:
        raise CheckpointError(
            f"{path} is for images of {theirs.image_size} pixels, and {config} says {ours.image_size}: all methods of "
            "a comparison need the same; give another checkpoint, or set image_size"
        )
    if not same_backbone(pool, own):
        raise CheckpointError(
            f"{path} was tuned from another backbone ({_describe(theirs)}) than that of {config} ({_describe(ours)}): "
            "all methods of a comparison start from the same"
        )


def _describe(spec: BackboneSpec) -> str:
    return f"{spec.kind} {spec.name}"
