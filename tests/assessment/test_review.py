"""Which labelled images may be wrong."""

import torch
from torch import Tensor

from feature_tasks import feature_task
from smat.assessment import Suspect, hold_out, review
from smat.heads import Ridge


def reviewed(features: Tensor, labels: Tensor, way: int) -> list[Suspect]:
    held = hold_out(Ridge(), Ridge().fit(features, labels, way), features[None], labels)
    return review(held, 1.0, features[None], labels)


def of(kind: str, found: list[Suspect]) -> list[Suspect]:
    return [suspect for suspect in found if suspect.kind == kind]


def test_images_of_clear_classes_are_not_suspect() -> None:
    features, labels, *_ = feature_task([8, 8, 8], dim=64)
    assert reviewed(features, labels, 3) == []


def test_a_wrong_label_is_found() -> None:
    features, labels, *_ = feature_task([8, 8, 8], dim=64)
    wrong, right = labels.clone(), int(labels[5])
    wrong[5] = (right + 1) % 3
    (suspect,) = of("label", reviewed(features, wrong, 3))
    assert (suspect.index, suspect.other) == (5, right)
    assert suspect.score > 0.7


def test_two_identical_images_in_two_classes_are_found() -> None:
    features, labels, *_ = feature_task([8, 8, 8], dim=64)
    one, two = int((labels == 0).nonzero()[0]), int((labels == 1).nonzero()[0])
    features[two] = features[one]
    first = of("duplicate", reviewed(features, labels, 3))[0]
    assert {first.index, first.other} == {one, two}
    assert first.score > 0.999


def test_duplicates_across_classes_come_before_those_within_one() -> None:
    features, labels, *_ = feature_task([8, 8, 8], dim=64)
    of_class = [(labels == label).nonzero()[:, 0].tolist() for label in range(2)]
    features[of_class[0][1]] = features[of_class[0][0]]
    features[of_class[1][1]] = features[of_class[0][2]]
    across, within = of("duplicate", reviewed(features, labels, 3))
    assert int(labels[across.index]) != int(labels[across.other or 0])
    assert {within.index, within.other} == set(of_class[0][:2])


def test_an_image_of_none_of_the_classes_is_odd() -> None:
    features, labels, *_ = feature_task([8, 8, 8], dim=64, noise=2.0)
    features[3] = 6 * torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert [suspect.index for suspect in of("odd", reviewed(features, labels, 3))] == [3]


def test_one_image_per_class_is_no_ground_for_suspicion() -> None:
    features, labels, *_ = feature_task([1, 1, 1], dim=64)
    assert reviewed(features, labels, 3) == []


def test_images_that_are_all_the_same_are_duplicates() -> None:
    found = reviewed(torch.ones(4, 5), torch.tensor([0, 0, 1, 1]), 2)
    assert len(of("duplicate", found)) == 6
