"""A classifier with more or fewer images is that which was fitted to them, but for the network that was merged."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from smat.adaptation import FewShotClassifier
from smat.errors import ConfigError, DataError
from tiny_images import class_images, make_pool


def fitted(images: list[Any], labels: list[str], **settings: Any) -> FewShotClassifier:
    given = {"device": "cpu", "precision": "32-true", "head": "ridge"} | settings
    return FewShotClassifier(given.pop("model", "pocket"), **given).fit(images, labels)


IMAGES, LABELS = class_images(classes=4, shots=3)
QUERIES = class_images(classes=4, shots=2, seed=1)[0]
FIRST = [number for number, label in enumerate(LABELS) if label < "c"]
LATER = [number for number, label in enumerate(LABELS) if label >= "c"]


def some(numbers: list[int]) -> tuple[list[Any], list[str]]:
    return [IMAGES[n] for n in numbers], [LABELS[n] for n in numbers]


@pytest.mark.parametrize("head", ["prototype", "ridge", "lda", "logistic", "knn", "average", "auto", "auto:1", "lda:2"])
def test_added_images_and_classes_are_as_if_they_had_been_there(head: str) -> None:
    whole = fitted(*some(FIRST + LATER), head=head)
    grown = fitted(*some(FIRST), head=head)
    change = grown.add(*some(LATER))
    assert change.classes == ("a", "b", "c", "d")
    assert (change.images, change.moved) == (12, 0.0)
    np.testing.assert_allclose(grown.predict_proba(QUERIES), whole.predict_proba(QUERIES), atol=1e-4)


def test_what_is_removed_is_forgotten() -> None:
    whole = fitted(*some(FIRST))
    smaller = fitted(IMAGES, LABELS)
    smaller.remove("c")
    smaller.remove(images=[n for n, code in enumerate(smaller.support_.codes) if smaller.classes_[code] == "d"])
    assert smaller.classes_.tolist() == ["a", "b"]
    np.testing.assert_allclose(smaller.predict_proba(QUERIES), whole.predict_proba(QUERIES), atol=1e-4)


def test_a_class_that_is_renamed_keeps_its_probabilities() -> None:
    classifier = fitted(IMAGES, LABELS)
    before = classifier.predict_proba(QUERIES)
    classifier.rename("a", "zebra, a long name")
    assert classifier.classes_.tolist() == ["b", "c", "d", "zebra, a long name"]
    np.testing.assert_allclose(classifier.predict_proba(QUERIES)[:, [3, 0, 1, 2]], before, atol=1e-5)


def test_partial_fit_begins_and_goes_on() -> None:
    classifier = FewShotClassifier(device="cpu", precision="32-true", head="ridge")
    classifier.partial_fit(*some(FIRST)).partial_fit(*some(LATER))
    np.testing.assert_allclose(
        classifier.predict_proba(QUERIES), fitted(IMAGES, LABELS).predict_proba(QUERIES), atol=1e-4
    )


def test_the_router_says_how_far_it_would_go_and_refit_goes_there() -> None:
    pool = make_pool()
    whole = fitted(IMAGES, LABELS, model=pool)
    grown = fitted(*some(FIRST), model=pool)
    before = grown.task_model_.merge_weights
    change = grown.add(*some(LATER))
    assert torch.equal(grown.task_model_.merge_weights, before)
    expected = (whole.task_model_.merge_weights - before).abs().sum() / 2
    assert change.moved == pytest.approx(float(expected), abs=1e-5)
    grown.refit()
    np.testing.assert_allclose(grown.predict_proba(QUERIES), whole.predict_proba(QUERIES), atol=1e-4)


def test_without_images_or_router_it_says_so(tmp_path: Path) -> None:
    pool = make_pool()
    fitted(*some(FIRST), model=pool).save(tmp_path / "saved")
    loaded = FewShotClassifier.load(tmp_path / "saved", device="cpu", backbone=pool.backbone)
    assert loaded.add(*some(LATER)).moved is None
    with pytest.raises(ConfigError, match=r"the labelled images are not there any more: a classifier that was loaded"):
        loaded.refit()
    again = FewShotClassifier(device="cpu").fit(*some(FIRST))
    joblib.dump(again, tmp_path / "classifier.joblib")
    with pytest.raises(ConfigError, match="Call fit with all images"):
        joblib.load(tmp_path / "classifier.joblib").refit()


def test_a_network_that_was_fine_tuned_stays_as_it_is() -> None:
    classifier = fitted(*some(FIRST), adapt="lora", learning_rate=1e-3, steps=1)
    network = classifier.task_model_.backbone.state_dict()
    classifier.add(*some(LATER))
    assert classifier.task_model_.tuned
    assert all(
        torch.equal(value, network[name]) for name, value in classifier.task_model_.backbone.state_dict().items()
    )
    assert set(classifier.predict(QUERIES)) <= {"a", "b", "c", "d"}


def test_networks_that_are_averaged_grow_together() -> None:
    classifier = fitted(*some(FIRST), adapt="lora", learning_rate="average", steps=1)
    classifier.add(*some(LATER))
    assert classifier.predict_proba(QUERIES).shape == (8, 4)


def test_an_image_that_counts_twice_is_as_two_for_the_head() -> None:
    weights = [2.0] * 3 + [1.0] * 9
    weighed = FewShotClassifier(device="cpu", precision="32-true", head="lda").fit(IMAGES, LABELS, weights)
    doubled = fitted(IMAGES[:3] + IMAGES, LABELS[:3] + LABELS, head="lda")
    np.testing.assert_allclose(weighed.decision_function(QUERIES), doubled.decision_function(QUERIES), atol=1e-4)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda c: c.remove("x"), r"there is no class 'x'; the classes are a, b, c, d"),
        (lambda c: c.remove(), "give the label of a class to remove, or the numbers of images"),
        (lambda c: c.remove(images=[99]), r"images are \[99\]; give numbers of labelled images, 0..11"),
        (lambda c: c.remove(images=range(3, 12)), "fewer than two classes would be left"),
        (lambda c: c.rename("a", "b"), "there is a class 'b' already"),
        (lambda c: c.rename("a", 3), "the new name 3 is of another type"),
        (lambda c: c.add([IMAGES[0]], [7]), "the new labels are of another type, such as 7"),
        (lambda c: c.add([], []), "X has no images"),
    ],
)
def test_mistakes_say_what_to_do_and_change_nothing(action: Any, message: str) -> None:
    classifier = fitted(IMAGES, LABELS)
    before = classifier.predict_proba(QUERIES)
    with pytest.raises((ConfigError, DataError), match=message):
        action(classifier)
    assert np.array_equal(classifier.predict_proba(QUERIES), before)


def test_the_same_image_in_two_classes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    classifier = fitted([*IMAGES, IMAGES[0]], [*LABELS, "b"])
    assert "the same image is in two classes" in caplog.text
    caplog.clear()
    classifier.predict([QUERIES[0], IMAGES[4]])
    assert "1 of 2 images are labelled images too" in caplog.text
