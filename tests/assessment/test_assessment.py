"""Temperature, expected accuracy, and thresholds by held-out images."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from feature_tasks import feature_task
from smat.assessment import Assessment, AssessmentNumbers, HeldOut, accuracy, assess, hold_out, temperature
from smat.errors import ConfigError
from smat.heads import Ridge
from smat.rng import seeded_torch
from smat.schema import from_plain


def held_of(logits: Tensor, labels: Tensor, known: Tensor | None = None, seen: float = 1.0) -> HeldOut:
    known = torch.arange(len(labels), dtype=torch.float64) if known is None else known
    seen_by_all = torch.full((len(labels),), seen, dtype=torch.float64)
    return HeldOut(logits.log_softmax(1), known, torch.arange(len(labels)), labels, seen_by_all)


def drawn(images: int, way: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels that are drawn by the probabilities that these give."""
    with seeded_torch(seed, "drawn"):
        logits = 3 * torch.randn(images, way, dtype=torch.float64)
        return logits, torch.multinomial(logits.softmax(1), 1)[:, 0]


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_many_images_give_the_temperature_away(true: float) -> None:
    logits, labels = drawn(4000)
    assert temperature(held_of(true * logits, labels)) == pytest.approx(true, rel=0.1)


def test_few_images_hardly_move_the_temperature() -> None:
    logits, labels = drawn(4000)
    many, few = (abs(math.log(temperature(held_of(1.5 * logits[:n], labels[:n])))) for n in (4000, 8))
    assert few < many


def test_without_images_the_temperature_is_one_and_no_accuracy_is_known() -> None:
    held = held_of(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    assert temperature(held) == pytest.approx(1)
    assert assess(held).accuracy is None
    with pytest.raises(ConfigError, match="no class has two images"):
        assess(held).threshold(0.1)


def test_the_accuracy_of_images_that_are_drawn_by_their_probabilities() -> None:
    logits, labels = drawn(2000)
    found = accuracy(held_of(logits, labels), 1.0)
    assert found is not None
    assert found.expected == pytest.approx(float(logits.softmax(1).max(1).values.mean()), abs=0.02)
    assert found.low < found.expected < found.high


def test_more_images_make_the_interval_narrower() -> None:
    logits, labels = drawn(400)
    widths = [
        found.high - found.low for n in (20, 100, 400) if (found := accuracy(held_of(logits[:n], labels[:n]), 1.0))
    ]
    assert widths[0] > widths[1] > widths[2]


def test_where_all_are_right_all_may_be_right() -> None:
    found = accuracy(held_of(3.0 * torch.eye(2, dtype=torch.float64).repeat(5, 1), torch.tensor([0, 1] * 5)), 1.0)
    assert found
    assert found.high == 1
    assert found.expected < 1


def test_errors_are_fewer_with_the_images_that_were_held_out() -> None:
    logits, labels = drawn(400)
    plain, grown = (accuracy(held_of(logits, labels, seen=seen), 1.0) for seen in (1.0, 0.5))
    assert plain
    assert grown
    assert 1 - grown.expected == pytest.approx((1 - plain.expected) * 0.5**0.35)


def test_classes_with_many_images_count_no_more_than_others() -> None:
    logits = 9.0 * torch.eye(2, dtype=torch.float64)[[0] * 30 + [0] * 3]  # all are taken for the first class
    found = accuracy(held_of(logits, torch.tensor([0] * 30 + [1] * 3)), 1.0)
    assert found
    assert found.expected == pytest.approx((0.5 + 1) / 2, abs=0.01)  # the mean of the share and of the confidence


def test_the_threshold_is_an_order_statistic() -> None:
    logits, labels = drawn(19)
    found = assess(held_of(logits, labels))
    assert found.threshold(0.05) == 0.0  # the smallest of 0, 1, ..., 18
    assert found.threshold(0.1) == 1.0
    assert found.threshold(0.99) == 18.0


def test_held_out_images_seem_less_known_than_images_to_come() -> None:
    logits, labels = drawn(19)
    held = replace(held_of(logits, labels, seen=0.5), slope=0.25)
    assert assess(held).threshold(0.05) == pytest.approx(0.25 * math.log(2))


def test_a_share_that_the_images_do_not_support_is_refused() -> None:
    logits, labels = drawn(25)
    found = assess(held_of(logits, labels))
    with pytest.raises(ConfigError, match=r"reject is 0.01, but 25 .* give 0.039 or more, or at least 99 images"):
        found.threshold(0.01)
    assert found.threshold(0.039) == 0.0
    with pytest.raises(ConfigError, match="alpha is"):
        found.sets(logits.softmax(1), 0.01)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_what_is_no_share_is_refused(share: float) -> None:
    logits, labels = drawn(25)
    with pytest.raises(ConfigError, match="greater than 0 and less than 1"):
        assess(held_of(logits, labels)).threshold(share)


def test_images_like_the_labelled_are_covered_as_often_as_asked() -> None:
    """Of n + 1 exchangeable images the last is covered with probability 1 - ⌊α(n + 1)⌋ / (n + 1)."""
    trials, images, covered, alarms = 600, 24, 0, 0
    logits, labels = drawn(trials * (images + 1))
    with seeded_torch(0, "known"):
        known = torch.randn(len(labels), dtype=torch.float64)
    for rows in torch.arange(len(labels)).view(trials, images + 1):
        some, last = rows[:-1], rows[-1]
        found = assess(held_of(logits[some], labels[some], known[some]))
        probabilities = (logits[last] / found.temperature).softmax(0)
        covered += bool(found.sets(probabilities[None], 0.2)[0, labels[last]])
        alarms += bool(known[last] < found.threshold(0.2))
    band = 3 * (0.8 * 0.2 / trials) ** 0.5
    assert covered / trials == pytest.approx(0.8, abs=band)
    assert alarms / trials == pytest.approx(0.2, abs=band)


def test_it_is_written_and_read_again() -> None:
    features, labels, *_ = feature_task([4, 1, 3], dtype=torch.float32)
    found = assess(hold_out(Ridge(), Ridge().fit(features, labels, 3), features[None], labels))
    numbers = from_plain(json.loads(json.dumps(found.numbers())), AssessmentNumbers, "assessment", ConfigError)
    again = Assessment.of(numbers, found.tensors())
    assert again.accuracy == found.accuracy
    assert again.numbers() == found.numbers()
    assert torch.equal(again.label_scores, found.label_scores)
    assert again.threshold(0.2) == found.threshold(0.2)
