"""The head that is one layer of a network."""

import pytest
import torch

from feature_tasks import feature_task
from smat.errors import ConfigError
from smat.heads import LinearLayer, Logistic


def test_it_is_linear_in_the_feature() -> None:
    features, labels, queries, _ = feature_task([3, 4, 5])
    found = LinearLayer().fit(features, labels, 3)
    torch.testing.assert_close(found(queries), queries @ found.weight.T + found.bias)


def test_the_unit_of_features_does_not_matter() -> None:
    features, labels, queries, _ = feature_task([3, 4, 5])
    found, scaled = (LinearLayer().fit(factor * features, labels, 3) for factor in (1, 50))
    torch.testing.assert_close(scaled(50 * queries), found(queries), rtol=1e-3, atol=1e-3)


def test_of_features_of_one_length_it_is_the_logistic_regression() -> None:
    features, labels, queries, _ = feature_task([3, 4, 5])
    features, queries = (7 * torch.nn.functional.normalize(some) for some in (features, queries))
    expected = Logistic().fit(features, labels, 3)(queries)
    torch.testing.assert_close(LinearLayer().fit(features, labels, 3)(queries), expected, rtol=1e-3, atol=1e-3)


def test_a_penalty_is_above_zero() -> None:
    with pytest.raises(ConfigError, match="penalty is 0"):
        LinearLayer(0.0)
