"""From a pool to a classifier of images: every way is the same one."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from passes import count_passes
from small_pools import random_episode, vit_pool
from smat.errors import DataError
from smat.experts import SparseInterpolatedExperts, Strength
from smat.heads import (
    LDA,
    Auto,
    Classifier,
    Each,
    Head,
    InViews,
    Logistic,
    Mixture,
    Prototype,
    Ridge,
    fit_task,
    head_of,
    query_features,
    specialise,
    support_features,
    vectors_at,
)
from smat.heads.auto import PRIOR

BOTH = (Strength(0.0, 0.0), Strength())
HEADS = [None, Logistic(), LDA(), InViews(Ridge(), 4), Auto()]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_a_task_model_and_a_fitted_task_say_the_same(head: Head | None) -> None:
    episode, pool = random_episode(), vit_pool(learned_head=True).eval()
    with torch.no_grad():
        pool.head.copy_(torch.tensor([7.0, 0.25]))  # pyright: ignore[reportOptionalMemberAccess]
        model = specialise(pool, episode.support, episode.support_labels, head=head)
        classifier, queries = fit_task(pool, episode.support, episode.support_labels, episode.query, head=head)
        torch.testing.assert_close(model(episode.query), classifier(queries))
    assert model.way == classifier.way == 3
    if head is None:
        assert classifier.scale.tolist() == [7.0, 0.25]


def test_the_pools_learned_scale_is_a_copy_and_only_for_prototypes() -> None:
    pool = vit_pool(learned_head=True)
    head = head_of(pool)
    assert isinstance(head, Prototype)
    assert head.scale is not None
    assert not head.scale.requires_grad
    assert head.scale.data_ptr() != pool.head.data_ptr()
    given = Logistic()
    assert head_of(pool, given) is given
    assert head_of(vit_pool()) == Prototype()


def test_a_pool_keeps_the_prior_that_was_learned_with_it(tmp_path: Path) -> None:
    own = replace(PRIOR, frozen=3.0).numbers()
    pool = vit_pool(head_prior=own)
    assert pool.fingerprint() != vit_pool().fingerprint()
    pool.save_pretrained(tmp_path)
    loaded = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=vit_pool().backbone)
    assert loaded.config == pool.config
    assert head_of(loaded, Auto()) == Auto(prior=own)
    assert head_of(loaded, Ridge()) == Ridge()


def test_refitting_follows_the_backbone() -> None:
    episode, pool = random_episode(), vit_pool().eval()
    model = specialise(pool, episode.support, episode.support_labels)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.mul_(1.1)
        features = model.backbone(episode.support)
        model.refit(features, episode.support_labels)
        expected = Prototype().fit(features, episode.support_labels, 3)(model.backbone(episode.query))
        torch.testing.assert_close(model(episode.query), expected)


@pytest.mark.parametrize("head", [Prototype(), Each(LDA()), InViews(Each(Ridge()), 2), Auto()])
def test_a_head_gets_the_features_of_networks_at_all_strengths_side_by_side(head: Head) -> None:
    episode, pool = random_episode(), vit_pool().eval()
    strengths = (Strength(0.0, 0.0), Strength(0.5, 1.0), Strength())
    with torch.no_grad():
        model = specialise(pool, episode.support, episode.support_labels, head=head, strengths=strengths)
        merged, weights = pool.merged_for(episode.support, episode.support_labels)
        networks = [pool.network(vector) for vector in vectors_at(pool, merged, strengths)]
        for own, network in zip(model.networks, networks, strict=True):
            torch.testing.assert_close(own(episode.query), network(episode.query))
        features = support_features(networks, episode.support, head.views.support)
        labels = episode.support_labels.repeat(len(head.views.support))
        classifier = head.for_networks(3).fit(features, labels, 3)
        expected = classifier(query_features(networks, episode.query, head.views.query))
        torch.testing.assert_close(model(episode.query), expected)
    assert torch.equal(model.merge_weights, weights)
    assert model.passes == 3 * len(head.views.query)
    torch.testing.assert_close(model.networks[0](episode.query), pool.backbone(episode.query))
    assert model.networks[-1] is model.backbone


def test_several_networks_give_a_plain_head_one_long_feature() -> None:
    episode, pool = random_episode(), vit_pool().eval()
    model = specialise(pool, episode.support, episode.support_labels, strengths=BOTH)
    with torch.no_grad():
        features = torch.cat([normalize(network(episode.support)) for network in model.networks], 1)
        expected = Prototype().fit(features, episode.support_labels, 3)
    torch.testing.assert_close(model.classifier.prototypes, expected.prototypes)


def test_a_pool_without_experts_has_one_network() -> None:
    episode, pool = random_episode(), vit_pool(experts=0).eval()
    model = specialise(pool, episode.support, episode.support_labels, head=Auto(0), strengths=BOTH)
    assert (model.passes, len(model.others), len(model.merge_weights)) == (1, 0, 0)


def test_the_frozen_network_sees_the_support_once(monkeypatch: pytest.MonkeyPatch) -> None:
    episode, pool = random_episode(), vit_pool().eval()
    seen = count_passes(monkeypatch)
    specialise(pool, episode.support, episode.support_labels, head=Each(), strengths=BOTH)
    assert seen == [6, 6]
    seen.clear()
    specialise(pool, episode.support, episode.support_labels, head=InViews(Each()), strengths=BOTH)
    assert seen == [6] * (1 + 2 * 3)  # the router wants the whole images; the head three views, by both


@dataclass(frozen=True)
class First(Head):
    """Nearest class mean by the first of several networks."""

    networks: int = 1

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Classifier:
        parts = features.chunk(self.networks, 1)
        weights = torch.eye(self.networks)[:1].T.to(features)
        return Mixture([[Prototype().fit(part, labels, way)] for part in parts], weights)

    def for_networks(self, networks: int) -> "First":
        return First(networks)


def test_networks_without_weight_are_left_out() -> None:
    episode, pool = random_episode(), vit_pool().eval()
    model = specialise(pool, episode.support, episode.support_labels, head=First(), strengths=BOTH)
    assert model.passes == 1
    features = pool.backbone(episode.support)
    expected = Prototype().fit(features, episode.support_labels, 3)(pool.backbone(episode.query)).log_softmax(1)
    torch.testing.assert_close(model(episode.query), expected)
    model.refit(model.backbone(episode.support), episode.support_labels)
    torch.testing.assert_close(model(episode.query), expected)


def test_after_tuning_the_support_set_weighs_nothing() -> None:
    episode, pool = random_episode(shot=4), vit_pool().eval()
    model = specialise(pool, episode.support, episode.support_labels, head=Auto(0), strengths=BOTH)
    assert isinstance(model.classifier, Mixture)
    before = model.classifier.weights
    features = support_features(model.networks, episode.support, model.head.views.support)
    model.refit(features, episode.support_labels)
    expected = Auto(0, networks=2, weigh=False).fit(features, episode.support_labels, 3)
    torch.testing.assert_close(model.classifier.weights, expected.weights)
    assert not torch.allclose(before, expected.weights)


def test_labels_must_be_of_all_classes() -> None:
    episode = random_episode()
    with pytest.raises(DataError, match=r"an image for each"):
        specialise(vit_pool(), episode.support, episode.support_labels + 1)
