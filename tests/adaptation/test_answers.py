"""What a fitted classifier says of images and of itself."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from smat.adaptation import FewShotClassifier
from smat.errors import ConfigError, DataError
from tiny_images import class_images

IMAGES, LABELS = class_images(classes=3, shots=8, noise=20)
QUERIES, TRUTH = class_images(classes=3, shots=6, seed=1, noise=20)
STRANGERS = [np.indices((12, 10)).sum(0) % 2 * 255 * np.ones((3, 1, 1)) for _ in range(2)]
STRANGERS = [x.transpose(1, 2, 0).astype(np.uint8) for x in STRANGERS]


def fitted(**settings: Any) -> FewShotClassifier:
    given = {"device": "cpu", "precision": "32-true"} | settings
    return FewShotClassifier(**given).fit(IMAGES, LABELS)


def test_unknown_images_are_those_below_the_threshold() -> None:
    classifier = fitted(reject=0.1)
    answers = classifier.answer(QUERIES + STRANGERS)
    assert answers.known is not None
    assert classifier.assessment_ is not None
    below = answers.known < classifier.assessment_.threshold(0.1)
    assert ((answers.labels == "unknown") == below).all()
    assert (answers.labels[-2:] == "unknown").all()
    assert roc_auc_score([1] * len(QUERIES) + [0, 0], answers.known) == 1
    named = classifier.set_params(unknown_label="none of these").predict(QUERIES + STRANGERS)
    assert set(named) <= {"a", "b", "c", "none of these"}
    everything = classifier.set_params(reject=None).predict(QUERIES + STRANGERS)
    assert set(everything) <= {"a", "b", "c"}


def test_labels_are_strings_only_where_images_may_be_unknown() -> None:
    codes = [ord(label) for label in LABELS]
    numbers = FewShotClassifier(device="cpu").fit(IMAGES, codes)
    assert numbers.predict(QUERIES).dtype.kind == "i"
    strings = numbers.set_params(reject=0.1).predict(QUERIES + STRANGERS)
    assert set(strings) <= {"97", "98", "99", "unknown"}
    assert "unknown" in strings


def test_a_class_called_unknown_needs_another_word() -> None:
    labels = ["unknown" if label == "a" else label for label in LABELS]
    with pytest.raises(DataError, match=r"a class is called 'unknown', .* unknown_label \(--unknown-label\)"):
        FewShotClassifier(reject=0.1, device="cpu").fit(IMAGES, labels)
    classifier = FewShotClassifier(reject=0.1, unknown_label="?", device="cpu").fit(IMAGES, labels)
    assert classifier.predict(STRANGERS).tolist() == ["?", "?"]


def test_rates_that_so_few_images_do_not_support_are_refused() -> None:
    message = r"reject is 0\.01, but 24 labelled images say nothing of so small a share"
    with pytest.raises(ConfigError, match=message):
        fitted(reject=0.01)
    with pytest.raises(ConfigError, match=message):
        fitted().set_params(reject=0.01).predict(QUERIES)
    with pytest.raises(ConfigError, match=r"reject is 1\.5; expected"):
        fitted(reject=1.5)


def test_sets_have_the_label_more_often_the_smaller_alpha_is() -> None:
    classifier = fitted(head="ridge")
    wide, narrow = classifier.predict_set(QUERIES, 0.05), classifier.predict_set(QUERIES, 0.5)
    assert all(set(few) <= set(many) for few, many in zip(narrow, wide, strict=True))
    assert np.mean([label in found for label, found in zip(TRUTH, wide, strict=True)]) >= 0.85
    with pytest.raises(ConfigError, match=r"alpha is 0\.001, but 24 labelled images"):
        classifier.predict_set(QUERIES, 0.001)
    with pytest.raises(ConfigError, match=r"alpha is 0\.0; expected"):
        classifier.predict_set(QUERIES, 0.0)


def test_accuracy_is_expected_and_found() -> None:
    classifier = fitted()
    assert classifier.assessment_ is not None
    accuracy = classifier.assessment_.accuracy
    assert accuracy is not None
    assert accuracy.low <= classifier.score(QUERIES, TRUTH) <= accuracy.high
    assert classifier.learning_curve().gain is not None


def test_wrong_labels_and_doubles_are_found() -> None:
    labels = [*LABELS, "b"]
    classifier = FewShotClassifier(device="cpu", head="lda").fit([*IMAGES, IMAGES[0]], labels)
    doubles = [suspect for suspect in classifier.review() if suspect.kind == "duplicate"]
    assert (doubles[0].index, doubles[0].other) == (0, 24)
    classifier.remove(images=[24])
    assert len(classifier.support_) == 24


def test_features_and_logits_are_those_of_the_network() -> None:
    classifier = fitted(head="lda", batch_size=5)
    features = classifier.transform(QUERIES)
    assert features.shape == (18, classifier.task_model_.backbone.feature_dim)
    with torch.no_grad():
        logits = classifier.task_model_.classifier(torch.from_numpy(features))
    np.testing.assert_allclose(classifier.decision_function(QUERIES), logits.numpy(), atol=1e-4)
    two = FewShotClassifier(device="cpu", head="lda").fit(IMAGES[:16], LABELS[:16])
    decisions = two.decision_function(QUERIES[:12])
    assert decisions.shape == (12,)
    assert two.predict(QUERIES[:12]).tolist() == ["b" if d > 0 else "a" for d in decisions]


def test_a_fine_tuned_network_says_nothing_of_itself_unless_it_was_tuned_for_that() -> None:
    tuned = fitted(adapt="lora", learning_rate=1e-3, steps=1)
    assert tuned.assessment_ is None
    for ask in (tuned.review, tuned.learning_curve, lambda: tuned.predict_set(QUERIES)):
        with pytest.raises(ConfigError, match="it was fine-tuned on all of them"):
            ask()
    again = fitted(adapt="lora", learning_rate=1e-3, steps=1, reject=0.2)
    assert again.assessment_ is not None
    assert again.assessment_.accuracy is not None
    assert again.assessment_.accuracy.held == 24
    assert "unknown" in again.predict(STRANGERS)
