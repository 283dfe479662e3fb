"""Linear heads against their definitions, solved the long way."""

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from feature_tasks import feature_task
from smat.errors import ConfigError
from smat.heads import LDA, Head, Logistic, Ridge

COUNTS = [4, 1, 7]


def primal(head: Ridge, features: Tensor, labels: Tensor, queries: Tensor, way: int) -> Tensor:
    """The normal equations of the weighted regression, with the bias as one more weight."""
    x, q = (torch.cat([normalize(f), torch.ones(len(f), 1).to(f)], dim=1) for f in (features, queries))
    weights = len(labels) / way / torch.bincount(labels)[labels].double()
    normal = x.T @ (weights[:, None] * x) + head.penalty * torch.eye(x.shape[1], dtype=x.dtype)
    targets = one_hot(labels, way).double() - 1 / way
    return head.scale * q @ torch.linalg.solve(normal, x.T @ (weights[:, None] * targets))


@pytest.mark.parametrize("head", [Ridge(), Ridge(0.01, 3.0), Ridge(50.0, 1.0)])
@pytest.mark.parametrize("dim", [3, 30])
def test_ridge_solves_the_normal_equations(head: Ridge, dim: int) -> None:
    features, labels, queries, _ = feature_task(COUNTS, dim=dim)
    found = head.fit(features, labels, 3)(queries)
    torch.testing.assert_close(found, primal(head, features, labels, queries, 3), rtol=1e-9, atol=1e-9)


def test_copies_of_images_do_not_give_a_class_more_weight_in_ridge() -> None:
    features, labels, queries, _ = feature_task([3, 3, 3])
    again = torch.cat([torch.arange(9), (labels == 1).nonzero()[:, 0].repeat(4)])
    more = replace(Ridge(), penalty=Ridge().penalty * len(again) / 9)  # weights sum to the number of images
    expected = Ridge().fit(features, labels, 3)(queries)
    torch.testing.assert_close(more.fit(features[again], labels[again], 3)(queries), expected)


@pytest.mark.parametrize("head", [LDA(), LDA(0.05, 2.0), LDA(20.0)])
@pytest.mark.parametrize("dim", [3, 30])
def test_lda_has_the_discriminants_of_the_shrunk_covariance(head: LDA, dim: int) -> None:
    features, labels, queries, _ = feature_task(COUNTS, dim=dim)
    x, q = normalize(features), normalize(queries)
    means = torch.stack([x[labels == c].mean(0) for c in range(3)])
    scatter = (x - means[labels]).T @ (x - means[labels])
    variance = (x - means.mean(0)).square().mean()
    images = head.shrinkage * dim
    covariance = (scatter + images * variance * torch.eye(dim, dtype=x.dtype)) / (len(x) - 3 + images)
    difference = q[:, None] - means
    expected = -0.5 * head.scale / dim * (difference @ torch.linalg.inv(covariance) * difference).sum(2)
    found = head.fit(features, labels, 3)
    # log-likelihoods but for what all classes share
    torch.testing.assert_close(found(queries).log_softmax(1), expected.log_softmax(1), rtol=1e-8, atol=1e-8)


def test_with_one_image_per_class_lda_orders_classes_by_their_distance() -> None:
    features, labels, queries, _ = feature_task([1] * 7, dim=12, noise=3.0)
    logits = LDA().fit(features, labels, 7)(queries)
    images = normalize(features)[labels.argsort()]
    distances = torch.cdist(normalize(queries), images)
    assert torch.equal(logits.argsort(1, descending=True), distances.argsort(1))


def test_lda_of_images_that_are_all_alike_finds_the_classes_alike() -> None:
    features = torch.randn(1, 5, dtype=torch.float64).expand(4, 5)
    found = LDA().fit(features, torch.tensor([0, 1, 0, 1]), 2).probabilities(torch.randn(3, 5, dtype=torch.float64))
    torch.testing.assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=1e-3)


@pytest.mark.parametrize("counts", [COUNTS, [2, 5]], ids=["multinomial", "binary"])
@pytest.mark.parametrize("head", [Logistic(), Logistic(0.01), Logistic(10.0, unit=False)])
def test_logistic_is_scikit_learns(counts: list[int], head: Logistic) -> None:
    features, labels, queries, _ = feature_task(counts)
    x, q = (normalize(f) if head.unit else f for f in (features, queries))
    expected = LogisticRegression(C=1 / head.penalty, max_iter=1000).fit(x.numpy(), labels.numpy())
    found = head.fit(features, labels, len(counts))
    torch.testing.assert_close(found.probabilities(queries), torch.from_numpy(expected.predict_proba(q.numpy())))
    assert found.weight.shape == (len(counts), 6)


def test_many_classes_of_one_image_are_no_regression(recwarn: pytest.WarningsRecorder) -> None:
    features, labels, _, _ = feature_task([1] * 25)
    Logistic().fit(features, labels, 25)
    assert not recwarn.list


def test_without_unit_lengths_the_length_of_a_feature_counts() -> None:
    features, labels, queries, _ = feature_task(COUNTS)
    found = Logistic(unit=False).fit(features, labels, 3)
    assert not torch.allclose(found(queries), found(2 * queries))


@pytest.mark.parametrize("head", [Ridge(0.3), LDA(0.3)])
def test_logits_are_differentiable_in_support_and_query(head: Head) -> None:
    features, labels, queries, _ = feature_task([2, 1, 2], dim=4, queries=1)
    inputs = (features.requires_grad_(), queries.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, q: head.fit(x, labels, 3)(q), inputs)


@pytest.mark.parametrize("head", [Ridge(), LDA(), Logistic()])
def test_what_is_kept_has_the_precision_of_the_features_and_moves_as_buffers(head: Head) -> None:
    features, labels, queries, _ = feature_task(COUNTS, dtype=torch.float32)
    found = head.fit(features, labels, 3)
    assert {name: value.dtype for name, value in found.named_buffers()} == dict.fromkeys(
        ("weight", "bias"), torch.float32
    )
    exact = head.fit(features.double(), labels, 3)(queries.double())
    torch.testing.assert_close(found(queries).double(), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.double()(queries.double()), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        (Ridge, {"penalty": 0.0}, "Ridge.penalty is 0.0"),
        (Ridge, {"scale": -1.0}, "Ridge.scale is -1.0"),
        (LDA, {"shrinkage": 0.0}, "LDA.shrinkage is 0.0"),
        (LDA, {"scale": float("nan")}, "LDA.scale is nan"),
        (Logistic, {"penalty": -2.0}, "Logistic.penalty is -2.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(kind: type[Head], settings: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}; give a number greater than 0"):
        kind(**settings)
