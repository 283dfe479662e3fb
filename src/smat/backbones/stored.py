"""Whether stored weights are those of the network that a description makes, found out before any memory is taken."""

from collections.abc import Mapping
from typing import Any

import torch

from smat.backbones.backbone import Backbone
from smat.backbones.loading import build
from smat.backbones.spec import BackboneSpec
from smat.errors import BackboneError, CheckpointError
from smat.weights import Header, bounded, misfits


def check_network(spec: BackboneSpec, header: Header, parameters: str, buffers: str) -> Backbone | None:
    """The network without memory; None where it cannot be made so, as of the user's own code and some others.

    Args:
        spec: the description.
        header: the weights.
        parameters: what the names of its parameters begin with.
        buffers: what those of its buffers begin with, of which some may be missing.

    Raises:
        CheckpointError: the weights are not those of the network.
    """
    if spec.kind != "transformers":
        return None
    with torch.device("meta"), bounded(header, too_large("backbone.config", spec.config)):
        try:
            backbone = build(spec)
        except BackboneError:  # some networks do not work without memory, and `build` says what others lack
            return None
        expected = {f"{parameters}{key}": value for key, value in backbone.named_parameters()}
        stored = {f"{buffers}{key}": value for key, value in backbone.named_buffers()}
        expected |= {key: value for key, value in stored.items() if key in header}
        if wrong := misfits(header, expected):
            raise CheckpointError(f"backbone.config does not fit the weights: {'; '.join(wrong[:3])}")
    return backbone


def too_large(section: str, settings: Mapping[str, Any]) -> CheckpointError:
    """The error of settings that make more parameters than there are, which names the likeliest of them."""
    numbers = {name: value for name, value in settings.items() if isinstance(value, int)}
    largest = max(numbers, key=lambda name: numbers[name], default="")
    return CheckpointError(
        f"{section} makes more parameters than there are weights: look at {largest}, which is {numbers.get(largest)}"
    )
