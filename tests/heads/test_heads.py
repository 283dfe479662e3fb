"""Heads: what they compute, and that every way from a pool to a classifier is the same one."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from small_pools import random_episode, vit_pool
from smat.errors import ConfigError, DataError
from smat.heads import Classifier, Head, Logistic, Neighbours, Prototype, fit_task, head_of, specialise
from smat.metatuning import ObjectiveConfig, train_task
from smat.plugins import describe, restore
from smat.rng import seeded_torch


def support(way: int = 3, shot: int = 4, dim: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels and features to classify; class centres are three apart."""
    with seeded_torch(0, "heads"):
        labels = torch.arange(way).repeat(shot)
        centres = 3 * torch.randn(way, dim, dtype=torch.float64)
        return centres[labels] + torch.randn(len(labels), dim), labels, centres + torch.randn(way, dim)


def test_prototype_is_ten_times_the_cosine_to_the_class_mean() -> None:
    features, labels, queries = support()
    means = torch.stack([features[labels == c].mean(0) for c in range(3)])
    expected = torch.stack([cosine_similarity(queries, mean[None]) for mean in means], dim=1)
    torch.testing.assert_close(Prototype().fit(features, labels, 3)(queries), 10 * expected)
    scaled = Prototype(torch.tensor([4.0, -0.5], dtype=torch.float64)).fit(features, labels, 3)
    torch.testing.assert_close(scaled(queries), 4 * (expected - 0.5))
    torch.testing.assert_close(scaled.probabilities(queries), (4 * expected).softmax(1))


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_logistic_is_scikit_learns_on_features_of_length_1(penalty: float) -> None:
    features, labels, queries = support()
    expected = LogisticRegression(C=1 / penalty, max_iter=1000).fit(normalize(features).numpy(), labels.numpy())
    found = Logistic(penalty).fit(features, labels, 3)
    assert found.probabilities(queries).tolist() == expected.predict_proba(normalize(queries).numpy()).tolist()
    torch.testing.assert_close(found(queries).softmax(1), found.probabilities(queries))


@pytest.mark.parametrize(("shot", "voters"), [(4, 5), (1, 3)])
def test_neighbours_vote_by_distance_and_are_never_more_than_there_are(shot: int, voters: int) -> None:
    features, labels, queries = support(shot=shot)
    expected = KNeighborsClassifier(voters, weights="distance").fit(normalize(features).numpy(), labels.numpy())
    found = Neighbours().fit(features, labels, 3).probabilities(queries)
    assert found.tolist() == expected.predict_proba(normalize(queries).numpy()).tolist()


@pytest.mark.parametrize("head", [Prototype(), Logistic(2.0), Neighbours(3)])
def test_settings_are_written_down_and_read_back(head: Head) -> None:
    assert restore(describe(head), Head) == head


@pytest.mark.parametrize("head", [None, Logistic()], ids=["default", "logistic"])
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


class Ridge(Head):
    """Ridge regression onto one-hot labels, in closed form."""

    def __init__(self, penalty: float = 1.0) -> None:
        self.penalty = penalty

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Classifier:
        gram = features @ features.T + self.penalty * torch.eye(len(features)).to(features)
        onehot = nn.functional.one_hot(labels, way).to(features)
        return Linear(features.T @ torch.linalg.solve(gram, onehot))


class Linear(Classifier):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.way = weight.shape[1]
        self.register_buffer("weight", weight)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.get_buffer("weight")


def test_meta_tuning_goes_through_any_differentiable_head() -> None:
    """Without inner step and distillation, the gradient is that of the query loss through the head's own fit."""
    episode, pool = random_episode(), vit_pool().train()
    config = ObjectiveConfig(inner_lr=0.0, distillation_weight=0.0, routing_penalty=0.0)
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    result = train_task(pool, multipliers, episode, config, target_sparsity=None, head=Ridge(2.0))
    assert set(result.state) == {"weight"}
    found = [pool.update.delta.grad, pool.update.gate_logits.grad, pool.router.keys.grad]

    frozen = pool.backbone(episode.support).detach()
    probe = torch.stack([frozen[episode.support_labels == c].mean(0) for c in range(3)])
    weights, _ = pool.route(probe)
    named = pool.layout.views(pool.merge(weights).vector)

    def features(images: Tensor) -> Tensor:
        return torch.func.functional_call(pool.backbone, dict(named), (images,))

    classifier = Ridge(2.0).fit(features(episode.support), episode.support_labels, 3)
    loss = nn.functional.cross_entropy(classifier(features(episode.query)), episode.query_labels)
    expected = torch.autograd.grad(loss, [pool.update.delta, pool.update.gate_logits, pool.router.keys])
    torch.testing.assert_close(result.loss, loss.detach())
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


def test_meta_tuning_refuses_a_head_that_is_not_differentiable() -> None:
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"head Logistic cannot be meta-tuned"):
        train_task(
            vit_pool().train(), multipliers, random_episode(), ObjectiveConfig(), target_sparsity=None, head=Logistic()
        )


def test_labels_must_be_of_all_classes() -> None:
    episode = random_episode()
    with pytest.raises(DataError, match=r"an image for each"):
        specialise(vit_pool(), episode.support, episode.support_labels + 1)
