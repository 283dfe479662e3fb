"""Vision transformers as DINO and timm name their parameters, under the names of transformers."""

import math
import re
from collections.abc import Iterable, Mapping

from torch import Tensor
from transformers import ViTConfig

from smat.backbones import BackboneSpec
from smat.backbones.spec import IMAGENET_MEAN, IMAGENET_STD
from smat.errors import CheckpointError

_PREFIXES = ("", "module.", "backbone.", "module.backbone.", "net.encoder.", "encoder.")
_FIRST = "patch_embed.proj.weight"
_OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_INSIDE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_QKV = ("q_proj", "k_proj", "v_proj")
_HEAD = re.compile(r"(head|fc|fc_norm)\.")


def is_vit(state: Mapping[str, Tensor]) -> bool:
    """Whether there is such a vision transformer in a state_dict."""
    return any(f"{prefix}{_FIRST}" in state for prefix in _PREFIXES)


def vit_of(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The parameters of a vision transformer in a state_dict, without what their names begin with, and without a head.

    Raises:
        CheckpointError: there is none.
    """
    for prefix in _PREFIXES:
        if f"{prefix}{_FIRST}" in state:
            own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
            return {name: tensor for name, tensor in own.items() if known(name)}
    raise CheckpointError(
        f"{where} has no vision transformer as DINO and timm name it (there is no {_FIRST}): its first names are "
        f"{', '.join(sorted(state)[:3])}"
    )


def known(name: str) -> bool:
    """Whether a name is that of a parameter of such a network."""
    return not _HEAD.match(name) and bool(new_names(name))


def new_names(name: str) -> list[str]:
    """What transformers calls a parameter: three names for a fused projection to query, key and value, or none."""
    leaf = name.rpartition(".")[2]
    if name in _OUTSIDE:
        return [_OUTSIDE[name]]
    if leaf not in ("weight", "bias"):
        return []
    module = name.removesuffix(f".{leaf}")
    if module in _OUTSIDE:
        return [f"{_OUTSIDE[module]}.{leaf}"]
    if not (found := re.fullmatch(r"blocks\.(\d+)\.(.+)", module)):
        return []
    layer, part = f"layers.{found[1]}", found[2]
    if part == "attn.qkv":
        return [f"{layer}.attention.{projection}.{leaf}" for projection in _QKV]
    return [f"{layer}.{_INSIDE[part]}.{leaf}"] if part in _INSIDE else []


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of such parameters under the new names; of a fused projection, query, key and value by themselves."""
    return {
        new: part
        for name, tensor in tensors.items()
        for new, part in zip(new_names(name), tensor.chunk(len(new_names(name))), strict=True)
    }


def spec_of(
    vit: Mapping[str, Tensor], name: str, heads: int | None = None, image_size: int | None = None
) -> BackboneSpec:
    """The architecture of a vision transformer, read off the shapes of its parameters.

    Args:
        vit: its parameters, as `vit_of` gives them.
        name: what the backbone is called.
        heads: attention heads, which no shape tells; one for 64 features by default, as ViTs have.
        image_size: side of its images; by default what its position embeddings are for.

    Raises:
        CheckpointError: parameters are missing, or do not make a network.
    """
    wanted = ("cls_token", "pos_embed", _FIRST, "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "norm.weight")
    if missing := [each for each in wanted if each not in vit]:
        raise CheckpointError(f"{name} lacks {', '.join(missing)}, which a vision transformer of this kind has")
    width, patch = vit[_FIRST].shape[0], vit[_FIRST].shape[-1]
    grid = math.isqrt(vit["pos_embed"].shape[1] - 1)
    if grid * grid != vit["pos_embed"].shape[1] - 1:
        raise CheckpointError(f"{name} has position embeddings for {vit['pos_embed'].shape[1] - 1} patches: no square")
    heads = heads or max(1, width // 64)
    if width % heads:
        raise CheckpointError(f"{name} has {width} features, which {heads} heads do not divide: give --heads")
    size = image_size or grid * patch
    if size % patch:
        raise CheckpointError(f"{name} has patches of {patch} pixels, which do not divide images of {size}")
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=len(_blocks(vit)),
        num_attention_heads=heads,
        intermediate_size=vit["blocks.0.mlp.fc1.weight"].shape[0],
        image_size=size,
        patch_size=patch,
        layer_norm_eps=1e-6,
        qkv_bias="blocks.0.attn.qkv.bias" in vit,
    )
    return BackboneSpec("transformers", name, config.to_dict(), size, IMAGENET_MEAN, IMAGENET_STD, "cls")


def _blocks(names: Iterable[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("blocks.")}
