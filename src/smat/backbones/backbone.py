"""A network as a feature extractor: images in, one vector per image out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.backbones.spec import BackboneSpec
from smat.errors import BackboneError


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
    """

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
        self._keep_as_buffers_what_is_not_in(_parameters_behind(features))

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode, whatever `mode` says."""
        del mode
        return super().train(False)

    @property
    def attention_heads(self) -> int | None:
        """Number of attention heads per block, as the configuration has it; None for networks without."""
        return self.spec.config.get("num_attention_heads")

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
        return _pick(self.network(images), self.spec.feature)

    def _probe(self) -> Tensor:
        """The features of two black images, with their graph; errors where there are none."""
        name, size = self.spec.name, self.spec.image_size
        parameter = next(self.network.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        try:
            with torch.enable_grad():
                output = self.network(torch.zeros(2, 3, size, size, device=device))
                features = _pick(output, self.spec.feature)
        except (RuntimeError, ValueError, TypeError) as error:
            raise BackboneError(
                f"backbone {name!r} cannot process images [2, 3, {size}, {size}]: {error}. It must map "
                "[n, 3, h, w] to [n, d]; very small images are too small for some networks"
            ) from error
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


def _pick(output: Any, feature: str) -> Any:
    """The feature among a network's outputs."""
    if feature == "pooler":
        return output.pooler_output.flatten(1)
    if feature == "cls":
        return output.last_hidden_state[:, 0]
    if feature == "mean":
        return output.last_hidden_state.mean(dim=1)
    return output


def _parameters_behind(output: Tensor) -> set[int]:
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
