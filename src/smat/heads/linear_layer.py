"""A head that the last layer of a network can be: linear in the feature itself, whatever its length."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from smat.heads.head import Head
from smat.heads.linear import LinearClassifier, Logistic


@dataclass(frozen=True)
class LinearLayer(Head):
    """Logistic regression on features that are divided by their mean length, all by the same.

    Other heads bring each feature to length 1 first, which no layer W f + b can do. Where the features of a network are
    all about as long, this differs little from `Logistic`.

    Attributes:
        penalty: as that of `Logistic`.
    """

    penalty: float = Logistic.penalty

    differentiable = False

    def __post_init__(self) -> None:
        self._regression  # noqa: B018  (it raises for what is no penalty)

    @property
    def _regression(self) -> Logistic:
        return Logistic(self.penalty, unit=False)

    def fit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int) -> LinearClassifier:
        """The regression, as one layer."""
        length = features.norm(dim=1).mean().clamp(min=1e-9)
        found = self._regression.fit(features / length, labels, way)
        return LinearClassifier(found.weight / length, found.bias, unit=False)
