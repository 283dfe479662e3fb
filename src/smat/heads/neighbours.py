"""Nearest neighbours: what one would try first."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import normalize

from smat.heads.head import Classifier, Head


class NeighboursClassifier(Classifier):
    """A fitted classifier of scikit-learn; logits are the logarithms of its probabilities, in float64 on the CPU.

    Args:
        fitted: for features of length 1.
        way: number of classes.
    """

    def __init__(self, fitted: KNeighborsClassifier, way: int) -> None:
        super().__init__()
        self.fitted, self.way = fitted, way

    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Log-probabilities."""
        return self.probabilities(features).log()

    def probabilities(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Shares of the votes."""
        unit = normalize(features.double(), dim=1).cpu().numpy()
        return torch.from_numpy(self.fitted.predict_proba(unit)).to(features.device)


@dataclass(frozen=True)
class Neighbours(Head):
    """Nearest neighbours, which vote by the inverse of their distance: with one image per class, equal votes would tie.

    Attributes:
        neighbours: number of neighbours that vote; all where there are fewer support images.
    """

    neighbours: int = 5

    differentiable = False

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> NeighboursClassifier:
        """The fitted classifier, by Euclidean distance between features of length 1."""
        unit = normalize(features.double(), dim=1).cpu().numpy()
        classifier = KNeighborsClassifier(min(self.neighbours, len(labels)), weights="distance")
        return NeighboursClassifier(classifier.fit(unit, labels.cpu().numpy()), way)
