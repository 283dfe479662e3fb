"""The routing hypernetwork: a task's class prototypes in, one logit per expert out.

An extension point: a router of one's own needs `build` and `forward`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, logsigmoid, normalize, scaled_dot_product_attention

from smat.errors import ConfigError, DataError
from smat.experts.gates import noisy
from smat.plugins import Plugin
from smat.schema import Count, Number, checked


@dataclass(frozen=True)
@checked("pool.router")
class RouterConfig:
    """The router's size and what is read from it.

    Attributes:
        tokens: number of learned tokens that the prototypes attend to.
        heads: number of attention heads, which must divide the number of features.
        mlp_ratio: width of the hidden layer over the number of features.
        readout: `task`, a learned token, so that the result does not depend on how classes are numbered; or
            `first-class`, the output at the prototype of class 0, as the authors' code has it.
        normalise_single: whether the weight of a single expert is 1; in the authors' code it is σ(a/T).
        choice: rule that makes merge weights of logits: `all`, normalised sigmoids as in the paper, which are nearly
            equal where all logits are far above 0; `softmax`, of which only differences matter; the `top` highest of
            the paper's; or `sparsemax` (Martins & Astudillo 2016). With the last two, weights can be exactly 0.
        top: number of experts that get a merge weight with the choice `top`.
    """

    tokens: Number = 4
    heads: Count = 4
    mlp_ratio: Count = 2
    readout: Literal["task", "first-class"] = "task"
    normalise_single: bool = True
    # not in the repr, of which fingerprints of pools are made
    choice: Literal["all", "softmax", "top", "sparsemax"] = field(default="all", repr=False)
    top: Count = field(default=2, repr=False)


class SpectralLinear(nn.Module):
    """A linear layer whose weight is divided by its largest singular value (Miyato et al. 2018).

    Unlike PyTorch's, a forward pass has no side effect: the singular vectors move in `power_iteration` alone, so tasks
    of one optimizer step see the same layer whichever device computes them.
    """

    u: Tensor
    v: Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        plain = nn.Linear(inputs, outputs, bias)
        self.weight, self.bias = plain.weight, plain.bias
        self.register_buffer("u", normalize(torch.randn(outputs), dim=0))
        self.register_buffer("v", normalize(torch.randn(inputs), dim=0))
        for _ in range(0 if self.weight.is_meta else 15):  # without numbers there is nothing to come closer to
            self.power_iteration()

    @torch.no_grad()
    def power_iteration(self) -> None:
        """Bring u and v one step closer to the first singular vectors."""
        self.v.copy_(normalize(self.weight.T @ self.u, dim=0, eps=1e-12))
        self.u.copy_(normalize(self.weight @ self.v, dim=0, eps=1e-12))

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """x Wᵀ/σ(W) + b."""
        return linear(x, self.weight / (self.u @ self.weight @ self.v), self.bias)


def sparsemax(scores: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The point of the simplex that is closest to the scores (Martins & Astudillo 2016, eq. 2); some are exactly 0."""
    ordered = scores.sort(descending=True).values
    excess = ordered.cumsum(0) - 1
    counts = torch.arange(1, len(scores) + 1, device=scores.device, dtype=scores.dtype)
    size = (counts * ordered > excess).sum(0, keepdim=True)
    return (scores - excess.gather(0, size - 1) / size).clamp_min(0)


def class_prototypes(features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> Float[Tensor, "way dim"]:
    """The mean feature of each class; every class 0..way-1 must occur in `labels`."""
    totals = features.new_zeros(way, features.shape[1]).index_add(0, labels, features)
    # not by bincount, for which a GPU has to be waited for
    counts = features.new_zeros(way).index_add(0, labels, torch.ones_like(labels, dtype=features.dtype))
    return totals / counts[:, None]


def count_classes(labels: Int[Tensor, " n"]) -> int:
    """Number of classes of a support set.

    Raises:
        DataError: labels that are not 0..way-1, or a class without an image.
    """
    if not len(labels) or int(labels.min()) < 0 or 0 in (counts := torch.bincount(labels).tolist()):
        found = "none" if not len(labels) else f"{sorted(set(labels.tolist()))}"
        raise DataError(f"support labels must be 0, 1, ... with an image for each; got {found}")
    return len(counts)


class Router(nn.Module, Plugin, ABC):
    """Reads a task once and says how much of each expert its network gets.

    The constructor takes settings only and keeps each as an attribute of its name. The parameters are made by `build`,
    on a copy for each pool.
    """

    @abstractmethod
    def build(self, dim: int, experts: int) -> None:
        """Make the parameters.

        Args:
            dim: number of features.
            experts: M; one more with a null expert, which is the last.
        """

    @abstractmethod
    def forward(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, " experts"]:
        """Routing logits from the class means of the pre-trained network's features.

        They should not depend on the order of the classes.
        """

    def before_step(self) -> None:
        """Called once before the tasks of an optimizer step."""

    def merge_weights(
        self,
        logits: Float[Tensor, " experts"],
        temperature: float,
        uniform: Float[Tensor, " experts"] | None = None,
    ) -> Float[Tensor, " experts"]:
        """α on the simplex: σ((a + logit(u))/T) normalised to sum 1; a relaxed Bernoulli with u, σ(a/T) without.

        Maddison, Mnih & Teh (2017), section 3; paper, eq. 6.
        """
        # the softmax of the logarithms is the normalised scores, also where all of them would round to 0
        return self._log_scores(logits, temperature, uniform).softmax(0)

    def _log_scores(self, logits: Tensor, temperature: float, uniform: Tensor | None) -> Tensor:
        return logsigmoid(noisy(logits, uniform) / temperature)


class TransformerRouter(Router):
    """Prototypes and learned tokens through one pre-norm transformer block; its read-out against one key per expert.

    The linear layers are spectrally normalised (paper, section 3.3). What is read out is a learned task token, so that
    the result is the same however classes are numbered.

    Args:
        config: size of the block.
    """

    def __init__(self, config: RouterConfig) -> None:
        super().__init__()
        self.config = config

    def build(self, dim: int, experts: int) -> None:
        """The tokens, the keys and the block; raises ConfigError if the heads do not divide the features."""
        config = self.config
        if dim % config.heads:
            raise ConfigError(f"router.heads is {config.heads}; it must divide the number of features, {dim}")
        hidden = config.mlp_ratio * dim
        self.tokens = nn.Parameter(torch.randn(config.tokens, dim) * dim**-0.5)
        self._build_readout(dim)
        self.keys = nn.Parameter(torch.randn(experts, dim) * dim**-0.5)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = SpectralLinear(dim, 3 * dim, bias=False)
        self.proj = SpectralLinear(dim, dim)
        self.fc1 = SpectralLinear(dim, hidden)
        self.fc2 = SpectralLinear(hidden, dim)

    def _build_readout(self, dim: int) -> None:
        self.task_token = nn.Parameter(torch.randn(1, dim) * dim**-0.5)

    def _sequence(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, "n dim"]:
        """What goes through the block; the first token is read out."""
        return torch.cat([self.task_token, prototypes, self.tokens])

    def before_step(self) -> None:
        """Bring the layers' spectral norms up to date with their weights."""
        for layer in (self.qkv, self.proj, self.fc1, self.fc2):
            layer.power_iteration()

    def read_out(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, " dim"]:
        """The embedding of the task, to be compared with the keys."""
        x = self._sequence(prototypes)
        heads = self.config.heads
        n, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, 3, heads, dim // heads).permute(1, 2, 0, 3)
        x = x + self.proj(scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(n, dim))
        x = x + self.fc2(gelu(self.fc1(self.norm2(x))))
        return x[0]

    def forward(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, " experts"]:
        """Routing logits from the class prototypes of the pre-trained features."""
        return self.keys @ self.read_out(prototypes)

    def merge_weights(
        self,
        logits: Float[Tensor, " experts"],
        temperature: float,
        uniform: Float[Tensor, " experts"] | None = None,
    ) -> Float[Tensor, " experts"]:
        """α on the simplex, by the rule of `RouterConfig.choice`."""
        config = self.config
        if config.choice == "softmax":
            return (noisy(logits, uniform) / temperature).softmax(0)
        if config.choice == "sparsemax":
            return sparsemax(noisy(logits, uniform) / temperature)
        weights = super().merge_weights(logits, temperature, uniform)
        if config.choice == "all" or len(weights) <= config.top:
            return weights
        chosen = torch.zeros_like(weights).index_fill_(0, weights.topk(config.top).indices, 1.0)
        return weights * chosen / (weights * chosen).sum()


class OfficialRouter(TransformerRouter):
    """The router with what the authors' code does otherwise, each where the settings say so."""

    def _build_readout(self, dim: int) -> None:
        if self.config.readout == "task":
            super()._build_readout(dim)

    def _sequence(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, "n dim"]:
        """With `first-class`, the class labelled 0 comes first: the result changes with the order of classes."""
        return super()._sequence(prototypes) if self.config.readout == "task" else torch.cat([prototypes, self.tokens])

    def merge_weights(
        self,
        logits: Float[Tensor, " experts"],
        temperature: float,
        uniform: Float[Tensor, " experts"] | None = None,
    ) -> Float[Tensor, " experts"]:
        """Without `normalise_single`, the weight of a lone expert stays σ(a/T)."""
        if len(logits) == 1 and not self.config.normalise_single:
            return self._log_scores(logits, temperature, uniform).exp()
        return super().merge_weights(logits, temperature, uniform)
