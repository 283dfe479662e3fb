"""Low-rank adapters (LoRA; Hu et al. 2021) of a backbone's queries and values."""

import torch
from peft import LoraConfig, LoraModel
from torch import Tensor, nn

from smat.adaptation.settings import FineTuneConfig
from smat.backbones import Backbone
from smat.errors import ConfigError
from smat.rng import seeded_torch

_SEPARATE = {"query", "value", "q_proj", "v_proj"}
_FUSED = "qkv"  # rows of the query, the key and the value, in this order


def adapted_layers(backbone: Backbone) -> list[str]:
    """The names, within `backbone.network`, of the linear layers that LoRA adapts: queries and values.

    Raises:
        ConfigError: there are none, as in a convolutional network.
    """
    linear = [name for name, module in backbone.network.named_modules() if isinstance(module, nn.Linear)]
    found = [name for name in linear if name.rpartition(".")[2] in {*_SEPARATE, _FUSED}]
    if not found:
        raise ConfigError(
            f"LoRA adapts an attention's linear layers, named query and value, q_proj and v_proj, or {_FUSED}, and "
            f"backbone {backbone.spec.name!r} has none of these: fine-tune all of it, with adapt full (--adapt full)"
        )
    return found


class Adapters:
    """Adapters in a backbone, which until they are merged are its only parameters with a gradient.

    They begin as zeros: the network computes what it did. Of a fused projection the key's rows stay as they are.

    Args:
        backbone: gets them in place.
        config: rank, alpha and dropout.
        seed: of the adapters' input matrices.

    Raises:
        ConfigError: the backbone has no layers for them.
    """

    def __init__(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> None:
        layers = adapted_layers(backbone)
        settings = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=layers
        )
        self.network = backbone.network
        with seeded_torch(seed, "lora"):
            self.tuner = LoraModel(self.network, settings, "default")
        for name in layers:
            layer = self.network.get_submodule(name)
            layer.get_submodule("lora_dropout").train()  # the rest of a backbone is always in evaluation mode
            if name.endswith(_FUSED):
                layer.get_submodule("lora_B.default").get_parameter("weight").register_hook(_without_key)

    def merge(self) -> None:
        """Add the adapters to the weights that they adapt, and remove them: the network is plain again."""
        self.tuner.merge_and_unload()
        self.network.eval().requires_grad_(True)


def _without_key(gradient: Tensor) -> Tensor:
    query, key, value = gradient.chunk(3)
    return torch.cat([query, torch.zeros_like(key), value])
