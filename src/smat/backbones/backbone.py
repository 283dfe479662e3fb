"""A network as a feature extractor: images in, one vector per image out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.backbones.spec import BackboneSpec
from smat.errors import BackboneError
from smat.rng import seeded_torch


class Backbone(nn.Module):
    """A pre-trained network: normalised images `[n, 3, height, width]` to features `[n, feature_dim]`.

    It is always in evaluation mode: `train()` leaves it there, so batch-norm statistics stay as they were
    pre-trained and dropout stays off. Its parameters are those that influence the feature; what a checkpoint
    carries beyond that (a mask token, say) is kept as buffers.

    Attributes:
        spec: the description it was built from.
        network: the wrapped module.
        feature_dim: length of a feature.
        fixed_size: whether only images of `spec.image_size` can go in (networks with a table of positions).
        activation_checkpointing: whether passes for gradients keep only the inputs of its blocks, and compute the rest
            again: less memory for more time.
    """

    activation_checkpointing: bool = False

    def __init__(self, spec: BackboneSpec, network: nn.Module, *, fixed_size: bool = False):
        super().__init__()
        self.spec = spec
        self.fixed_size = fixed_size
        self.network = network.float()
        convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
        # A transformer has one convolution, of its patches; the user's own code may not expect the format.
        self._channels_last = spec.kind not in ("module", "own") and convolutions > 1
        self.eval()
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        features = self._probe()
        self.feature_dim = features.shape[1]
        self._keep_as_buffers_what_is_not_in(parameters_behind(features))

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode, whatever `mode` says."""
        del mode
        return super().train(False)

    @property
    def attention_heads(self) -> int | None:
        """Number of attention heads per block, as the configuration has it; None where it has not one for all."""
        heads = self.spec.config.get("num_attention_heads")
        return heads if isinstance(heads, int) else None  # stages of a pyramid have a number each

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """The features of a batch of images.

        Args:
            images: already normalised with `spec.mean` and `spec.std`.

        Raises:
            BackboneError: the network takes images of one size only and these have another.
        """
        size = self.spec.image_size
        if self.fixed_size and tuple(images.shape[-2:]) != (size, size):
            raise BackboneError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels, but backbone {self.spec.name!r} "
                f"was loaded for {size} x {size}: load it with image_size={images.shape[-1]}, or resize the "
                "images"
            )
        if self._channels_last:  # as convolutions compute fastest
            images = images.contiguous(memory_format=torch.channels_last)
        try:
            return pick(self.network(images), self.spec.feature)
        except (RuntimeError, ValueError, TypeError) as error:
            if tuple(images.shape[-2:]) == (size, size):
                raise
            raise BackboneError(
                f"backbone {self.spec.name!r} was loaded for images of {size} x {size} pixels and cannot process "
                f"{list(images.shape)}: {error}. Load it with image_size={images.shape[-1]}, or resize the images"
            ) from error

    def _probe(self) -> Tensor:
        """The features of two black images, with their graph; errors where there are none."""
        name, size = self.spec.name, self.spec.image_size
        parameter = next(self.network.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        features = pick(output_of(name, self.network, torch.zeros(2, 3, size, size, device=device)), self.spec.feature)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
            got = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise BackboneError(
                f"backbone {name!r} gives {got} for images [2, 3, {size}, {size}], but one vector per image, "
                "[2, d], is needed: wrap the network in a module that pools its output"
            )
        if features.grad_fn is None:
            raise BackboneError(
                f"no parameter of backbone {name!r} influences its output, so there is nothing to tune: the "
                "network needs parameters, and its forward must not run under torch.no_grad"
            )
        return features

    def _keep_as_buffers_what_is_not_in(self, used: set[int]) -> None:
        for name, parameter in list(self.network.named_parameters(remove_duplicate=False)):
            if id(parameter) not in used:
                prefix, _, leaf = name.rpartition(".")
                owner = self.network.get_submodule(prefix)
                delattr(owner, leaf)
                owner.register_buffer(leaf, parameter.detach())


def output_of(name: str, network: nn.Module, images: Float[Tensor, "n 3 height width"]) -> Any:
    """What a network gives for images, with its graph; a `BackboneError` where it cannot process them."""
    try:
        with torch.enable_grad(), seeded_torch(0, "probe"):
            return network(images)
    except Exception as error:  # whatever the network's own code does with images that it is not made for
        raise BackboneError(
            f"backbone {name!r} cannot process images {list(images.shape)}: {error}. It must map [n, 3, h, w] to "
            "[n, d]; some networks take images of certain sizes only, and very small ones are too small for some"
        ) from error


def pick(output: Any, feature: str) -> Any:
    """The feature among a network's outputs."""
    if feature == "pooler":
        return output.pooler_output.flatten(1)
    if feature == "cls":
        return output.last_hidden_state[:, 0]
    if feature == "mean":
        states = output.last_hidden_state
        if states.ndim == 3:
            return states.mean(dim=1)
        height, width, last = states.shape[1:]  # a map of a square image; few networks put the channels last
        return states.mean(dim=(1, 2) if height == width != last else (2, 3))
    return output


def parameters_behind(output: Tensor) -> set[int]:
    """The `id`s of the leaves that a backward pass from `output` would reach, found without running one."""
    found: set[int] = set()
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # An AccumulateGrad node has a variable: the end of the line, where a parameter's gradient lands.
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found
