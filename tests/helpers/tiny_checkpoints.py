"""Tiny random checkpoints of every family, saved as transformers saves them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT = {**TINY, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
DINOV2 = {**TINY, "mlp_ratio": 2, "image_size": 32, "patch_size": 8}
TEXT = {
    **TINY,
    "intermediate_size": 48,
    "vocab_size": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONV = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
NEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}

# model -> (model class, config class, arguments of the config)
FAMILIES = {
    "vit": ("ViTModel", "ViTConfig", VIT),
    "vit_classifier": ("ViTForImageClassification", "ViTConfig", VIT),
    "dinov2": ("Dinov2Model", "Dinov2Config", DINOV2),
    "dinov2_swiglu": ("Dinov2Model", "Dinov2Config", {**DINOV2, "use_swiglu_ffn": True}),
    "dinov2_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**DINOV2, "num_register_tokens": 3},
    ),
    "dinov3_vit": ("DINOv3ViTModel", "DINOv3ViTConfig", {**VIT, "num_register_tokens": 3}),
    "clip": ("CLIPModel", "CLIPConfig", {"text_config": TEXT, "vision_config": VIT, "projection_dim": 16}),
    "clip_vision": ("CLIPVisionModel", "CLIPVisionConfig", VIT),
    "clip_projection": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", VIT),
    "siglip": ("SiglipModel", "SiglipConfig", {"text_config": TEXT, "vision_config": VIT}),
    "siglip_vision": ("SiglipVisionModel", "SiglipVisionConfig", VIT),
    "siglip_headless": ("SiglipVisionModel", "SiglipVisionConfig", {**VIT, "vision_use_head": False}),
    "mobilenet_v1": ("MobileNetV1Model", "MobileNetV1Config", {"depth_multiplier": 0.25, "image_size": 32}),
    "mobilenet_v2": ("MobileNetV2Model", "MobileNetV2Config", {"depth_multiplier": 0.25, "image_size": 32}),
    "resnet": ("ResNetModel", "ResNetConfig", {**CONV, "layer_type": "basic"}),
    "resnet_classifier": ("ResNetForImageClassification", "ResNetConfig", {**CONV, "layer_type": "basic"}),
    "regnet": ("RegNetModel", "RegNetConfig", {**CONV, "groups_width": 8}),
    "convnext": ("ConvNextModel", "ConvNextConfig", NEXT),
    "convnextv2": ("ConvNextV2Model", "ConvNextV2Config", NEXT),
    "dinov3_convnext": (
        "DINOv3ConvNextModel",
        "DINOv3ConvNextConfig",
        {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4},
    ),
}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
HIERA = {
    "image_size": [32, 32],
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [1, 2],
    "query_stride": [2, 2],
    "masked_unit_size": [4, 4],
    "num_query_pool": 1,
}
EFFICIENT = {
    "image_size": 32,
    "width_coefficient": 0.25,
    "depth_coefficient": 0.1,
    "hidden_dim": 320,
    "initializer_range": 0.5,  # with the usual 0.02 nothing of the image is left after so many layers
}
LEVIT = {
    "image_size": 64,
    "hidden_sizes": [16, 32, 48],
    "depths": [1, 1, 1],
    "num_attention_heads": [1, 2, 3],
    "key_dim": [8, 8, 8],
}
PYRAMID = {"image_size": 32, "hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
BEIT = {**VIT, "use_relative_position_bias": True}
# as FAMILIES: models that smat has no table of
OTHERS = {
    "deit": ("DeiTModel", "DeiTConfig", VIT),
    "deit_classifier": ("DeiTForImageClassification", "DeiTConfig", VIT),
    "beit_classifier": ("BeitForImageClassification", "BeitConfig", BEIT),
    "vit_msn": ("ViTMSNModel", "ViTMSNConfig", VIT),
    "ijepa": ("IJepaModel", "IJepaConfig", VIT),
    "swin_classifier": ("SwinForImageClassification", "SwinConfig", SWIN),
    "swinv2": ("Swinv2Model", "Swinv2Config", SWIN),
    "hiera": ("HieraModel", "HieraConfig", HIERA),
    "efficientnet_classifier": ("EfficientNetForImageClassification", "EfficientNetConfig", EFFICIENT),
    "levit": ("LevitModel", "LevitConfig", LEVIT),
    "pvt": ("PvtModel", "PvtConfig", PYRAMID),
    "pvt_v2": ("PvtV2Model", "PvtV2Config", PYRAMID),
    "vit_mae": ("ViTMAEModel", "ViTMAEConfig", VIT),
    "videomae": ("VideoMAEModel", "VideoMAEConfig", VIT),
    "hgnet_v2": ("HGNetV2Backbone", "HGNetV2Config", {}),
}
POSITIONS = ["vit", "dinov2", "dinov2_registers", "clip", "siglip"]  # with a learned table


def randomise(model: torch.nn.Module) -> None:
    """Every weight and statistic away from its starting value, so that a wrong or unused one shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(1 + 0.1 * noise.abs() if "running_var" in name else value + 0.1 * noise)


def save(family: str, folder: Path, **changes: object) -> PreTrainedModel:
    """A random model of the family, saved with normalisation constants; changes are of the config."""
    model_class, config_class, arguments = {**FAMILIES, **OTHERS}[family]
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**{**arguments, **changes})).eval()
    randomise(model)
    model.save_pretrained(folder)
    constants = {"do_normalize": True, "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(constants))
    return model


def plain_feature(family: str, model: PreTrainedModel, images: torch.Tensor, **options: bool) -> torch.Tensor:
    """What transformers itself gives for the output that the family is used with."""
    with torch.no_grad():
        if family.startswith("vit"):
            base: Any = model.vit if family == "vit_classifier" else model
            return base(images, **options).last_hidden_state[:, 0]
        if family == "siglip_headless":
            return model(images).last_hidden_state.mean(dim=1)
        part = {"clip": "vision_model", "siglip": "vision_model", "clip_projection": "vision_model"}
        part["resnet_classifier"] = "resnet"
        network: Any = getattr(model, part[family]) if family in part else model
        return network(images, **options).pooler_output.flatten(1)


def images(size: int, n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))
