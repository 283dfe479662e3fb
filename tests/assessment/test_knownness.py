"""How much an image is like the labelled ones."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from feature_tasks import feature_task
from smat.assessment import Knownness
from smat.assessment.knownness import POWER, SHRINKAGE


def by_definition(features: Tensor, labels: Tensor, way: int, query: Tensor) -> Tensor:
    """The score by the inverse of LDA's shrunk covariance, in float64."""
    x, u = normalize(features, dim=1), normalize(query, dim=1)
    means = torch.stack([x[labels == label].mean(0) for label in range(way)])
    centre = means.mean(0)
    scatter = (x - means[labels]).T @ (x - means[labels])
    added = SHRINKAGE * (x - centre).square().sum(1).mean()
    inverse = added * torch.linalg.inv(scatter + added * torch.eye(x.shape[1], dtype=x.dtype))
    squares = torch.stack([((u - mean) @ inverse * (u - mean)).sum(1) for mean in means])
    return POWER * (u - centre).square().sum(1).log() - squares.min(0).values.log()


@pytest.mark.parametrize(("counts", "dim"), [([4, 3, 5], 20), ([9, 8], 4), ([1, 1, 1], 6)])
def test_it_is_a_mahalanobis_distance_by_the_distance_to_the_centre(counts: list[int], dim: int) -> None:
    features, labels, query, _ = feature_task(counts, dim=dim)
    found = Knownness.fit(features[None], labels, len(counts))(query)
    torch.testing.assert_close(found, by_definition(features, labels, len(counts), query))


def test_views_of_an_image_are_averaged() -> None:
    features, labels, query, _ = feature_task([4, 3])
    other = features + 0.1
    mean = (normalize(features, dim=1) + normalize(other, dim=1)) / 2
    torch.testing.assert_close(
        Knownness.fit(torch.stack([features, other]), labels, 2)(query), Knownness.fit(mean[None], labels, 2)(query)
    )


def test_over_networks_it_is_the_mean() -> None:
    (one, labels, query, _), (other, _, others, _) = feature_task([4, 3]), feature_task([4, 3], seed=1)
    both = Knownness.fit(torch.cat([one, other], dim=1)[None], labels, 2, networks=2)(torch.cat([query, others], dim=1))
    alone = [Knownness.fit(x[None], labels, 2)(q) for x, q in ((one, query), (other, others))]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


def test_neither_scale_nor_rotation_nor_order_matters() -> None:
    features, labels, query, _ = feature_task([4, 3, 5])
    expected = Knownness.fit(features[None], labels, 3)(query)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    order = torch.arange(len(labels)).flip(0)
    found = Knownness.fit(2 * (features @ rotation)[order][None], (labels[order] + 1) % 3, 3)(3 * query @ rotation)
    torch.testing.assert_close(found, expected)


def test_images_of_another_class_are_less_known() -> None:
    features, labels, query, wanted = feature_task([6, 6, 6, 6], dim=32, queries=10)
    own = labels < 3
    known = Knownness.fit(features[own][None], labels[own], 3)(query)
    assert float(known[wanted == 3].max()) < float(known[wanted < 3].min())


def test_images_that_are_all_the_same_have_finite_scores() -> None:
    features = torch.ones(1, 4, 3)
    assert Knownness.fit(features, torch.tensor([0, 0, 1, 1]), 2)(features[0]).isfinite().all()


def test_it_is_kept_in_buffers() -> None:
    features, labels, query, _ = feature_task([4, 3], dtype=torch.float32)
    known = Knownness.fit(features[None], labels, 2)
    again = Knownness(**{name: torch.zeros_like(value) for name, value in known.state_dict().items()})
    again.load_state_dict(known.state_dict())
    assert torch.equal(again(query), known(query))
