"""Heads whose classifier is linear in features of length 1: ridge regression, LDA and logistic regression."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from smat.errors import ConfigError
from smat.heads.head import Classifier, Head


class LinearClassifier(Classifier):
    """W f + b of a feature f, which is brought to length 1 first.

    Attributes:
        weight: W, `[way, dim]`.
        bias: b, `[way]`.
        unit: whether features are brought to length 1.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Float[Tensor, "way dim"], bias: Float[Tensor, " way"], unit: bool = True) -> None:
        super().__init__()
        self.way, self.unit = len(weight), unit
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Logits."""
        return (normalize(features, dim=1) if self.unit else features) @ self.weight.T + self.bias


@dataclass(frozen=True)
class Ridge(Head):
    """Ridge regression onto the classes, in closed form, all classes with the same weight.

    Minimises Σ_i w_i |W x_i + b - (e_{y_i} - 1/way)|² + λ (|W|² + |b|²) with w_i = n / (way · n_{y_i}). What is solved
    is the dual, a system of the size of the support set (Bertinetto et al. 2019, R2-D2).

    Attributes:
        penalty: λ, greater than 0.
        scale: factor from the regression to logits.
    """

    penalty: float = 1.0
    scale: float = 8.0

    def __post_init__(self) -> None:
        _positive(self, "penalty", "scale")

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> LinearClassifier:
        """The regression."""
        x = _unit(features)
        counts = torch.bincount(labels, minlength=way).to(x)
        inverse_weights = (way * counts / len(labels))[labels]
        gram = x @ x.T + 1 + self.penalty * torch.diag(inverse_weights)
        dual = self.scale * torch.linalg.solve(gram, one_hot(labels, way).to(x) - 1 / way)
        return LinearClassifier((dual.T @ x).to(features), dual.sum(0).to(features))


@dataclass(frozen=True)
class LDA(Head):
    """Linear discriminant analysis: class means, and one covariance that is shrunk towards the identity.

    Σ = (S + κ t I) / (n - way + κ), where S is the scatter of the n images around their class means, t their variance
    around the mean of the classes, averaged over the dimensions, and κ = `shrinkage` · dim counts as so many images:
    the fewer there are, the more of the identity is in Σ. With one image per class this is a nearest class mean.
    Classes are equally likely. As Simple CNAPS (Bateni et al. 2020) and GDA (Wang et al. 2024), with one covariance for
    all classes.

    Attributes:
        shrinkage: κ over the number of dimensions, greater than 0.
        scale: factor from log-likelihoods per dimension to logits; of a Gaussian it would be the number of dimensions,
            but then probabilities would be much too sure, since features are no Gaussian of so many dimensions.
    """

    shrinkage: float = 0.5
    scale: float = 25.0

    def __post_init__(self) -> None:
        _positive(self, "shrinkage", "scale")

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> LinearClassifier:
        """The discriminants."""
        x = _unit(features)
        n, dim = x.shape
        counts = torch.bincount(labels, minlength=way).to(x)
        means = x.new_zeros(way, dim).index_add(0, labels, x) / counts[:, None]
        deviations = x - means[labels]
        spread = (x - means.mean(0)).square().sum() / n
        ridge = (self.shrinkage * spread).clamp(min=1e-9)  # κ t; images that are all alike have no spread
        # (S + κ t I)⁻¹ of the means, through a system of the size of the support set
        small = deviations @ deviations.T + ridge * torch.eye(n, dtype=x.dtype, device=x.device)
        solved = (means - torch.linalg.solve(small, deviations @ means.T).T @ deviations) / ridge
        weight = self.scale * (n - way + self.shrinkage * dim) / dim * solved
        return LinearClassifier(weight.to(features), (-0.5 * (weight * means).sum(1)).to(features))


@dataclass(frozen=True)
class Logistic(Head):
    """Logistic regression by scikit-learn's L-BFGS (Tian et al. 2020).

    Attributes:
        penalty: strength of the L2 penalty, scikit-learn's 1/C, greater than 0; the default did best on validation
            classes of the domains of `configs/real_small.yaml`, one value for all.
        unit: whether features are brought to length 1 first.
    """

    penalty: float = 0.1
    unit: bool = True

    differentiable = False

    def __post_init__(self) -> None:
        _positive(self, "penalty")

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> LinearClassifier:
        """The regression, on the CPU."""
        x = _unit(features) if self.unit else features.double()
        found = LogisticRegression(C=1 / self.penalty, max_iter=1000).fit(x.cpu().numpy(), labels.cpu().numpy())
        weight, bias = torch.from_numpy(found.coef_), torch.from_numpy(found.intercept_)
        if way == 2:  # of two classes scikit-learn keeps the difference of their logits
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        return LinearClassifier(weight.to(features), bias.to(features), self.unit)


def _unit(features: Tensor) -> Tensor:
    """Features of length 1, in float64 for the systems to be solved."""
    return normalize(features.double(), dim=1)


def _positive(head: Head, *names: str) -> None:
    for name in names:
        if not getattr(head, name) > 0:
            raise ConfigError(f"{type(head).__name__}.{name} is {getattr(head, name)}; give a number greater than 0")
