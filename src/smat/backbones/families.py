"""The networks of transformers that can be a backbone: class, feature, position table."""

import copy
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from smat.backbones.attention import with_attention
from smat.backbones.checkpoint import Checkpoint
from smat.backbones.image_models import adjust, find_feature, image_model
from smat.backbones.positions import PositionRule, resize_positions
from smat.errors import BackboneError, SmatError, one_line
from smat.rng import seeded_torch
from smat.weights import Header, bounded, check_finite


@dataclass(frozen=True)
class Family:
    """How one model type of transformers becomes a feature extractor.

    Attributes:
        network: name of the class in transformers.
        feature: the output that this family is normally used with (see `BackboneSpec.feature`); empty where it is
            found by `find_feature`.
        positions: name of the learned position table, if it has one.
        class_tokens: rows of that table in front of the patches.
        antialias: whether transformers smooths this table when it shrinks it.
        patches: whether the image is cut into patches that must fill it.
        arguments: for the class, as pairs.
    """

    network: str
    feature: str = "pooler"
    positions: str | None = None
    class_tokens: int = 0
    antialias: bool = False
    patches: bool = False
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def network_class(self) -> Any:
        """The class itself, a `PreTrainedModel`."""
        return getattr(transformers, self.network)

    def untrained(self, config: PretrainedConfig) -> PreTrainedModel:
        """A network with random weights, the same each time; torch's global randomness stays as it was."""
        with seeded_torch(0, "backbone"), _quiet():
            return with_attention(self.network_class(config, **dict(self.arguments)))


_TABLE = "embeddings.position_embeddings"
_EMBEDDING = "embeddings.position_embedding.weight"

FAMILIES: dict[str, Family] = {
    # Of a ViT (DINO's checkpoints are ViTs too) the class token is used; the tanh pooler that transformers
    # adds was never trained in most checkpoints and is no part of the original networks.
    "vit": Family("ViTModel", "cls", _TABLE, 1, patches=True, arguments=(("add_pooling_layer", False),)),
    "dinov2": Family("Dinov2Model", "pooler", _TABLE, 1, patches=True),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", "pooler", _TABLE, 1, antialias=True, patches=True),
    "dinov3_vit": Family("DINOv3ViTModel", "pooler", patches=True),  # rotary positions: computed for any size
    "clip_vision_model": Family("CLIPVisionModel", "pooler", _EMBEDDING, 1, patches=True),
    "siglip_vision_model": Family("SiglipVisionModel", "pooler", _EMBEDDING, 0, patches=True),
    "dinov3_convnext": Family("DINOv3ConvNextModel"),
    "convnext": Family("ConvNextModel"),
    "convnextv2": Family("ConvNextV2Model"),
    "mobilenet_v1": Family("MobileNetV1Model"),
    "mobilenet_v2": Family("MobileNetV2Model"),
    "regnet": Family("RegNetModel"),
    "resnet": Family("ResNetModel"),
}
"""Those that are known; `family_of` has the others."""
DUAL = {"clip": "CLIPConfig", "siglip": "SiglipConfig"}  # image and text; the image half is taken
_NOT_ARCHITECTURE = ("_name_or_path", "id2label", "label2id", "architectures")


def family_of(model_type: str) -> Family | None:
    """The family of a model type: one of the table, or another that takes images alone; None where there is neither."""
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    network = image_model(model_type)
    if network is None:
        return None
    # with the pooling layer that some classifiers train and the base model leaves out by default
    pools = "add_pooling_layer" in inspect.signature(network).parameters
    return Family(network.__name__, feature="", arguments=(("add_pooling_layer", True),) if pools else ())


def read_config(checkpoint: Checkpoint) -> tuple[Family, PretrainedConfig]:
    """The family of a checkpoint and the configuration of its image network, in float32.

    Raises:
        BackboneError: not an image network, one of images without three channels, or values that make no
            configuration.
    """
    values = _safe(checkpoint.config())
    model_type = str(values.get("model_type"))
    if "model_type" not in values and "architecture" in values:
        raise BackboneError(
            f"backbone {checkpoint.name!r} is a network of timm: write 'timm:hf-hub:{checkpoint.name}', or, for a "
            f"folder, 'timm:local-dir:{checkpoint.name}'"
        )
    family = None if model_type in DUAL else family_of(model_type)
    if model_type not in DUAL and family is None:
        raise BackboneError(
            f"backbone {checkpoint.name!r} is of model type {values.get('model_type')!r}, which is not an image "
            f"network that can be loaded by name; those are: {', '.join(sorted([*FAMILIES, *DUAL]))}, and every "
            "other model of transformers that takes images alone. For another network write 'timm:NAME', or "
            "'module:PATH' with the import path of a function of your own that gives an nn.Module, which maps "
            "[n, 3, h, w] to [n, d]"
        )
    try:
        if family is None:
            config = getattr(transformers, DUAL[model_type]).from_dict(values).vision_config
        else:
            config = family.network_class.config_class.from_dict(values)
    except Exception as error:  # whatever transformers does with values of another kind
        raise BackboneError(
            f"backbone {checkpoint.name!r}: transformers {transformers.__version__} cannot read its "
            f"config.json: {one_line(error)}. Fetch the file again, or use the version that wrote it"
        ) from error
    if getattr(config, "num_channels", 3) != 3:
        raise BackboneError(
            f"backbone {checkpoint.name!r} takes images of {config.num_channels} channels (num_channels in its "
            "config.json); networks of colour images, of 3 channels, are needed"
        )
    config.dtype = torch.float32
    return family or FAMILIES[config.model_type], config


def check_size(checkpoint: Checkpoint, family: Family, config: PretrainedConfig, image_size: int | None) -> int:
    """The image size to use: the one asked for, otherwise the checkpoint's own.

    Its own is what its preprocessor crops images to, otherwise what its configuration says, otherwise 224. DINOv2's
    configuration has the size of its last pre-training steps, 518, and its preprocessor the 224 that it is used at.

    Raises:
        BackboneError: patches do not fill the image, or it is not square.
    """
    crop = checkpoint.crop_size() if image_size is None else None
    if crop and (not family.patches or crop % _side(checkpoint, "patch_size", config.patch_size) == 0):
        return crop
    if image_size is not None and not family.patches:
        return image_size
    own = _side(checkpoint, "image_size", getattr(config, "image_size", 224))
    size = own if image_size is None else image_size
    if size == own:  # some were pre-trained with a strip left over: they may stay so
        return size
    patch = _side(checkpoint, "patch_size", config.patch_size)
    if size % patch:
        below, above = size // patch * patch, (size // patch + 1) * patch
        nearest = f"{below} or {above}" if below else f"{above}"
        raise BackboneError(
            f"image_size {size} is not a multiple of the {patch}-pixel patches of backbone "
            f"{checkpoint.name!r}: use {nearest}"
        )
    return size


def load_network(
    checkpoint: Checkpoint, family: Family, config: PretrainedConfig, image_size: int, rule: PositionRule
) -> tuple[PreTrainedModel, str]:
    """The pre-trained network for images of `image_size`, in float32, and its feature.

    Raises:
        BackboneError: the weights are missing, broken, not safetensors, or do not fit the configuration.
    """
    network, report, header = _read_weights(checkpoint, family, config)
    missing = [str(name) for name in report["missing_keys"] if not str(name).endswith("mask_token")]
    feature = family.feature
    if not feature:
        adjust(network, image_size)
        feature, missing = find_feature(checkpoint.name, network, image_size, missing)
    elif not getattr(config, "vision_use_head", True):  # a SigLIP made without a pooling head
        feature = "mean"
    _check_fit(checkpoint, network, report, missing)
    _check_numbers(checkpoint, network, header)
    own = getattr(config, "image_size", image_size)
    if family.positions is None or own == image_size:
        return network, feature
    state = network.state_dict()
    table = state[family.positions]
    grid = image_size // _side(checkpoint, "patch_size", config.patch_size)
    rows = resize_positions(
        table.reshape(-1, table.shape[-1]), grid, family.class_tokens, rule, antialias=family.antialias
    )
    state[family.positions] = rows.reshape(*table.shape[:-2], *rows.shape)
    resized = copy.deepcopy(config)
    resized.image_size = image_size
    network = family.untrained(resized)
    network.load_state_dict(state)
    return network, feature


def build_network(values: dict[str, Any], image_size: int) -> tuple[Family, nn.Module]:
    """The family and an untrained network of `describe`'s values, for images of `image_size`.

    Raises:
        BackboneError: this version of smat or transformers does not know the model type, or its values make no network.
    """
    family = family_of(str(values.get("model_type")))
    if family is None:
        raise BackboneError(
            f"model type {values.get('model_type')!r} cannot be built; known are: "
            f"{', '.join(sorted(FAMILIES))}, and other models of transformers that take images alone. It may be from a "
            "newer version of smat or transformers"
        )
    try:
        network = family.untrained(family.network_class.config_class.from_dict(_safe(values)))
    except SmatError:
        raise
    except Exception as error:  # whatever transformers does with values that make no network
        raise BackboneError(
            f"transformers {transformers.__version__} makes no network of its config: {one_line(error)}"
        ) from error
    if not family.feature:
        adjust(network, image_size)
    return family, network


def _safe(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the name of an implementation of attention, which could be code on the hub."""
    return {name: value for name, value in values.items() if "attn_implementation" not in name}


def describe(network: PreTrainedModel) -> dict[str, Any]:
    """The configuration of a network, without what is no part of its architecture, as JSON-able values."""
    values = network.config.to_dict()
    return {name: value for name, value in values.items() if name not in _NOT_ARCHITECTURE}


def _side(checkpoint: Checkpoint, what: str, value: Any) -> int:
    sides = [value] if isinstance(value, int) else list(value)
    if len(set(sides)) != 1:
        raise BackboneError(
            f"backbone {checkpoint.name!r} has {what} {value} in its config.json; only square images and "
            "patches are read"
        )
    return sides[0]


def _read_weights(
    checkpoint: Checkpoint, family: Family, config: PretrainedConfig
) -> tuple[PreTrainedModel, dict[str, Any], Header]:
    """The network, what transformers says of how its weights fit, and the header of their file."""
    too_large = BackboneError("config.json makes a network of more parameters than there are weights")
    try:
        header = checkpoint.header() or {}
        with _quiet(), bounded(header, too_large) if header else nullcontext():
            network, report = family.network_class.from_pretrained(
                checkpoint.source,
                config=config,
                use_safetensors=True,  # the other format is pickle, which can run code
                dtype=torch.float32,
                output_loading_info=True,
                **dict(family.arguments),
            )
    except Exception as error:  # whatever transformers does with values and weights that make no network
        raise BackboneError(
            f"the weights of backbone {checkpoint.name!r} cannot be loaded: {one_line(error)}. They must be whole "
            "safetensors files (model.safetensors) that fit config.json; weights in another format "
            "(pytorch_model.bin) are not read: open them with transformers where you trust them, and "
            "save_pretrained writes safetensors"
        ) from error
    return with_attention(network).eval(), report, header


def _check_numbers(checkpoint: Checkpoint, network: PreTrainedModel, header: Header) -> None:
    """transformers casts weights of any type in silence, and takes NaN for a number."""
    prefix, known = f"{network.base_model_prefix}.", dict(network.named_parameters())
    whole = [n for n, stored in header.items() if not stored.floating and n.removeprefix(prefix) in known]
    if whole:
        raise BackboneError(
            f"the weights of backbone {checkpoint.name!r} are of type {header[whole[0]].dtype} in {whole[0]}: give a "
            "checkpoint with floating-point weights"
        )
    where, advice = f"backbone {checkpoint.name!r}", "Copy or download it again"
    check_finite([*known.items(), *network.named_buffers()], where, BackboneError, advice)


def _check_fit(
    checkpoint: Checkpoint, network: PreTrainedModel, report: dict[str, Any], missing: Collection[str]
) -> None:
    """transformers fills missing weights with random numbers and drops surplus layers: here both are errors.

    Surplus weights of other parts (a classifier, the text half) are fine: they have names that the network
    has not, even when the numbers of layers are disregarded.
    """
    own = {_without_numbers(name) for name, _ in network.named_parameters()}
    prefix = f"{network.base_model_prefix}."
    surplus = [n for n in report["unexpected_keys"] if _without_numbers(n.removeprefix(prefix)) in own]
    problems = [
        f"{len(names)} {what}, such as {sorted(map(str, names))[0]}"
        for what, names in (
            ("missing", missing),
            ("in surplus", surplus),
            ("of another shape", list(report["mismatched_keys"])),
        )
        if names
    ]
    if problems:
        raise BackboneError(
            f"the weights of backbone {checkpoint.name!r} do not fit its config.json: {'; '.join(problems)}. "
            "Either a file is damaged or belongs to another network, or the weights have names that "
            f"transformers {transformers.__version__} does not know: use the major version that saved them "
            f"({getattr(network.config, 'transformers_version', None) or 'not recorded'})"
        )


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no table of missing weights: `_check_fit` says in an error what matters."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
