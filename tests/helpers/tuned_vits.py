"""A small vision transformer as a folder of transformers, and what was tuned from it."""

import copy
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import CLIPImageProcessor, ViTConfig, ViTForImageClassification, ViTModel

SIZE = 16
_EARLIER = (
    ("layers.", "encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
)


def save_pretrained(folder: Path) -> str:
    """A classifier, of which only the network inside is used; gives the folder's name."""
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=SIZE, patch_size=8
    )
    torch.manual_seed(0)
    network = ViTForImageClassification(config)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)
    network.save_pretrained(folder)
    CLIPImageProcessor(crop_size=SIZE).save_pretrained(folder)
    return str(folder)


def tuned_from(pretrained: str, seed: int) -> ViTModel:
    """The network inside, with every number a little different."""
    network = ViTModel.from_pretrained(pretrained, add_pooling_layer=False)
    torch.manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return network


def earlier_name(name: str) -> str:
    """What version 4 of transformers called a parameter."""
    for now, then in _EARLIER:
        name = name.replace(now, then)
    return name


def features(network: ViTModel, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images).last_hidden_state[:, 0]


def save_adapter(pretrained: str, folder: Path, **settings: object) -> ViTModel:
    """An adapter around the classifier, with numbers at random; gives the network that it makes."""
    classifier = ViTForImageClassification.from_pretrained(pretrained)
    torch.manual_seed(4)
    adapted = get_peft_model(copy.deepcopy(classifier), LoraConfig(r=2, **settings))  # type: ignore[arg-type]
    for name, parameter in adapted.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data += 0.2 * torch.randn(parameter.shape)
    adapted.save_pretrained(str(folder))
    return adapted.merge_and_unload().vit  # type: ignore[union-attr,operator]
