"""Heads whose classifier is linear in features of length 1: ridge regression, LDA and logistic regression."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from smat.errors import ConfigError
from smat.heads.head import Classifier, Head, Weights


@contextmanager
def of_few_images() -> Iterator[None]:
    """Without the warning of scikit-learn, which takes many classes of an image or two each for a regression."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


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

    Minimises Σ_i w_i |W x_i + b - (e_{y_i} - 1/way)|² + λ (|W|² + |b|²) with w_i = n / (way · n_{y_i}), where n is the
    number of images and n_y that of a class; with weights, their sums, and w_i times that of the image. Of few images
    in the dual, where the system is of the size of the support set (Bertinetto et al. 2019, R2-D2).

    Attributes:
        penalty: λ, greater than 0.
        scale: factor from the regression to logits.
    """

    penalty: float = 1.0
    scale: float = 8.0

    def __post_init__(self) -> None:
        _positive(self, "penalty", "scale")

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> LinearClassifier:
        """The regression."""
        x = _unit(features)
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        weights = _each(weights, x)
        counts = x.new_zeros(way).index_add(0, labels, weights)
        root = (weights.sum() / way / counts[labels] * weights).sqrt()[:, None]
        targets = one_hot(labels, way).to(x) - 1 / way
        both = self.scale * _ridge(root * x, self.penalty, root * targets).T
        return LinearClassifier(both[:, :-1].to(features), both[:, -1].to(features))


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

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> LinearClassifier:
        """The discriminants."""
        x, dim = _unit(features), features.shape[1]
        weights = _each(weights, x)
        n, counts = weights.sum(), x.new_zeros(way).index_add(0, labels, weights)
        means = x.new_zeros(way, dim).index_add(0, labels, weights[:, None] * x) / counts[:, None]
        deviations = weights.sqrt()[:, None] * (x - means[labels])
        spread = (weights[:, None] * (x - means.mean(0)).square()).sum() / n
        ridge = (self.shrinkage * spread).clamp(min=1e-9)  # κ t; images that are all alike have no spread
        solved = _inverse_times(deviations, ridge, means)
        weight = self.scale * ((n - way).clamp(min=0) + self.shrinkage * dim) / dim * solved
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

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> LinearClassifier:
        """The regression, on the CPU."""
        x = _unit(features) if self.unit else features.double()
        found = LogisticRegression(C=1 / self.penalty, max_iter=1000)
        with of_few_images():
            found.fit(x.cpu().numpy(), labels.cpu().numpy(), None if weights is None else weights.cpu().numpy())
        weight, bias = torch.from_numpy(found.coef_), torch.from_numpy(found.intercept_)
        if way == 2:  # of two classes scikit-learn keeps the difference of their logits
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        return LinearClassifier(weight.to(features), bias.to(features), self.unit)


def _ridge(rows: Tensor, penalty: float, targets: Tensor) -> Tensor:
    """(RᵀR + λ I)⁻¹ Rᵀ T, through a system of the number of rows or of columns, whichever is smaller."""
    if len(rows) < rows.shape[1]:
        return rows.T @ torch.linalg.solve(rows @ rows.T + penalty * _identity(rows, len(rows)), targets)
    return torch.linalg.solve(rows.T @ rows + penalty * _identity(rows, rows.shape[1]), rows.T @ targets)


def _inverse_times(rows: Tensor, ridge: Tensor, right: Tensor) -> Tensor:
    """(RᵀR + a I)⁻¹ of each row of `right`, likewise."""
    if len(rows) < rows.shape[1]:
        small = rows @ rows.T + ridge * _identity(rows, len(rows))
        return (right - torch.linalg.solve(small, rows @ right.T).T @ rows) / ridge
    return torch.linalg.solve(rows.T @ rows + ridge * _identity(rows, rows.shape[1]), right.T).T


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _each(weights: Weights, like: Tensor) -> Tensor:
    """The weights, or 1 for each image."""
    return like.new_ones(len(like)) if weights is None else weights.to(like)


def _unit(features: Tensor) -> Tensor:
    """Features of length 1, in float64 for the systems to be solved."""
    return normalize(features.double(), dim=1)


def _positive(head: Head, *names: str) -> None:
    for name in names:
        if not getattr(head, name) > 0:
            raise ConfigError(f"{type(head).__name__}.{name} is {getattr(head, name)}; give a number greater than 0")
