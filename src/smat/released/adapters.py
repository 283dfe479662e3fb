"""Adapters that PEFT has tuned, as the parameters that they make of a network."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftConfig, inject_adapter_in_model, load_peft_weights, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from smat.errors import CheckpointError, one_line
from smat.weights import check_finite

_ROOT = "base_model.model."  # what PEFT puts before the names of a network


@torch.no_grad()
def read_adapter(source: str, network: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network with an adapter merged into it, by the network's own names.

    The adapter may have been tuned around a classifier that had the network inside, and by earlier versions of
    transformers, which called its layers otherwise. What it has for layers outside the network is left out.

    Args:
        source: folder of the adapter, or its name on the hub.
        network: the network, which is changed.

    Raises:
        CheckpointError: there is no adapter, it is damaged, of a kind that has no merged form, or of another network.
    """
    try:
        config: Any = PeftConfig.from_pretrained(source)
        state = load_peft_weights(source, device="cpu")
    except Exception as error:  # whatever PEFT and the hub do with what is no adapter, or a damaged one
        raise CheckpointError(
            f"'{source}' cannot be read as an adapter: {one_line(error)[:300]}. Give a folder with adapter_config.json "
            "and adapter_model.safetensors, or its name on the hub"
        ) from error
    check_finite(state.items(), f"'{source}'", CheckpointError, "Copy or download it again")
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(config.peft_type)
    if config.is_prompt_learning or not prefix:
        raise CheckpointError(
            f"'{source}' is an adapter of the kind {config.peft_type}, which cannot be merged into a network; LoRA and "
            "others that change its layers can"
        )
    names = _Names(network)
    inside, whole, layers = {}, {}, {}
    for key, tensor in state.items():
        name = key.removeprefix(_ROOT)
        layer, adapts, rest = name.partition(f".{prefix}")
        if adapts and (found := names.module(layer)):
            inside[f"{_ROOT}{found}.{prefix}{rest}"] = tensor
            layers[found] = layer
        elif not adapts and (found := names.parameter(name)):
            whole[found] = tensor
    if not layers:
        raise CheckpointError(
            f"'{source}' changes no layer of {type(network).__name__}: its first names are "
            f"{', '.join(sorted(state)[:2])}. It is an adapter to another network"
        )
    _place(config, layers)
    try:
        inject_adapter_in_model(config, network)
        result = set_peft_model_state_dict(network, inside)
        lacking = [name for name in result.missing_keys if f".{prefix}" in name]
        if lacking or result.unexpected_keys:
            raise RuntimeError(f"{', '.join([*lacking, *result.unexpected_keys][:3])} has no counterpart")
        return _merged(network, whole)
    except Exception as error:  # whatever PEFT does with an adapter that does not fit
        raise CheckpointError(
            f"the adapter '{source}' does not fit {type(network).__name__}: {one_line(error)[:300]}"
        ) from error


class _Names:
    """Where the parts of a network are that an adapter names.

    Args:
        network: the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._modules = {name for name, _ in network.named_modules()} - {""}
        self._parameters = {name for name, _ in network.named_parameters()}
        known = isinstance(network, PreTrainedModel)
        mapping = get_model_conversion_mapping(network) if known else []
        self._renamings = [each for each in mapping if isinstance(each, WeightRenaming)]

    def module(self, name: str) -> str | None:
        """The network's name of a module, None where it has none like it."""
        return self._found(name, self._modules)

    def parameter(self, name: str) -> str | None:
        """The network's name of a parameter, None where it has none like it."""
        return self._found(name, self._parameters)

    def _found(self, name: str, among: set[str]) -> str | None:
        for tried in (name, rename_source_key(name, self._renamings, [])[0]):
            parts = tried.split(".")
            for start in range(len(parts)):  # the network may have been inside another
                if (inner := ".".join(parts[start:])) in among:
                    return inner
        return None


def _place(config: Any, layers: Mapping[str, str]) -> None:
    """Have an adapter's settings name just these layers.

    Args:
        config: the settings, which are changed.
        layers: names of the network's layers, with those by which the adapter knows them.
    """
    config.target_modules = sorted(layers)
    for option in ("modules_to_save", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters"):
        if hasattr(config, option):
            setattr(config, option, None)
    for option in ("rank_pattern", "alpha_pattern"):
        given: Mapping[str, Any] = getattr(config, option, None) or {}
        chosen = {
            f"^{re.escape(own)}": value
            for own, theirs in layers.items()
            for pattern, value in given.items()
            if re.match(rf"(.*\.)?({pattern})$", theirs)
        }
        if given:
            setattr(config, option, chosen)


def _merged(network: nn.Module, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's parameters with the adapter in them, and with those that were tuned as a whole."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, BaseTunerLayer)}
    parameters = {}
    for name, layer in layers.items():
        layer.merge(safe_merge=True)
        base = layer.get_base_layer().named_parameters()
        parameters |= {f"{name}.{leaf}": parameter.detach() for leaf, parameter in base}
    for name, parameter in network.named_parameters():
        if not any(name.startswith(f"{layer}.") for layer in layers):
            parameters[name] = parameter.detach()
    return parameters | dict(whole)
