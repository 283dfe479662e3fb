"""A classifier as one module says what the classifier says."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from smat.adaptation import FewShotClassifier
from smat.errors import DataError
from smat.export import Deployed, deployed_from, pictures
from smat.heads import HeadName
from tiny_images import labelled, make_pool

QUERIES, _ = labelled(2, start=100)


def fitted(**settings: Any) -> FewShotClassifier:
    return FewShotClassifier(make_pool(), device="cpu", precision="32-true", **settings).fit(*labelled(3))


@pytest.mark.parametrize(
    "settings",
    [
        *({"head": head} for head in get_args(HeadName)),
        {"head": "auto:4"},
        {"head": "ridge:1"},
        {"strengths": (0.0, 1.0)},
        {"strengths": (0.0, 1.0), "head": "average"},
        {"strengths": (0.0, 1.0), "head": "knn:2"},
        {"adapt": "full", "learning_rate": "average", "steps": 1},
        {"margin": 1.5},
    ],
    ids=str,
)
def test_probabilities_are_those_of_the_classifier(settings: dict[str, Any]) -> None:
    classifier = fitted(**settings)
    deployed, about = deployed_from(classifier)
    with torch.no_grad():
        probabilities, known = deployed(pictures(classifier, QUERIES, deployed.side))
    answers = classifier.answer(QUERIES)
    np.testing.assert_allclose(probabilities.numpy(), answers.probabilities, atol=1e-5)
    np.testing.assert_allclose(known.numpy(), answers.known, atol=1e-4)
    assert about["classes"] == classifier.classes_.tolist()
    assert about["recipe"]["side"] == deployed.side == round(deployed.size * (settings.get("margin") or 8 / 7))


def test_without_more_known_is_the_largest_probability() -> None:
    deployed = Deployed(fitted().task_model_)
    with torch.no_grad():
        probabilities, known = deployed(torch.zeros(2, deployed.side, deployed.side, 3, dtype=torch.uint8))
    assert torch.equal(known, probabilities.amax(1))


def test_thresholds_are_those_of_the_classifier() -> None:
    classifier = FewShotClassifier(make_pool(), device="cpu", precision="32-true", reject=0.15)
    classifier.fit(*labelled(7))
    deployed, about = deployed_from(classifier)
    assessment = classifier.assessment_
    assert assessment is not None
    # of 21 images none says anything of rates below 1/22
    assert about["thresholds"] == {f"{rate:g}": assessment.threshold(rate) for rate in (0.05, 0.1, 0.15, 0.2, 0.3)}
    assert (about["reject"], about["unknown_label"]) == (0.15, "unknown")
    given = pictures(classifier, QUERIES, deployed.side)
    with torch.no_grad():
        unknown = deployed(given)[1] < about["thresholds"]["0.15"]
    assert (classifier.predict(QUERIES) == "unknown").tolist() == unknown.tolist()


def test_logits_are_divided_by_the_temperature() -> None:
    classifier = fitted(head="ridge")
    plain, warm = (Deployed(classifier.task_model_, temperature=t) for t in (1.0, 4.0))
    given = pictures(classifier, QUERIES, plain.side)
    with torch.no_grad():
        torch.testing.assert_close(warm(given)[0], (plain(given)[0].log() / 4).softmax(1))


class First(nn.Module):
    """The first number of each feature."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 0]


@pytest.mark.parametrize("settings", [{}, {"adapt": "full", "learning_rate": "average", "steps": 1}], ids=str)
def test_knownness_gets_the_features_that_the_classifier_describes(settings: dict[str, Any]) -> None:
    classifier = fitted(strengths=(0.0, 1.0), head="ridge:2", **settings)
    deployed = Deployed(classifier.task_model_, temperature=2.0, knownness=First())
    with torch.no_grad():
        known = deployed(pictures(classifier, QUERIES, deployed.side))[1]
    np.testing.assert_allclose(known.numpy(), classifier.transform(QUERIES)[:, 0], atol=1e-5)


def test_a_classifier_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(NotFittedError):
        deployed_from(FewShotClassifier(make_pool()))


def test_an_image_that_cannot_be_read_is_named() -> None:
    with pytest.raises(DataError, match="gone"):
        pictures(fitted(head="ridge"), ["gone.png"], 9)
