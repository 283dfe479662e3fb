"""A weight of 2 is as the image twice, for every head that weighs images."""

import pytest
import torch

from feature_tasks import feature_task
from smat.errors import ConfigError
from smat.heads import (
    LDA,
    Average,
    Each,
    Head,
    InViews,
    LinearLayer,
    Logistic,
    Neighbours,
    Prototype,
    PrototypeClassifier,
    Ridge,
)

WEIGHED = [
    Prototype(),
    Ridge(),
    LDA(),
    Logistic(),
    LinearLayer(),
    Neighbours(2),
    Average(),
    Each(LDA()),
    InViews(Ridge(), 1),
]


@pytest.mark.parametrize("head", WEIGHED, ids=lambda head: type(head).__name__)
def test_a_weight_is_so_many_images(head: Head) -> None:
    features, labels, queries, *_ = feature_task([3, 1, 4])
    twice = torch.tensor([1, 4])
    weights = torch.ones(len(labels)).index_fill(0, twice, 2.0)
    if isinstance(head, Neighbours):  # which counts neighbours, not their weights, to find the nearest ones
        head = Neighbours(len(labels) + 2)
    more, more_labels = torch.cat([features, features[twice]]), torch.cat([labels, labels[twice]])
    expected = head.fit(more, more_labels, 3)(queries).softmax(1)
    torch.testing.assert_close(head.fit_weighted(features, labels, 3, weights)(queries).softmax(1), expected)
    torch.testing.assert_close(
        head.fit_weighted(features, labels, 3, torch.ones(len(labels)))(queries), head.fit(features, labels, 3)(queries)
    )


class Unweighted(Head):
    def fit(self, features: torch.Tensor, labels: torch.Tensor, way: int) -> PrototypeClassifier:  # type: ignore
        return Prototype().fit(features, labels, way)


def test_a_head_without_weights_is_refused_with_them() -> None:
    features, labels, *_ = feature_task([2, 2])
    Unweighted().fit_weighted(features, labels, 2)
    with pytest.raises(ConfigError, match="the head Unweighted cannot weigh images: leave sample_weight out"):
        Unweighted().fit_weighted(features, labels, 2, torch.ones(4))
