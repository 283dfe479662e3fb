"""What classifiers say of images that they did not see."""

import pytest
import torch
from torch import Tensor

from feature_tasks import feature_task
from smat.assessment import Knownness, hold_out
from smat.assessment.held_out import SLOPE, parts_for
from smat.heads import LDA, Auto, Head, InViews, Prototype, Ridge


def test_one_image_of_each_class_is_held_out_at_a_time() -> None:
    features, labels, *_ = feature_task([3, 3])
    held = hold_out(Ridge(), Ridge().fit(features, labels, 2), features[None], labels)
    assert held.index.tolist() == list(range(6))
    first = torch.tensor([int((labels == label).nonzero()[0]) for label in range(2)])
    kept = torch.ones(6, dtype=torch.bool)
    kept[first] = False
    fitted = Ridge().fit(features[kept], labels[kept], 2)
    torch.testing.assert_close(held.log_probabilities[first], fitted(features[first]).log_softmax(1))
    torch.testing.assert_close(held.known[first], Knownness.fit(features[None, kept], labels[kept], 2)(features[first]))
    assert held.seen.tolist() == pytest.approx([2 / 3] * 6)


def test_an_image_that_is_alone_in_its_class_is_not_held_out() -> None:
    features, labels, *_ = feature_task([3, 1, 2])
    held = hold_out(Ridge(), Ridge().fit(features, labels, 3), features[None], labels)
    assert held.alone == (1,)
    assert torch.equal(held.index, (labels != 1).nonzero()[:, 0])
    assert torch.equal(held.labels, labels[labels != 1])


def test_with_one_image_per_class_nothing_is_held_out() -> None:
    features, labels, *_ = feature_task([1, 1, 1])
    held = hold_out(Ridge(), Ridge().fit(features, labels, 3), features[None], labels)
    assert held.log_probabilities.shape == (0, 3)
    assert held.alone == (0, 1, 2)


def test_classes_count_alike() -> None:
    features, labels, *_ = feature_task([6, 2])
    held = hold_out(Ridge(), Ridge().fit(features, labels, 2), features[None], labels)
    for label in range(2):
        assert float(held.weights[held.labels == label].sum()) == pytest.approx(0.5)


@pytest.mark.parametrize("head", [Auto(), Auto(1), Auto(networks=2), InViews(LDA()), InViews(Auto(2), 2)])
def test_heads_with_views(head: Head) -> None:
    features, labels, *_ = feature_task([4, 4, 4], dim=12)
    views = torch.stack([features + 0.1 * n for n in range(len(head.views.support))])
    classifier = head.fit(views.flatten(0, 1), labels.repeat(len(views)), 3)
    held = hold_out(head, classifier, views, labels)
    assert held.right.mean() > 0.9
    torch.testing.assert_close(held.log_probabilities.exp().sum(1), torch.ones(12, dtype=torch.float64))


def test_the_work_is_bounded() -> None:
    def labels(way: int, shot: int) -> Tensor:
        return torch.arange(way).repeat_interleave(shot)

    assert parts_for(labels(5, 5), 5) == 5
    assert parts_for(labels(5, 40), 5) == 10
    assert parts_for(labels(50, 10), 50) == 4
    assert parts_for(labels(100, 100), 100) == 2


def test_of_many_images_views_are_averaged() -> None:
    features, labels, *_ = feature_task([50] * 6, dim=8, noise=3.0)
    head = InViews(Prototype(), 2)
    views = torch.stack([features, features + 0.01, features - 0.01])
    held = hold_out(head, head.fit(views.flatten(0, 1), labels.repeat(3), 6), views, labels)
    plain = hold_out(Prototype(), Prototype().fit(features, labels, 6), features[None], labels)
    assert float((held.right == plain.right).float().mean()) > 0.97


def test_more_images_make_others_better_known() -> None:
    features, labels, *_ = feature_task([8, 8, 8], dim=40, noise=3.0)
    assert hold_out(Ridge(), Ridge().fit(features, labels, 3), features[None], labels).slope > 0


def test_two_images_per_class_have_the_usual_slope() -> None:
    features, labels, *_ = feature_task([2, 2, 2])
    assert hold_out(Ridge(), Ridge().fit(features, labels, 3), features[None], labels).slope == SLOPE
