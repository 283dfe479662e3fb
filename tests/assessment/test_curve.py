"""Whether more images would help."""

from collections.abc import Sequence

import pytest
import torch

from feature_tasks import feature_task
from smat.assessment import LearningCurve, accuracy, hold_out, learning_curve, temperature
from smat.heads import Head, Prototype, Ridge

PROTOTYPE = Prototype()


def curve(counts: Sequence[int], *, noise: float = 1.0, dim: int = 6, head: Head = PROTOTYPE) -> LearningCurve:
    features, labels, *_ = feature_task(counts, noise=noise, dim=dim)
    classifier = head.fit(features, labels, len(counts))
    held = hold_out(head, classifier, features[None], labels)
    return learning_curve(head, classifier, features[None], labels, accuracy(held, temperature(held)))


def test_points_double_and_leave_images_to_test() -> None:
    assert [point.shot for point in curve([9, 9, 9]).points] == [1, 2, 4, 8]
    assert [point.shot for point in curve([8, 8, 8]).points] == [1, 2, 4]
    assert [point.shot for point in curve([2, 2, 2]).points] == [1]


def test_more_images_help_where_they_do() -> None:
    found = curve([8] * 6, noise=6.0, dim=40)
    assert found.points[-1].accuracy > found.points[0].accuracy
    assert found.gain is not None
    assert found.gain > 0.02
    assert "twice as many would add about" in str(found)


def test_more_images_hardly_help_where_all_is_right() -> None:
    found = curve([16] * 3, noise=0.1)
    assert all(point.accuracy == 1 for point in found.points)
    assert "hardly help" in str(found)


@pytest.mark.parametrize("head", [Prototype(), Ridge()])
def test_one_image_per_class_says_nothing(head: Head) -> None:
    found = curve([1, 1, 1], head=head)
    assert (found.points, found.gain, found.alone) == ((), None, (0, 1, 2))
    assert "nothing is known" in str(found)


def test_a_class_with_one_image_is_kept_but_not_tested() -> None:
    found = curve([5, 1, 4])
    assert found.alone == (1,)
    assert [point.shot for point in found.points] == [1, 2, 4]


def test_it_is_a_function_of_the_seed() -> None:
    assert curve([6, 6], noise=5.0) == curve([6, 6], noise=5.0)
    features, labels, *_ = feature_task([6, 6], noise=5.0)
    classifier = Prototype().fit(features, labels, 2)
    known = accuracy(hold_out(Prototype(), classifier, features[None], labels), 1.0)
    found = [learning_curve(Prototype(), classifier, features[None], labels, known, seed) for seed in (0, 1)]
    assert found[0].points != found[1].points
    assert all(torch.isfinite(torch.tensor([point.spread for point in each.points])).all() for each in found)
