"""Networks of transformers that no family describes: which are image networks, and what their feature is."""

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedModel

from smat.backbones.backbone import Backbone, output_of, parameters_behind, pick
from smat.errors import BackboneError
from smat.rng import seeded_torch, torch_generator

_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")


def image_model(model_type: str) -> type[PreTrainedModel] | None:
    """The base model of a model type in transformers, if it takes images and nothing else.

    Detectors are none, and neither are timm's networks within transformers: they are loaded by `timm:NAME`.
    """
    try:
        network: Any = MODEL_MAPPING[CONFIG_MAPPING[model_type]]
        alone = network.main_input_name == "pixel_values"
    except (KeyError, ValueError, ImportError, AttributeError):  # none, or one of a package that is missing
        return None
    if not alone or network.__name__.startswith("Timm"):
        return None
    _, _, *others = inspect.signature(network.forward).parameters.values()
    needed = [p.name for p in others if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return None if needed or {"input_ids", "pixel_mask"} & {p.name for p in others} else network


def find_feature(name: str, network: nn.Module, image_size: int, missing: Collection[str]) -> tuple[str, list[str]]:
    """The feature of a network, and which of the weights that its checkpoint lacks the feature depends on.

    It is the pooled output, if there is one vector per image and the checkpoint has all its weights; else the class
    token, where the last hidden state has one and was given by a norm; else the mean of the last hidden state over its
    positions.

    Args:
        name: name of the backbone, for messages.
        network: a model of transformers.
        image_size: side of its images in pixels.
        missing: names of the weights that the checkpoint has not.

    Returns:
        The feature as in `BackboneSpec.feature`, and a list of names.

    Raises:
        BackboneError: the network cannot process images, or gives no such output.
    """
    normed: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: normed.append(output))
        for module in network.modules()
        if "norm" in type(module).__name__.lower()
    ]
    try:
        output = output_of(name, network, _noise(image_size))
    finally:
        for hook in hooks:
            hook.remove()
    lacking = {id(value): key for key, value in network.named_parameters() if key in missing}
    lacking_buffers = [key for key, _ in network.named_buffers() if key in missing]
    pooled, states = getattr(output, "pooler_output", None), getattr(output, "last_hidden_state", None)
    found = (
        ["pooler"] if isinstance(pooled, Tensor) and pooled.ndim > 1 and pooled[0].numel() == pooled.shape[1] else []
    )
    if isinstance(states, Tensor) and states.ndim in (3, 4):
        last_normed = any(states is given for given in normed)
        found.append("cls" if states.ndim == 3 and last_normed and _has_class_token(network) else "mean")
    if not found:
        fields = ", ".join(getattr(output, "keys", list)()) or type(output).__name__
        raise BackboneError(
            f"backbone {name!r}, a {type(network).__name__}, gives no feature of an image: its output has {fields}, "
            "and a pooler_output [n, d] or a last_hidden_state [n, tokens, d] of the image is needed. In code of your "
            "own (module:PATH) it can be taken from whatever the network gives"
        )
    behind = {feature: parameters_behind(pick(output, feature)) for feature in found}
    feature = next((f for f in found if not behind[f] & lacking.keys()), found[-1])
    return feature, lacking_buffers + [lacking[key] for key in behind[feature] & lacking.keys()]


def adjust(network: PreTrainedModel, image_size: int) -> None:
    """Have a network resize its positions in each pass, where it can and the images are of another size than its own.

    LeViT is kept from remembering its position biases in evaluation mode, where smat trains them.
    """
    for module in network.modules():
        if hasattr(module, "attention_bias_cache"):
            module.register_forward_hook(_forgetting)
    own = getattr(network.config, "image_size", image_size)
    if own in (image_size, [image_size] * 2, (image_size,) * 2):
        return
    if "interpolate_pos_encoding" in inspect.signature(network.forward).parameters:
        network.register_forward_pre_hook(_resizing, with_kwargs=True)


def _forgetting(module: Any, _: object, __: object) -> None:
    module.attention_bias_cache.clear()


def _resizing(_: nn.Module, images: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return images, options | {"interpolate_pos_encoding": True}


def check_features(backbone: Backbone) -> None:
    """Raise a `BackboneError` unless features are finite, the same at every call, and depend on the image.

    The parameters must have a gradient at every call, too.
    """
    name, parameters = backbone.spec.name, list(backbone.parameters())
    images = _noise(backbone.spec.image_size).to(parameters[0].device)
    try:
        with torch.enable_grad(), seeded_torch(0, "probe"):
            first, second = (_with_gradient(backbone(images), parameters) for _ in range(2))
    except RuntimeError as error:
        raise BackboneError(
            f"backbone {name!r} cannot be trained: {error}. It must compute all that depends on its parameters anew in "
            "each pass"
        ) from error
    if not first.isfinite().all():
        raise BackboneError(
            f"backbone {name!r} gives features that are not finite numbers: its weights are damaged, or not those of "
            "this network; fetch them again"
        )
    apart = (first[0] - first[1]).norm()
    if (first - second).norm() > 0.01 * apart:
        raise BackboneError(
            f"backbone {name!r} gives other features for the same images each time: it draws at random where it is "
            'used. A masked autoencoder (ViT-MAE) does not if "mask_ratio" is 0 in its config.json'
        )
    if not apart:
        raise BackboneError(
            f"backbone {name!r} gives the same feature for different images: its weights are damaged, untrained, or "
            "not those of this network; fetch them again"
        )


def _with_gradient(features: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    torch.autograd.grad(features.sum(), parameters, allow_unused=True)
    return features.detach()


def _noise(image_size: int) -> Tensor:
    """Two images that no two rows of pixels are alike in, as normalised ones are."""
    return torch.randn(2, 3, image_size, image_size, generator=torch_generator(0, "probe"))


def _has_class_token(network: nn.Module) -> bool:
    """Whether a class token is embedded with the patches; pooling heads have tokens too."""
    names = (name.rpartition(".") for name, _ in network.named_parameters())
    return any(leaf in _CLASS_TOKENS and "embeddings" in owner for owner, _, leaf in names)
