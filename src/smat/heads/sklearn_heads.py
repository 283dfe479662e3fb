"""What one would try first, from scikit-learn: heads on features brought to length 1."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import normalize

from smat.heads.head import Classifier, Head


class SklearnClassifier(Classifier):
    """A fitted classifier of scikit-learn; logits are the logarithms of its probabilities, in float64 on the CPU.

    Args:
        fitted: has `predict_proba`, for features of length 1.
        way: number of classes.
    """

    def __init__(self, fitted: Any, way: int) -> None:
        super().__init__()
        self.fitted, self.way = fitted, way

    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Log-probabilities."""
        return self.probabilities(features).log()

    def probabilities(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """As scikit-learn gives them."""
        return torch.from_numpy(self.fitted.predict_proba(_unit(features))).to(features.device)


class SklearnHead(Head):
    """Fits a classifier of scikit-learn."""

    differentiable = False

    @abstractmethod
    def make(self, images: int) -> Any:
        """The classifier, not fitted yet, for so many support images."""

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> SklearnClassifier:
        """The fitted classifier."""
        return SklearnClassifier(self.make(len(labels)).fit(_unit(features), labels.cpu().numpy()), way)


def _unit(features: Tensor) -> Any:
    return normalize(features, dim=1).double().cpu().numpy()


@dataclass(frozen=True)
class Logistic(SklearnHead):
    """Logistic regression (Tian et al. 2020).

    Attributes:
        penalty: strength of the L2 penalty, as scikit-learn's 1/C.
    """

    penalty: float = 1.0

    def make(self, images: int) -> LogisticRegression:
        """Fitted by L-BFGS."""
        return LogisticRegression(C=1 / self.penalty, max_iter=1000)


@dataclass(frozen=True)
class Neighbours(SklearnHead):
    """Nearest neighbours, which vote by the inverse of their distance: with one image per class, equal votes would tie.

    Attributes:
        neighbours: number of neighbours that vote; all where there are fewer support images.
    """

    neighbours: int = 5

    def make(self, images: int) -> KNeighborsClassifier:
        """By Euclidean distance."""
        return KNeighborsClassifier(min(self.neighbours, images), weights="distance")
