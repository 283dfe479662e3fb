"""Nearest neighbours against scikit-learn's."""

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import normalize

from feature_tasks import feature_task
from smat.heads import Neighbours


@pytest.mark.parametrize(("shot", "voters"), [(4, 5), (1, 3)])
def test_neighbours_vote_by_distance_and_are_never_more_than_there_are(shot: int, voters: int) -> None:
    features, labels, queries, _ = feature_task([shot] * 3)
    expected = KNeighborsClassifier(voters, weights="distance").fit(normalize(features).numpy(), labels.numpy())
    found = Neighbours().fit(features, labels, 3)
    probabilities = found.probabilities(queries)
    assert probabilities.tolist() == expected.predict_proba(normalize(queries).numpy()).tolist()
    torch.testing.assert_close(found(queries).exp(), probabilities)
