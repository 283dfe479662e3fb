"""The head that fits itself to the task: what is held out, and how heads and networks are weighed by it.

Nothing here depends on which heads are candidates, or on the numbers of the prior.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from feature_tasks import feature_task
from smat.errors import ConfigError, DataError
from smat.heads import Auto, Classifier, Head, Mixture, Prototype, Ridge, Views, auto
from smat.heads.auto import Prior, folds, held_out_logits, likelihoods
from smat.plugins import describe, restore


@given(st.lists(st.integers(1, 13), min_size=2, max_size=6), st.integers(2, 6), st.randoms())
def test_every_part_has_each_class_as_evenly_as_can_be(counts: list[int], parts: int, random) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.shuffle(labels)
    given_labels = torch.tensor(labels)
    found = folds(given_labels, len(counts), parts)
    for label, count in enumerate(counts):
        own = found[given_labels == label]
        if count == 1:
            assert own.tolist() == [-1]  # nothing would be left of the class
            continue
        held = torch.bincount(own, minlength=parts)
        assert int(held.sum()) == count
        assert int(held.max() - held.min()) <= 1
        assert int(held.max()) < count


@dataclass(frozen=True)
class Remembering(Head):
    """Nearest class mean that keeps what it was fitted to."""

    fitted: list[tuple[Tensor, Tensor]]

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Classifier:
        self.fitted.append((features, labels))
        return Prototype().fit(features, labels, way)


def test_held_out_images_are_in_no_view_of_what_a_head_is_fitted_to() -> None:
    features, labels, *_ = feature_task([3, 1, 4])
    views = torch.stack([features, 2 * features + 1, -features])
    head = Remembering([])
    logits, held = held_out_logits([head], views, labels, 3, 1, [1, 2])
    assert logits.shape == (1, 1, 7, 3)  # all but the one that is alone
    part, row = folds(labels, 3), 0
    for fold, (fitted, fitted_labels) in enumerate(head.fitted):
        kept = part != fold
        assert torch.equal(fitted, views[:, kept].flatten(0, 1))
        assert torch.equal(fitted_labels, labels[kept].repeat(3))
        images = (normalize(views[1][~kept]) + normalize(views[2][~kept])) / 2
        expected = Prototype().fit(fitted, fitted_labels, 3)(images).log_softmax(1)
        torch.testing.assert_close(logits[0, 0, row : row + len(images)], expected)
        assert torch.equal(held[row : row + len(images)], labels[~kept])
        row += len(images)
    assert row == 7


def test_each_network_is_asked_by_itself() -> None:
    (one, labels, *_), (other, *_) = feature_task([3, 3]), feature_task([3, 3], seed=1)
    heads = [Prototype(), Ridge()]
    both, held = held_out_logits(heads, torch.cat([one, other], 1)[None], labels, 2, 2, [0])
    assert both.shape == (2, 2, 6, 2)
    for found, features in zip(both, (one, other), strict=True):
        alone, same = held_out_logits(heads, features[None], labels, 2, 1, [0])
        torch.testing.assert_close(found, alone[0])
        assert torch.equal(held, same)


def test_likelihoods_are_means_of_log_probabilities() -> None:
    logits = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    labels, scales = torch.tensor([0, 3, 1, 1, 2]), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    found = likelihoods(logits, labels, scales)
    for network in range(2):
        for head in range(3):
            probabilities = (scales[head] * logits[network, head]).softmax(1)
            expected = sum(math.log(probabilities[n, label]) for n, label in enumerate(labels.tolist())) / 5
            assert float(found[network, head]) == pytest.approx(expected)


SMALL_PRIOR = Prior((0.5, 2.0), (0.3, -0.2), -0.7, 0.4, 1.5, 0.25)


def weights_of(classifier: Mixture) -> Tensor:
    """w, without the scales of the logits."""
    return classifier.weights.double() / torch.tensor(auto.PRIOR.scales, dtype=torch.float64)


def test_weights_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "PRIOR", SMALL_PRIOR)
    monkeypatch.setattr(auto, "CANDIDATES", (Prototype(), Ridge()))
    (one, labels, queries, _), (other, *_) = feature_task([4, 4, 4]), feature_task([4, 4, 4], seed=1, noise=4.0)
    features = torch.cat([other, one], 1)
    found = Auto(0, networks=2).fit(features, labels, 3)
    log_weights = torch.tensor([[0.3, -0.2]] * 2, dtype=torch.float64)
    log_weights[0] += -0.7 + 0.4 * math.log(4)
    logits, held = held_out_logits(auto.CANDIDATES, features[None], labels, 3, 2, [0])
    likelihood = likelihoods(logits, held, torch.tensor(SMALL_PRIOR.scales, dtype=torch.float64))
    log_weights += (1.5 + 0.25 * math.log(12)) * likelihood
    expected = log_weights.flatten().softmax(0).view(2, 2)
    torch.testing.assert_close(weights_of(found), expected)
    fitted = [[head.fit(part, labels, 3) for head in auto.CANDIDATES] for part in (other, one)]
    both = torch.cat([queries, queries], 1)
    terms = [
        expected[k, h] * SMALL_PRIOR.scales[h] * fitted[k][h](queries).log_softmax(1) for k in (0, 1) for h in (0, 1)
    ]
    torch.testing.assert_close(found(both), torch.stack(terms).sum(0))


@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("counts", [[1, 1, 1], [5, 5, 5], [1, 2, 9]])
def test_weights_sum_to_one(networks: int, counts: Sequence[int]) -> None:
    features, labels, *_ = feature_task(counts, dim=6 * networks)
    weights = weights_of(Auto(0, networks).fit(features, labels, 3))
    assert weights.shape == (networks, len(auto.CANDIDATES))
    assert weights.min() >= 0
    assert float(weights.sum()) == pytest.approx(1)


def test_the_prior_decides_where_nothing_is_held_out() -> None:
    head = Auto(0, networks=2)
    lone, many = [feature_task([1] * 4, dim=12, seed=seed) for seed in (0, 1)], feature_task([5] * 4, dim=12)
    first, second = (weights_of(head.fit(features, labels, 4)) for features, labels, *_ in lone)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(weights_of(head.after_tuning().fit(lone[0][0], lone[0][1], 4)), first)
    other = feature_task([5] * 4, dim=12, seed=1)
    tuned = [weights_of(head.after_tuning().fit(features, labels, 4)) for features, labels, *_ in (many, other)]
    torch.testing.assert_close(*tuned)
    assert not torch.allclose(weights_of(head.fit(many[0], many[1], 4)), tuned[0], atol=1e-4)


def test_a_network_whose_features_are_noise_gets_less_weight() -> None:
    clusters, labels, *_ = feature_task([5, 5, 5], noise=0.2)
    noise = torch.randn(clusters.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    head = Auto(0, networks=2)

    def share(*features: Tensor) -> float:
        return float(weights_of(head.fit(torch.cat(features, 1), labels, 3))[0].sum())

    prior = float(weights_of(head.after_tuning().fit(torch.cat([noise, noise], 1), labels, 3))[0].sum())
    assert share(noise, clusters) < prior < share(clusters, noise)


def test_weights_do_not_depend_on_the_order_of_classes_or_of_other_classes_images() -> None:
    """The order within a class does matter: it says which images are held out together."""
    features, labels, queries, _ = feature_task([4, 2, 7])
    found = Auto(0).fit(features, labels, 3)
    numbers = torch.tensor([2, 0, 1])
    renumbered = Auto(0).fit(features, numbers[labels], 3)
    torch.testing.assert_close(renumbered.weights, found.weights)
    torch.testing.assert_close(renumbered(queries)[:, numbers], found(queries))
    order = labels.argsort(stable=True)
    torch.testing.assert_close(Auto(0).fit(features[order], labels[order], 3).weights, found.weights)


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_features_come_in_its_views(passes: int) -> None:
    head, views = Auto(passes), len(Views.of(passes).support)
    assert head.views == Views.of(passes)
    features, labels, queries, wanted = feature_task([3, 3, 3], noise=0.1)
    found = head.fit(features.repeat(views, 1), labels.repeat(views), 3)
    assert torch.equal(found(queries).argmax(1), wanted)
    with pytest.raises(
        DataError, match=rf"Auto with passes {passes} wants the features of {views} views .* passes to 0"
    ):
        head.fit(features[:4], torch.tensor([0, 1, 2, 2]), 3)


def test_views_are_no_further_images_to_hold_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evidence grows with images, not with views of them; a lone image is not held out in another view."""
    monkeypatch.setattr(auto, "PRIOR", SMALL_PRIOR)
    monkeypatch.setattr(auto, "CANDIDATES", (Prototype(), Ridge()))
    lone, labels, *_ = feature_task([1, 1, 1])
    views = len(Views.of(2).support)
    once, thrice = Auto(0).fit(lone, labels, 3), Auto(2).fit(lone.repeat(views, 1), labels.repeat(views), 3)
    torch.testing.assert_close(once.weights, thrice.weights)


def test_settings() -> None:
    head = Auto(4).for_networks(3)
    assert (head.passes, head.networks, head.weigh) == (4, 3, True)
    assert not head.after_tuning().weigh
    assert not head.differentiable
    assert restore(describe(head), Head) == head
    with pytest.raises(ConfigError, match="passes is 3; give 0, 1, 2 or 4"):
        Auto(3)


def test_the_prior_has_numbers_for_each_candidate() -> None:
    assert len(auto.PRIOR.scales) == len(auto.PRIOR.heads) == len(auto.CANDIDATES)
    assert min(auto.PRIOR.scales) > 0
