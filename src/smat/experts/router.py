"""The routing hypernetwork: a task's class prototypes in, one logit an expert out."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, logsigmoid, normalize, scaled_dot_product_attention

from smat.errors import ConfigError


@dataclass(frozen=True)
class RouterConfig:
    """The router's size and what is read from it.

    Attributes:
        tokens: learned tokens that the prototypes attend to.
        heads: attention heads; must divide the feature dimension.
        mlp_ratio: width of the hidden layer over the feature dimension.
        readout: `task`, a learned token of its own, so that the result does not depend on how classes are numbered;
            `first-class`, the output at the prototype of class 0, as the authors' code has it.
        normalise_single: whether the weight of a lone expert is 1; the authors' code leaves it at σ(a/T).
    """

    tokens: int = 4
    heads: int = 4
    mlp_ratio: int = 2
    readout: Literal["task", "first-class"] = "task"
    normalise_single: bool = True


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
        for _ in range(15):
            self.power_iteration()

    @torch.no_grad()
    def power_iteration(self) -> None:
        """Bring u and v one step closer to the first singular vectors."""
        self.v.copy_(normalize(self.weight.T @ self.u, dim=0, eps=1e-12))
        self.u.copy_(normalize(self.weight @ self.v, dim=0, eps=1e-12))

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """x Wᵀ/σ(W) + b."""
        return linear(x, self.weight / (self.u @ self.weight @ self.v), self.bias)


class Router(nn.Module):
    """Prototypes and learned tokens through one pre-norm transformer block; its read-out against one key an expert.

    The linear layers are spectrally normalised (paper, section 3.3); call `power_iteration` once an optimizer step.
    """

    def __init__(self, dim: int, experts: int, config: RouterConfig) -> None:
        super().__init__()
        if dim % config.heads:
            raise ConfigError(f"router.heads is {config.heads}; it must divide the feature dimension {dim}")
        hidden = config.mlp_ratio * dim
        self.config = config
        self.tokens = nn.Parameter(torch.randn(config.tokens, dim) * dim**-0.5)
        if config.readout == "task":
            self.task_token = nn.Parameter(torch.randn(1, dim) * dim**-0.5)
        self.keys = nn.Parameter(torch.randn(experts, dim) * dim**-0.5)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = SpectralLinear(dim, 3 * dim, bias=False)
        self.proj = SpectralLinear(dim, dim)
        self.fc1 = SpectralLinear(dim, hidden)
        self.fc2 = SpectralLinear(hidden, dim)

    def power_iteration(self) -> None:
        """Bring the layers' spectral norms up to date with their weights."""
        for layer in (self.qkv, self.proj, self.fc1, self.fc2):
            layer.power_iteration()

    def read_out(self, prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, " dim"]:
        """The task's embedding: a learned summary of its classes, the same however they are ordered."""
        if self.config.readout == "task":
            x = torch.cat([self.task_token, prototypes, self.tokens])
        else:
            x = torch.cat([prototypes, self.tokens])
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
        """α on the simplex: σ((a + logit(u))/T) normalised to sum 1; a relaxed Bernoulli with u, σ(a/T) without.

        Maddison, Mnih & Teh (2017), section 3; paper, eq. 6.
        """
        if uniform is not None:
            logits = logits + torch.logit(uniform)
        log_scores = logsigmoid(logits / temperature)
        # the softmax of the logarithms is the normalised scores, also where all of them would round to 0
        return log_scores.softmax(0) if len(logits) > 1 or self.config.normalise_single else log_scores.exp()
