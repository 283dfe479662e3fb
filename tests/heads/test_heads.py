"""What all heads have in common: what does not matter to them, and that tuning goes through those that let it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from another_device import META, AnotherDevice
from feature_tasks import feature_task
from small_pools import random_episode, vit_pool
from smat.errors import ConfigError
from smat.heads import LDA, Auto, Average, Classifier, Each, Head, InViews, Logistic, Neighbours, Prototype, Ridge
from smat.metatuning import ObjectiveConfig, train_task
from smat.plugins import describe, restore

DIRECT = (Prototype(), Ridge(), LDA(), Neighbours(), Each(LDA()))
ITERATED = (Logistic(), Average())  # scikit-learn stops short of the optimum
HEADS = (*DIRECT, *ITERATED, Auto(0))


def named(head: Head) -> str:
    return type(head).__name__


def test_prototype_is_ten_times_the_cosine_to_the_class_mean() -> None:
    features, labels, queries, _ = feature_task([4, 2, 5])
    means = torch.stack([features[labels == c].mean(0) for c in range(3)])
    expected = torch.stack([cosine_similarity(queries, mean[None]) for mean in means], dim=1)
    torch.testing.assert_close(Prototype().fit(features, labels, 3)(queries), 10 * expected)
    scaled = Prototype(torch.tensor([4.0, -0.5], dtype=torch.float64)).fit(features, labels, 3)
    torch.testing.assert_close(scaled(queries), 4 * (expected - 0.5))
    torch.testing.assert_close(scaled.probabilities(queries), (4 * expected).softmax(1))


def test_a_scale_that_was_learned_on_a_gpu_goes_where_the_features_are() -> None:
    features, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    with AnotherDevice():
        classifier = Prototype(torch.ones(2, device=META)).fit(features, labels, 2)
        assert classifier(features).device == features.device


@pytest.mark.parametrize("head", HEADS, ids=named)
def test_probabilities_are_the_softmax_of_logits(head: Head) -> None:
    features, labels, queries, _ = feature_task([4, 2, 5])
    found = head.fit(features, labels, 3)
    assert found.way == 3
    torch.testing.assert_close(found(queries).softmax(1), found.probabilities(queries))
    torch.testing.assert_close(found.probabilities(queries).sum(1), torch.ones(9, dtype=torch.float64))


@pytest.mark.parametrize("head", [head for head in HEADS if not isinstance(head, Prototype)], ids=named)
def test_lengths_of_support_features_do_not_matter(head: Head) -> None:
    """But to class means, which are of the features as they are."""
    features, labels, queries, _ = feature_task([4, 2, 5])
    if isinstance(head, Average | Auto):
        lengths = torch.full((11, 1), 3.0, dtype=torch.float64)  # class means are among its heads
    else:
        lengths = torch.linspace(0.1, 30, 11, dtype=torch.float64)[:, None]
    expected = head.fit(features, labels, 3).probabilities(queries)
    torch.testing.assert_close(head.fit(lengths * features, labels, 3).probabilities(queries), expected)


@pytest.mark.parametrize("head", HEADS, ids=named)
def test_lengths_of_query_features_do_not_matter(head: Head) -> None:
    features, labels, queries, _ = feature_task([4, 2, 5])
    found, lengths = head.fit(features, labels, 3), torch.linspace(0.1, 30, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(found.probabilities(lengths * queries), found.probabilities(queries))


@pytest.mark.parametrize("head", HEADS, ids=named)
def test_classes_and_images_have_no_order(head: Head) -> None:
    features, labels, queries, _ = feature_task([4, 1, 5])
    atol = 1e-2 if head in ITERATED else 1e-8
    expected = head.fit(features, labels, 3).probabilities(queries)
    numbers = torch.tensor([2, 0, 1])
    renumbered = head.fit(features, numbers[labels], 3).probabilities(queries)
    torch.testing.assert_close(renumbered[:, numbers], expected, rtol=0, atol=atol)
    order = labels.argsort(stable=True)  # as before within each class: `Auto` holds out by it
    moved = head.fit(features[order], labels[order], 3).probabilities(queries)
    torch.testing.assert_close(moved, expected, rtol=0, atol=atol)


SHAPES = {"1-shot": [1, 1], "100-shot": [100, 100], "50-way": [1] * 50, "50-way 5-shot": [5] * 50, "mixed": [1, 100, 3]}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("head", HEADS, ids=named)
@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_clusters_are_found_whatever_the_way_and_the_shot(head: Head, shape: str) -> None:
    counts = SHAPES[shape]
    way = len(counts)
    if shape == "mixed" and isinstance(head, Logistic):
        head = Logistic(0.01)  # scikit-learn's takes large classes to be likelier
    features, labels, queries, wanted = feature_task(counts, dim=48, noise=0.2, dtype=torch.float32, queries=2)
    found = head.fit(features, labels, way)
    assert found(queries).shape == (2 * way, way)
    assert found.probabilities(queries).isfinite().all()
    assert torch.equal(found.probabilities(queries).argmax(1), wanted)


@pytest.mark.parametrize("head", [*HEADS, Logistic(2.0, unit=False), InViews(LDA(3.0), 4), Each(InViews(Ridge()))])
def test_settings_are_written_down_and_read_back(head: Head) -> None:
    assert restore(describe(head), Head) == head


def test_fitting_changes_nothing_in_the_head() -> None:
    features, labels, *_ = feature_task([4, 2, 5])
    for head in HEADS:
        before = describe(head)
        head.fit(features, labels, 3)
        assert describe(head) == before


class LeastSquares(Head):
    """A head of one's own: ridge regression onto one-hot labels, in closed form."""

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


@pytest.mark.parametrize("head", [LeastSquares(2.0), Ridge(), LDA()], ids=named)
def test_meta_tuning_goes_through_any_differentiable_head(head: Head) -> None:
    """Without inner step and distillation, the gradient is that of the query loss through the head's own fit."""
    episode, pool = random_episode(), vit_pool().train()
    config = ObjectiveConfig(inner_lr=0.0, distillation_weight=0.0, routing_penalty=0.0)
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    result = train_task(pool, multipliers, episode, config, target_sparsity=None, head=head)
    assert set(result.state) == ({"weight"} if isinstance(head, LeastSquares) else {"weight", "bias"})
    found = [pool.update.delta.grad, pool.update.gate_logits.grad, pool.router.keys.grad]

    frozen = pool.backbone(episode.support).detach()
    probe = torch.stack([frozen[episode.support_labels == c].mean(0) for c in range(3)])
    weights, _ = pool.route(probe)
    named = pool.layout.views(pool.merge(weights).vector)

    def features(images: Tensor) -> Tensor:
        return torch.func.functional_call(pool.backbone, dict(named), (images,))

    classifier = head.fit(features(episode.support), episode.support_labels, 3)
    loss = nn.functional.cross_entropy(classifier(features(episode.query)), episode.query_labels)
    expected = torch.autograd.grad(loss, [pool.update.delta, pool.update.gate_logits, pool.router.keys])
    torch.testing.assert_close(result.loss, loss.detach())
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("head", [Ridge(), LDA()], ids=named)
def test_the_gradient_through_a_head_is_that_of_finite_differences(head: Head) -> None:
    episode, pool = random_episode(), vit_pool().train()
    config = ObjectiveConfig(inner_lr=0.0, distillation_weight=0.0, routing_penalty=0.0)
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def loss(step: Tensor | float) -> float:
        with torch.no_grad():
            pool.update.delta += step
            result = torch.enable_grad()(train_task)(
                pool, multipliers, episode, config, target_sparsity=None, head=head
            )
            pool.update.delta -= step
        return float(result.loss)

    loss(0.0)
    gradient = pool.update.delta.grad.clone()
    step = 1e-5 * torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (loss(step) - loss(-step)) / 2
    assert float(gradient @ step) == pytest.approx(expected, rel=1e-4)
    assert abs(expected) > 1e-9


@pytest.mark.parametrize("head", [Ridge(), LDA(), InViews(Ridge())], ids=named)
def test_the_whole_objective_goes_through_a_head(head: Head) -> None:
    """With the inner step and both targets of the distillation."""
    pool = vit_pool().train()
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    result = train_task(pool, multipliers, random_episode(), ObjectiveConfig(), target_sparsity=0.5, head=head)
    assert result.loss.isfinite()
    for parameter in (pool.update.delta, pool.update.gate_logits, pool.router.keys):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0


def test_meta_tuning_refuses_a_head_that_is_not_differentiable() -> None:
    multipliers = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"head Logistic cannot be meta-tuned"):
        train_task(
            vit_pool().train(), multipliers, random_episode(), ObjectiveConfig(), target_sparsity=None, head=Logistic()
        )
