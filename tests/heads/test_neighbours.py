"""Nearest neighbours against scikit-learn's."""

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import normalize

from feature_tasks import feature_task
from smat.heads import Neighbours


@pytest.mark.parametrize("dim", [6, 200])
@pytest.mark.parametrize(("shot", "voters"), [(4, 5), (1, 3)])
def test_neighbours_vote_by_distance_and_are_never_more_than_there_are(shot: int, voters: int, dim: int) -> None:
    features, labels, queries, _ = feature_task([shot] * 3, dim=dim)
    expected = KNeighborsClassifier(voters, weights="distance").fit(normalize(features).numpy(), labels.numpy())
    found = Neighbours().fit(features, labels, 3)
    probabilities = found.probabilities(queries)
    shares = torch.from_numpy(expected.predict_proba(normalize(queries).numpy()))
    torch.testing.assert_close(probabilities, shares, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found(queries).exp(), probabilities)
    torch.testing.assert_close(found.float().probabilities(queries.float()).double(), shares, atol=1e-5, rtol=1e-4)


def test_support_images_that_are_the_query_vote_alone() -> None:
    features, labels, *_ = feature_task([3, 3])
    doubled, both = torch.cat([features, 2 * features[:1]]), torch.cat([labels, 1 - labels[:1]])
    probabilities = Neighbours().fit(doubled, both, 2).probabilities(features)
    expected = torch.eye(2, dtype=features.dtype)[labels]
    expected[0] = 0.5
    assert torch.equal(probabilities, expected)


def test_its_tensors_are_all_that_it_is() -> None:
    features, labels, queries, _ = feature_task([2, 3])
    one, other = (Neighbours().fit(some, labels, 2) for some in (features, features.flip(0)))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(queries), other(queries))
