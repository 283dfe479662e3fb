"""Fine-tuning on a support set: what changes, what does not, and that batches give the same gradient."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from formulas import cosine_logits
from small_pools import random_episode, vit_pool
from smat.adaptation import FineTuneConfig, Kind, fine_tune, make_tuner
from smat.errors import ConfigError, DataError, NonFiniteError
from smat.experts import class_prototypes
from smat.heads import Prototype, TaskModel, specialise
from smat.rng import seeded_torch
from tasks import adapt, task

KINDS: list[Kind] = ["full", "lora"]


def parameters(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def support_loss(model: TaskModel, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(cross_entropy(model(images), labels))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_the_prototypes_are_of_the_plain_images(kind: Kind) -> None:
    model, images, labels = task()
    adapted = adapt(model, images, labels, kind=kind, lr=1e-2, config=FineTuneConfig(steps=20))
    assert support_loss(adapted, images, labels) < 0.8 * support_loss(model, images, labels)
    with torch.no_grad():
        expected = class_prototypes(adapted.backbone(images), labels, 3)
    torch.testing.assert_close(adapted.classifier.prototypes, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pool_and_the_model_given_stay_as_they_are(kind: Kind) -> None:
    episode = random_episode(dtype=torch.float32)
    pool = vit_pool(torch.float32).eval()
    digest = {name: value.clone() for name, value in pool.state_dict().items()}
    model = specialise(pool, episode.support, episode.support_labels)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = adapt(model, episode.support, episode.support_labels, kind=kind, lr=1e-2, config=FineTuneConfig(steps=2))
    assert not torch.equal(parameters(adapted), parameters(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for m in (pool, model, adapted) for p in m.parameters())
    assert all(torch.equal(value, digest[name]) for name, value in pool.state_dict().items())
    assert all(torch.equal(v, digest["pretrained"][pool.layout.slices[n]].view_as(v)) for n, v in backbone_of(pool))


def backbone_of(pool: nn.Module) -> list[tuple[str, Tensor]]:
    return list(pool.backbone.named_parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "lr", "steps"), [("none", 1e-2, 5), ("full", 0.0, 5), ("lora", 1e-2, 0)])
def test_without_a_rate_or_steps_the_result_is_an_equal_copy(kind: Kind, lr: float, steps: int) -> None:
    model, images, labels = task()
    adapted = adapt(model, images, labels, kind=kind, lr=lr, config=FineTuneConfig(steps=steps))
    assert adapted is not model
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in adapted.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_batches_give_the_same_network(kind: Kind, batch_size: int) -> None:
    model, images, labels = task()
    whole, parts = (
        adapt(model, images, labels, kind=kind, lr=1e-3, config=FineTuneConfig(4, batch_size=size, dropout=0.0))
        for size in (None, batch_size)
    )
    torch.testing.assert_close(parameters(parts), parameters(whole), rtol=0, atol=1e-9)
    torch.testing.assert_close(parts.classifier.prototypes, whole.classifier.prototypes, rtol=0, atol=1e-9)


def test_both_passes_of_a_batch_drop_the_same_units() -> None:
    _, images, labels = task()

    def network() -> nn.Module:
        with seeded_torch(0, "network"):
            return nn.Sequential(nn.Flatten(), nn.Linear(192, 30), nn.Dropout(0.5), nn.Linear(30, 8)).double().train()

    expected, found = network(), network()
    optimizer = torch.optim.AdamW(expected.parameters(), lr=1e-3)
    losses = []
    for step in range(3):
        features = []
        for place, batch in enumerate(images.split(4)):
            with seeded_torch(7, "dropout", step, place):
                features.append(expected(batch))
        together = torch.cat(features)
        loss = cross_entropy(cosine_logits(together, class_prototypes(together, labels, 3)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    ours = list(fine_tune(found, images, labels, lr=1e-3, steps=3, batch_size=4, seed=7))
    torch.testing.assert_close(torch.stack(ours), torch.stack(losses))
    torch.testing.assert_close(parameters(found), parameters(expected), rtol=0, atol=1e-9)


def test_varied_images_are_classified_by_the_prototypes_of_the_plain_ones() -> None:
    model, images, labels = task()
    views = images.flip(0) + 0.1
    with torch.no_grad():
        prototypes = class_prototypes(model.backbone(images), labels, 3)
        expected = cross_entropy(2 * cosine_logits(model.backbone(views), prototypes), labels)
    losses = fine_tune(
        model.backbone,
        images,
        labels,
        lr=1e-3,
        steps=1,
        views=lambda step: views,
        head=Prototype(torch.tensor([20.0, 0.0], dtype=torch.float64)),
    )
    torch.testing.assert_close(next(losses), expected)


def test_a_seed_gives_the_same_network_and_leaves_the_global_randomness() -> None:
    model, images, labels = task()

    def tuned(seed: int) -> Tensor:
        return parameters(adapt(model, images, labels, kind="full", lr=1e-3, config=FineTuneConfig(3), seed=seed))

    state = torch.random.get_rng_state()
    assert torch.equal(tuned(seed=3), tuned(seed=3))
    assert not torch.equal(tuned(seed=3), tuned(seed=4))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_keeps_float32_weights_and_comes_close(kind: Kind) -> None:
    model, images, labels = task(dtype=torch.float32)
    config = FineTuneConfig(10, dropout=0.0)
    exact, mixed = (
        adapt(model, images, labels, kind=kind, lr=1e-3, config=config, precision=precision)
        for precision in ("32-true", "bf16-mixed")
    )
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(mixed(images), exact(images), atol=0.5, rtol=0)
        assert not torch.equal(mixed(images), exact(images))


def test_it_works_within_inference_mode() -> None:
    episode = random_episode(dtype=torch.float32)
    pool = vit_pool(torch.float32).eval()

    def tuned() -> Tensor:
        images, labels = episode.support + 0, episode.support_labels + 0
        model = specialise(pool, images, labels)
        return parameters(adapt(model, images, labels, kind="lora", lr=1e-2, config=FineTuneConfig(2)))

    expected = tuned()
    with torch.inference_mode():
        assert torch.equal(tuned(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_in_memory(kind: Kind) -> None:
    model, images, labels = task()
    adapt(model, images, labels, kind=kind, lr=1e-2, config=FineTuneConfig(1))  # whatever libraries keep once
    gc.collect()
    gc.disable()  # cycles would keep a task's memory until some later collection
    try:
        before = count_tensors()
        adapted = adapt(model, images, labels, kind=kind, lr=1e-2, config=FineTuneConfig(2, batch_size=4))
        gone = [weakref.ref(p) for p in adapted.parameters()]
        del adapted
        assert all(ref() is None for ref in gone)
        assert count_tensors() == before
    finally:
        gc.enable()


def count_tensors() -> int:
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def test_steps_are_reported() -> None:
    model, images, labels = task()
    seen: list[tuple[int, int]] = []
    config = FineTuneConfig(3)
    adapt(model, images, labels, kind="full", lr=1e-3, config=config, on_step=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_mistakes_say_what_to_do() -> None:
    model, images, labels = task(dtype=torch.float32)

    def fails(error: type[Exception], match: str, labels: Tensor = labels, lr: float = 1e-3) -> None:
        with pytest.raises(error, match=match):
            adapt(model, images, labels, kind="full", lr=lr, config=FineTuneConfig(3))

    fails(ConfigError, "learning rate -1.0; give 0 or a positive", lr=-1.0)
    fails(ConfigError, "learning rate nan", lr=float("nan"))
    fails(DataError, r"labels are of 2 classes and the network of 3", labels % 2)
    fails(DataError, r"6 labels \[1, 2, 3\]", labels + 1)
    fails(NonFiniteError, r"full.* learning rate 1e\+30 broke the network.*smaller", lr=1e30)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"grid": ()}, r"grid is \(\); expected 1 or more of them"),
        ({"grid": (0.0, -1e-3)}, r"grid\.1 is -0.001; expected 0 or more"),
        ({"grid": (float("inf"),)}, r"grid\.0 is inf; expected 0 or more$"),
        ({"steps": -1}, "steps is -1; expected 0 or more"),
        ({"augment": 1.5}, "augment is 1.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0}, "alpha is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"folds": 1}, "folds is 1; expected 2 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        FineTuneConfig(**settings)


def test_lora_has_ten_times_the_learning_rates() -> None:
    config = FineTuneConfig()
    assert make_tuner("full").learning_rates(config) == [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert make_tuner("lora").learning_rates(config) == pytest.approx([0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
