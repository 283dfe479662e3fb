"""Several classifiers as one."""

import pytest
import torch
from torch import Tensor

from feature_tasks import feature_task
from smat.errors import ConfigError
from smat.heads import (
    LDA,
    Auto,
    Average,
    Classifier,
    Each,
    Head,
    InViews,
    Logistic,
    Mixture,
    Neighbours,
    Prototype,
    Ridge,
    Views,
)

COUNTS = [4, 2, 5]


class Certain(Classifier):
    """Gives all classes but one a probability of 0."""

    way = 3

    def forward(self, features: Tensor) -> Tensor:
        return features.new_tensor([0.0, -torch.inf, -torch.inf]).expand(len(features), 3)


def test_a_mixture_adds_weighted_log_probabilities() -> None:
    features, labels, queries, _ = feature_task(COUNTS)
    one, other = Prototype().fit(features, labels, 3), Ridge().fit(features, labels, 3)
    weights = torch.tensor([[0.5, 1.5], [0.0, 2.0]], dtype=torch.float64)
    found = Mixture([[one, other], [Certain(), one]], weights)
    both = torch.cat([queries, 2 * queries + 1], 1)
    expected = (
        0.5 * one(queries).log_softmax(1)
        + 1.5 * other(queries).log_softmax(1)
        + 2 * one(2 * queries + 1).log_softmax(1)
    )
    torch.testing.assert_close(found(both), expected)
    torch.testing.assert_close(found.probabilities(both), expected.softmax(1))


def test_networks_without_weight_can_be_left_out() -> None:
    features, labels, queries, _ = feature_task(COUNTS)
    one, other = Prototype().fit(features, labels, 3), Ridge().fit(features, labels, 3)
    weights = torch.tensor([[0.5, 0.25], [0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    found = Mixture([[one, other], [Certain(), Certain()], [one, other]], weights)
    assert found.used == [0, 2]
    fewer = found.without_unused()
    assert (fewer.networks, fewer.way, fewer.used) == (2, 3, [0, 1])
    parts = [queries, -queries, 3 * queries + 1]
    torch.testing.assert_close(fewer(torch.cat(parts[::2], 1)), found(torch.cat(parts, 1)))


def mean_of(heads: list[Head], parts: list[Tensor], labels: Tensor, queries: list[Tensor]) -> Tensor:
    each = [h.fit(p, labels, 3)(q).log_softmax(1) for p, q in zip(parts, queries, strict=True) for h in heads]
    return torch.stack(each).mean(0)


@pytest.mark.parametrize("networks", [1, 2])
def test_average_and_each_are_means_over_heads_and_networks(networks: int) -> None:
    tasks = [feature_task(COUNTS, seed=seed) for seed in range(networks)]
    labels = tasks[0][1]
    parts, queries = [t[0] for t in tasks], [t[2] for t in tasks]
    four: list[Head] = [Prototype(), Ridge(), Logistic(), LDA()]
    for head, heads in ((Average(), four), (Each(LDA()), [LDA()]), (Each(), [Prototype()])):
        found = head.for_networks(networks).fit(torch.cat(parts, 1), labels, 3)
        torch.testing.assert_close(found(torch.cat(queries, 1)), mean_of(heads, parts, labels, queries))


def test_a_head_in_views_is_fitted_to_all_of_them() -> None:
    features, labels, queries, _ = feature_task(COUNTS)
    head = InViews(LDA(2.0), 4)
    assert head.views == Views.of(4)
    seen = torch.cat([features + view for view in range(5)])
    found = head.fit(seen, labels.repeat(5), 3)
    torch.testing.assert_close(found(queries), LDA(2.0).fit(seen, labels.repeat(5), 3)(queries))
    assert [InViews(head).differentiable for head in (LDA(), Prototype(), Neighbours())] == [True, True, False]
    with pytest.raises(ConfigError, match="passes is 3; give 0, 1, 2 or 4"):
        InViews(LDA(), 3)


def test_what_wraps_a_head_leaves_nothing_of_it_out() -> None:
    assert InViews(Average(), 1).for_networks(2) == InViews(Average(2), 1)
    assert InViews(Auto(0), 2).after_tuning() == InViews(Auto(0, weigh=False), 2)
    assert Each(Auto(0)).after_tuning() == Each(Auto(0, weigh=False))
    assert Each(InViews(Ridge(), 4)).views == Views.of(4)
    assert not Each().differentiable
