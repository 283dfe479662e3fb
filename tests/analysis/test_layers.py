"""Types and depths of the parameters of every family of networks."""

from pathlib import Path

import numpy as np
import pytest

from made_masks import made_layers
from small_pools import vit_pool
from smat.analysis import LAYER_TYPES, Layers
from smat.backbones import load
from tiny import tiny_pool
from tiny_checkpoints import FAMILIES, save

OF_TRANSFORMERS = {
    "patch embedding",
    "position",
    "query",
    "key",
    "value",
    "attention projection",
    "MLP in",
    "MLP out",
    "norm",
    "bias",
}
EXAMPLES = {
    "vit": {
        "embeddings.cls_token": ("position", "embedding"),
        "embeddings.position_embeddings": ("position", "embedding"),
        "embeddings.patch_embeddings.projection.weight": ("patch embedding", "embedding"),
        "embeddings.patch_embeddings.projection.bias": ("bias", "embedding"),
        "layers.0.attention.q_proj.weight": ("query", "1"),
        "layers.1.attention.k_proj.weight": ("key", "2"),
        "layers.1.attention.v_proj.weight": ("value", "2"),
        "layers.1.attention.o_proj.weight": ("attention projection", "2"),
        "layers.1.attention.o_proj.bias": ("bias", "2"),
        "layers.1.mlp.fc1.weight": ("MLP in", "2"),
        "layers.1.mlp.fc2.weight": ("MLP out", "2"),
        "layers.1.layernorm_after.bias": ("norm", "2"),
        "layernorm.weight": ("norm", "rest"),
    },
    "dinov2_swiglu": {
        "encoder.layer.0.layer_scale1.lambda1": ("layer scale", "1"),
        "encoder.layer.0.mlp.gate_proj.weight": ("MLP in", "1"),
        "encoder.layer.0.mlp.up_proj.weight": ("MLP in", "1"),
        "encoder.layer.0.mlp.down_proj.weight": ("MLP out", "1"),
    },
    "dinov3_vit": {"embeddings.register_tokens": ("position", "embedding")},
    "clip": {
        "embeddings.class_embedding": ("position", "embedding"),
        "pre_layrnorm.weight": ("norm", "embedding"),
        "encoder.layers.0.self_attn.out_proj.weight": ("attention projection", "1"),
        "post_layernorm.weight": ("norm", "rest"),
    },
    "siglip": {
        "head.probe": ("position", "rest"),
        "head.attention.in_proj_weight": ("qkv", "rest"),
        "head.attention.in_proj_bias": ("bias", "rest"),
        "head.attention.out_proj.weight": ("attention projection", "rest"),
        "head.mlp.fc1.weight": ("MLP in", "rest"),
    },
    "mobilenet_v2": {
        "conv_stem.first_conv.convolution.weight": ("stem convolution", "embedding"),
        "conv_stem.conv_3x3.convolution.weight": ("depthwise", "embedding"),
        "layer.0.expand_1x1.convolution.weight": ("pointwise expand", "1"),
        "layer.15.conv_3x3.convolution.weight": ("depthwise", "16"),
        "layer.15.reduce_1x1.convolution.weight": ("pointwise project", "16"),
        "layer.15.reduce_1x1.normalization.bias": ("norm", "16"),
        "conv_1x1.convolution.weight": ("pointwise expand", "rest"),
    },
    "resnet": {
        "embedder.embedder.convolution.weight": ("stem convolution", "embedding"),
        "encoder.stages.0.layers.0.layer.0.convolution.weight": ("convolution", "1"),
        "encoder.stages.1.layers.0.shortcut.convolution.weight": ("downsampling", "2"),
    },
    "regnet": {
        "encoder.stages.0.layers.0.layer.2.attention.0.weight": ("squeeze-excite", "1"),
        "encoder.stages.0.layers.0.layer.2.attention.0.bias": ("bias", "1"),
    },
    "convnextv2": {
        "embeddings.patch_embeddings.weight": ("stem convolution", "embedding"),
        "encoder.stages.0.layers.0.dwconv.weight": ("depthwise", "1"),
        "encoder.stages.0.layers.0.pwconv1.weight": ("pointwise expand", "1"),
        "encoder.stages.0.layers.0.pwconv2.weight": ("pointwise project", "1"),
        "encoder.stages.0.layers.0.grn.weight": ("norm", "1"),
        "encoder.stages.1.downsampling_layer.1.weight": ("downsampling", "2"),
    },
    "swin_classifier": {
        "encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table": ("position", "1"),
        "encoder.layers.0.downsample.reduction.weight": ("downsampling", "1"),
    },
    "pvt_v2": {"encoder.layers.1.patch_embedding.proj.weight": ("patch embedding", "2")},
    "efficientnet_classifier": {"encoder.blocks.0.squeeze_excite.reduce.weight": ("squeeze-excite", "1")},
}


def layers_of(family: str, folder: Path) -> Layers:
    save(family, folder)
    return Layers.of(load(str(folder)))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_parameter_of_a_known_family_has_a_type(family: str, tmp_path: Path) -> None:
    layers = layers_of(family, tmp_path)
    assert len(layers.names) == len(layers.types) == len(layers.depths)
    assert set(layers.types) <= set(LAYER_TYPES) - {"other"}
    if family.startswith(("vit", "clip", "siglip")):
        assert set(layers.types) >= OF_TRANSFORMERS


@pytest.mark.parametrize("family", sorted(EXAMPLES))
def test_types_and_depths(family: str, tmp_path: Path) -> None:
    layers = layers_of(family, tmp_path)
    found = dict(zip(layers.names, zip(layers.types, layers.depths, strict=True), strict=True))
    assert {name: found[f"network.{name}"] for name in EXAMPLES[family]} == EXAMPLES[family]


def test_a_fused_projection_is_qkv() -> None:
    layers = Layers.of(vit_pool().backbone)
    fused = [name for name, kind in zip(layers.names, layers.types, strict=True) if kind == "qkv"]
    assert fused == ["network.blocks.0.attn.qkv.weight", "network.blocks.1.attn.qkv.weight"]
    assert layers.labels("depth") == ("embedding", "1", "2", "rest")


def test_a_network_without_blocks_is_all_rest() -> None:
    layers = Layers.of(tiny_pool().backbone)
    assert layers.labels("depth") == ("rest",)
    assert layers.labels("type") == ("patch embedding", "MLP in", "MLP out", "bias")


def test_sums_by_group() -> None:
    layers = made_layers(("query", "1", 2), ("bias", "1", 3), ("query", "2", 4), ("norm", "rest", 5))
    values = np.array([[1, 2, 3, 4], [10, 20, 30, 40]])
    assert layers.size == 14
    assert layers.total(values).tolist() == [10, 100]
    assert layers.labels("type") == ("query", "norm", "bias")
    assert layers.total(values, ["type"]).tolist() == [[4, 4, 2], [40, 40, 20]]
    assert layers.labels("depth") == ("1", "2", "rest")
    assert layers.total(values, ["depth"]).tolist() == [[3, 3, 4], [30, 30, 40]]
    assert layers.total(values[0], ["type", "depth"]).tolist() == [[1, 3, 0], [0, 0, 4], [2, 0, 0]]
