"""A head that the last layer of a network can be: linear in the feature itself, whatever its length."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from smat.heads.head import Head, Weights
from smat.heads.linear import LinearClassifier, Logistic


@dataclass(frozen=True)
class LinearLayer(Head):
    """Logistic regression on features that are divided by their mean length, all by the same.

    Other heads bring each feature to length 1 first, which no layer W f + b can do. Where the features of a network are
    all about as long, this differs little from `Logistic`.

    Attributes:
        penalty: strength of the L2 penalty, as of `Logistic`.
    """

    penalty: float = Logistic.penalty

    differentiable = False

    def __post_init__(self) -> None:
        self._regression  # noqa: B018  (it raises for what is no penalty)

    @property
    def _regression(self) -> Logistic:
        return Logistic(self.penalty, unit=False)

    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> LinearClassifier:
        """The regression, as one layer."""
        lengths = features.norm(dim=1)
        length = lengths.mean() if weights is None else (weights * lengths).sum() / weights.sum()
        length = length.clamp(min=1e-9)
        found = self._regression.fit(features / length, labels, way, weights)
        return LinearClassifier(found.weight / length, found.bias, unit=False)
