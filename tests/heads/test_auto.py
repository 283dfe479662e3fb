"""The head that fits itself to the task: what is held out, and how heads and networks are weighed by it.

Nothing here depends on which heads are candidates, or on the numbers of the prior.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from feature_tasks import feature_task
from smat.errors import ConfigError, DataError
from smat.heads import Auto, Classifier, Head, InViews, Prototype, Ridge, Views, auto
from smat.heads.auto import Prior, factors, folds, held_out_logits
from smat.plugins import describe, restore
from smat.rng import seeded_torch


@given(st.lists(st.integers(1, 13), min_size=2, max_size=6), st.booleans(), st.randoms())
def test_every_part_has_each_class_as_evenly_as_can_be(counts: list[int], many: bool, random) -> None:
    counts = [*counts, auto.MANY] if many else counts
    parts = auto.FEWER_FOLDS if many else auto.FOLDS
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.shuffle(labels)
    given_labels = torch.tensor(labels)
    found = folds(given_labels, len(counts))
    for label, count in enumerate(counts):
        own = found[given_labels == label]
        if count == 1:
            assert own.tolist() == [-1]  # nothing would be left of the class
            continue
        held = torch.bincount(own, minlength=parts)
        assert len(held) == parts
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


PRIOR = Prior(
    scales=(math.log(0.5), math.log(2.0)),
    spread=0.6,
    heads=(0.3, -0.2),
    frozen=-0.7,
    frozen_by_shot=0.4,
    evidence=1.5,
    evidence_by_images=0.25,
)


def some_logits(held: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of two heads on each of two networks, for held-out images of three classes; their labels."""
    with seeded_torch(0, "held out"):
        logits = 2 * torch.randn(2, 2, held, 3, dtype=torch.float64)
        return logits.log_softmax(-1), torch.randint(3, (held,))


def by_hand(prior: Prior, held: Tensor, labels: Tensor, shot: float) -> Tensor:
    """The formula, a number at a time."""
    weights, scales = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    for network in range(2):
        for head in range(2):
            log_weight = prior.heads[head]
            if network == 0:
                log_weight += prior.frozen + prior.frozen_by_shot * math.log(shot)
            log_scale = prior.scales[head]
            if len(labels):
                found = []
                for n in range(13):
                    step = -3 + n / 2
                    log_s = prior.scales[head] + prior.spread * step
                    probabilities = (math.exp(log_s) * held[network, head]).softmax(1)
                    logs = [math.log(row[label]) for row, label in zip(probabilities.tolist(), labels, strict=True)]
                    found.append((math.exp(sum(logs) - step**2 / 2), log_s, sum(logs) / len(logs)))
                total = sum(belief for belief, *_ in found)
                log_scale = sum(belief * log_s for belief, log_s, _ in found) / total
                likelihood = sum(belief * mean for belief, _, mean in found) / total
                log_weight += (prior.evidence + prior.evidence_by_images * math.log(len(labels))) * likelihood
            weights[network, head], scales[network, head] = math.exp(log_weight), math.exp(log_scale)
    return weights / weights.sum() * scales


@pytest.mark.parametrize("held", [0, 1, 12])
@pytest.mark.parametrize("shot", [1.0, 4.5])
def test_factors_are_those_of_the_formula(held: int, shot: float) -> None:
    logits, labels = some_logits(held)
    torch.testing.assert_close(factors(PRIOR, logits, labels, shot), by_hand(PRIOR, logits, labels, shot))


@pytest.mark.parametrize("held", [0, 12])
def test_weights_sum_to_one_over_heads_and_networks(held: int) -> None:
    logits, labels = some_logits(held)
    found = factors(replace(PRIOR, spread=0.0), logits, labels, 3.0)
    weights = found / torch.tensor(PRIOR.scales, dtype=torch.float64).exp()
    assert weights.min() > 0
    assert float(weights.sum()) == pytest.approx(1)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_many_held_out_images_say_how_sure_a_head_should_be(factor: float) -> None:
    """Labels are drawn from what the head says, made surer or less sure by a factor."""
    with seeded_torch(0, "calibration"):
        logits = torch.randn(1, 1, 3000, 4, dtype=torch.float64)
        labels = torch.multinomial((factor * logits[0, 0]).softmax(1), 1)[:, 0]
    alone = replace(PRIOR, scales=(0.0,), heads=(0.0,), spread=0.7)
    assert float(factors(alone, logits.log_softmax(-1), labels, 5.0)) == pytest.approx(factor, rel=0.15)


@pytest.mark.parametrize("counts", [[4, 4, 4], [1, 2, 9], [1, 1, 1]])
@pytest.mark.parametrize("passes", [0, 2])
def test_logits_are_weighted_by_what_is_held_out(
    counts: list[int], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "PRIOR", PRIOR)
    monkeypatch.setattr(auto, "CANDIDATES", (Prototype(), Ridge()))
    (one, labels, queries, _), (other, *_) = feature_task(counts), feature_task(counts, seed=1, noise=4.0)
    head = Auto(passes, networks=2)
    views = [torch.cat([other, one], 1) + 0.1 * n for n in range(len(head.views.support))]
    every = labels.repeat(len(views))
    found = head.fit(torch.cat(views), every, 3)
    query = [head.views.support.index(view) for view in head.views.query]
    held = held_out_logits(auto.CANDIDATES, torch.stack(views), labels, 3, 2, query)
    expected = factors(PRIOR, *held, len(labels) / 3)
    expected[expected.sum(1) < auto.NEGLIGIBLE * expected.sum()] = 0
    torch.testing.assert_close(found.weights, expected)
    fitted = [
        [candidate.fit(part, every, 3) for candidate in auto.CANDIDATES] for part in torch.cat(views).chunk(2, dim=1)
    ]
    terms = [expected[k, h] * fitted[k][h](queries).log_softmax(1) for k in (0, 1) for h in (0, 1)]
    torch.testing.assert_close(found(torch.cat([queries, queries], 1)), torch.stack(terms).sum(0))


def test_the_prior_decides_where_nothing_is_held_out() -> None:
    head = Auto(0, networks=2)
    lone, many = [feature_task([1] * 4, dim=12, seed=seed) for seed in (0, 1)], feature_task([5] * 4, dim=12)
    first, second = (head.fit(features, labels, 4).weights for features, labels, *_ in lone)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(head.after_tuning().fit(lone[0][0], lone[0][1], 4).weights, first)
    other = feature_task([5] * 4, dim=12, seed=1)
    tuned = [head.after_tuning().fit(features, labels, 4).weights for features, labels, *_ in (many, other)]
    torch.testing.assert_close(*tuned)
    assert not torch.allclose(head.fit(many[0], many[1], 4).weights, tuned[0], atol=1e-4)


def test_a_network_whose_features_are_noise_gets_less_weight() -> None:
    clusters, labels, *_ = feature_task([5, 5, 5], noise=0.2)
    noise = torch.randn(clusters.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    head = Auto(0, networks=2)

    def share(head: Auto, *features: Tensor) -> float:
        weights = head.fit(torch.cat(features, 1), labels, 3).weights
        return float(weights[0].sum() / weights.sum())

    prior = share(head.after_tuning(), noise, noise)
    assert share(head, noise, clusters) < prior < share(head, clusters, noise)


def test_a_network_with_next_to_no_weight_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, *_ = feature_task([5, 5, 5], dim=12)
    head = Auto(0, networks=2)
    assert head.fit(features, labels, 3).used == [0, 1]
    for frozen, used in ((-20.0, [1]), (20.0, [0])):
        monkeypatch.setattr(auto, "PRIOR", replace(auto.PRIOR, frozen=frozen))
        found = head.after_tuning().fit(features, labels, 3)
        assert found.used == used
        assert found.without_unused().networks == 1


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


def test_a_lone_image_is_not_held_out_in_another_view() -> None:
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
    assert auto.PRIOR.spread >= 0


def test_a_prior_is_written_down_with_three_digits(tmp_path: Path) -> None:
    replace(auto.PRIOR, frozen=-0.70004).write(tmp_path / "prior.json")
    assert Prior.read(tmp_path / "prior.json") == replace(auto.PRIOR, frozen=-0.7)
    assert Prior.read(auto.PRIOR_FILE) == auto.PRIOR


OWN = replace(auto.PRIOR, frozen=3.0, evidence=0.0).numbers()


def test_a_prior_of_its_own_counts_in_place_of_the_packages() -> None:
    assert Auto().with_prior(OWN).prior == OWN
    given = auto.PRIOR.numbers()
    assert Auto(prior=given).with_prior(OWN).prior == given
    features, labels, *_ = feature_task([4, 4, 4])
    networks = torch.cat([features, features.flip(1)], dim=1)
    usual, own = (Auto(0, networks=2, prior=prior).fit(networks, labels, 3)(networks) for prior in (None, OWN))
    assert not torch.allclose(usual, own)
    assert restore(describe(Auto(prior=OWN)), Head) == Auto(prior=OWN)  # pyright: ignore[reportAbstractUsage]


@pytest.mark.parametrize(
    "change", [{"frozen": None}, {"frozen": math.nan}, {"frozen": "x"}, {"heads": [0.0]}, {"more": 1.0}]
)
def test_a_damaged_prior_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="head_prior"):
        Prior.of(OWN | change)


@pytest.mark.parametrize("networks", [1, 2])
def test_a_head_that_has_settled_makes_the_same_classifier_of_the_same_images(networks: int) -> None:
    features, labels, query, _ = feature_task([4, 4, 4], dim=12)
    head = Auto(networks=networks)
    rows, again = features.repeat(len(head.views.support), 1), labels.repeat(len(head.views.support))
    classifier = head.fit(rows, again, 3)
    torch.testing.assert_close(head.settled(classifier).fit(rows, again, 3)(query), classifier(query))


def test_a_head_in_views_settles_with_its_head() -> None:
    features, labels, query, _ = feature_task([4, 4, 4], dim=12)
    head = InViews(Auto(2), 2)
    rows, again = features.repeat(len(head.views.support), 1), labels.repeat(len(head.views.support))
    classifier = head.fit(rows, again, 3)
    torch.testing.assert_close(
        head.settled(classifier).fit(rows[:12], labels, 3)(query).argmax(1), classifier(query).argmax(1)
    )
    assert InViews(Ridge()).settled(classifier) == InViews(Ridge())
