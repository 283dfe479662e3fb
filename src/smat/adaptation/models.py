"""A pool of experts from whatever names or holds one, and the device it runs on."""

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from smat.backbones import Backbone, ImageOptions, load
from smat.backbones.checkpoint import Checkpoint
from smat.errors import BackboneError, CheckpointError, ConfigError
from smat.experts import PoolConfig, SparseInterpolatedExperts

Device = Literal["auto", "cpu", "cuda"]
Model = str | Path | Backbone | SparseInterpolatedExperts
"""A checkpoint or a backbone by folder or hub name, or the thing itself."""


def pick_device(device: Device = "auto") -> torch.device:
    """The device of that name; for `"auto"` the GPU where there is one, otherwise the CPU.

    Raises:
        ConfigError: another name, or `"cuda"` where PyTorch sees no GPU.
    """
    if device not in get_args(Device):
        raise ConfigError(f"device is {device!r}; choose one of {', '.join(get_args(Device))}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but PyTorch sees no GPU here: use 'cpu' or 'auto'")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())  # with its number, as tensors give their device


def open_model(
    model: Model,
    device: torch.device,
    allow_imports: Collection[str] = (),
    images: ImageOptions = ImageOptions(),
) -> SparseInterpolatedExperts:
    """A pool on a device.

    Args:
        model: a checkpoint of smat, by folder or hub name (`OWNER/NAME@REVISION` for one version of it); a pre-trained
            backbone, by any name that `smat.backbones.load` takes, which becomes a pool without experts; or either as
            an object, which stays as it is: where the result would differ from it, the result is a copy.
        device: where to.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.
        images: size and normalisation of the images, where a backbone that is given by name is to take others than its
            checkpoint says; whatever has been made already must take these.

    Raises:
        CheckpointError: nothing of that name, a checkpoint that does not fit, or one that names code that may not be
            imported.
        BackboneError: a backbone that cannot be loaded.
        ConfigError: something else than these, or one that takes other images than are asked for.
    """
    if isinstance(model, SparseInterpolatedExperts):
        _check_images(model.backbone, images, "the pool")
        return model if model.pretrained.device == device else copy.deepcopy(model).to(device)
    if isinstance(model, Backbone):
        _check_images(model, images, f"the backbone {model.spec.name!r}")
        return _without_experts(copy.deepcopy(model)).to(device)
    if not isinstance(model, str | Path):
        hint = ": wrap it with smat.backbones.load(module, image_size=...)" if isinstance(model, nn.Module) else ""
        raise ConfigError(
            f"model is of type {type(model).__name__}; give a checkpoint or backbone by name, a "
            f"SparseInterpolatedExperts or a Backbone{hint}"
        )
    name = str(model)
    if _names_backbone(name):
        return _without_experts(load(name, **vars(images))).to(device)
    pool = SparseInterpolatedExperts.from_pretrained(name, allow_imports=allow_imports)
    _check_images(pool.backbone, images, f"'{name}'")
    return pool.to(device)


def _check_images(backbone: Backbone, wanted: ImageOptions, name: str) -> None:
    for setting, value in vars(wanted).items():
        own = getattr(backbone.spec, setting)
        if value not in (None, own):
            option = f"--{setting.replace('_', '-')}"
            raise ConfigError(
                f"{setting} is {value}, but {name} was made with {own}, and cannot be changed: leave {option} out; a "
                "backbone by name can take it"
            )


def _without_experts(backbone: Backbone) -> SparseInterpolatedExperts:
    return SparseInterpolatedExperts(backbone, PoolConfig(experts=0))


def _names_backbone(name: str) -> bool:
    """Whether a name is a backbone's; both have a `config.json`, and only transformers' says `model_type`."""
    if name == "pocket" or name.startswith(("timm:", "module:")):
        return True
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        return False  # loading a checkpoint says what such a folder lacks
    if "@" in name and not Path(name).is_dir():
        return False  # of the hub, only pools have a revision in their name
    try:
        return "model_type" in Checkpoint.find(name).config()
    except BackboneError as error:
        raise CheckpointError(f"'{name}' is neither a checkpoint of smat nor a backbone: {error}") from error


@contextmanager
def evaluating(pool: SparseInterpolatedExperts) -> Iterator[None]:
    """Within the block the pool is in evaluation mode; afterwards in the mode it was in."""
    training = pool.training
    pool.eval()
    try:
        yield
    finally:
        pool.train(training)
