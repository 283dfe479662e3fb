"""The learning rate that the support set chooses."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smat.adaptation import FewShotClassifier, FineTuneConfig, FineTuning, FullTuning, make_tuner
from smat.adaptation.learning_rate import _deal, why_untuned
from smat.backbones import Backbone, load
from smat.errors import ConfigError, DataError
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.heads import TaskModel, specialise
from tasks import adapt, cross_validated_lr, family_task, task


class Pixels(nn.Module):
    """A linear layer over all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 12, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


def drowned(shot: int = 10) -> tuple[TaskModel, Tensor, Tensor]:
    """A network that shows the one pixel that tells two classes apart a hundred times weaker than all others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Pixels()
        network.linear.weight.data = torch.diag(torch.tensor([0.01] + [1.0] * 11))
        pool = SparseInterpolatedExperts(load(network, image_size=2), PoolConfig(experts=0))
        labels = torch.arange(2).repeat(shot)
        images = 0.3 * torch.randn(2 * shot, 3, 2, 2)
        images[:, 0, 0, 0] = 2 * labels.float() - 1
        return specialise(pool, images, labels), images, labels


@pytest.mark.parametrize(
    "counts", [(5, 5, 5), (1, 1, 7), (2, 3, 1), (20, 2, 1), (1, 6, 2, 4)], ids=lambda counts: "-".join(map(str, counts))
)
@pytest.mark.parametrize("most", [2, 5])
def test_parts_hold_every_image_out_once_and_leave_every_class_one(counts: tuple[int, ...], most: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[torch.randperm(sum(counts))]
    folds = _deal(labels, most, 0)
    parts = int(folds.max()) + 1
    assert parts == min(most, max(counts))
    for label, count in enumerate(counts):
        of_class = folds[labels == label]
        if count == 1:
            assert of_class.tolist() == [-1]
        else:
            sizes = torch.bincount(of_class, minlength=parts)
            assert sizes.max() - sizes.min() <= 1
            assert sizes.max() < count
    sizes = torch.bincount(folds[folds >= 0])
    assert sizes.max() - sizes.min() <= 1


def test_parts_are_fixed_by_the_seed() -> None:
    labels = torch.arange(3).repeat(6)
    assert torch.equal(_deal(labels, 5, 1), _deal(labels, 5, 1))
    assert not torch.equal(_deal(labels, 5, 1), _deal(labels, 5, 2))


def test_a_rate_that_helps_on_held_out_images_is_chosen() -> None:
    model, images, labels = drowned()
    config = FineTuneConfig(steps=40, augment=0.0, grid=(0.0, 1e-6, 1e-2))
    assert cross_validated_lr(model, images, labels, kind="full", config=config) == 1e-2
    model, others, _ = drowned(shot=50)
    tuned = adapt(model, images, labels, kind="full", lr=1e-2, config=config)
    with torch.no_grad():
        right = [(m(others).argmax(1) == torch.arange(2).repeat(50)).float().mean() for m in (model, tuned)]
    assert right[1] > right[0]


def test_a_rate_that_breaks_the_network_is_not_chosen() -> None:
    model, images, labels = task(shot=3, dtype=torch.float32)
    config = FineTuneConfig(steps=3, grid=(1e30, 1e-4))
    assert cross_validated_lr(model, images, labels, kind="full", config=config) == 1e-4


def test_equally_good_rates_leave_the_smallest() -> None:
    model, images, labels = task(dtype=torch.float32)
    config = FineTuneConfig(steps=1, grid=(1e-30, 0.0))  # too small to change a weight
    assert cross_validated_lr(model, images, labels, kind="full", config=config) == 0


@pytest.mark.parametrize(("grid", "expected"), [(FineTuneConfig().grid, 0.0), ((1e-2, 1e-4), 1e-3)])
def test_with_one_image_of_each_class_the_smallest_rate_is_taken(grid: tuple[float, ...], expected: float) -> None:
    model, images, labels = family_task("clip")
    model = adapt(model, images[:3], labels[:3], kind="none", lr=0.0)
    config = FineTuneConfig(grid=grid)
    assert cross_validated_lr(model, images[:3], labels[:3], kind="lora", config=config) == pytest.approx(expected)


def test_the_better_half_of_the_rates_goes_on_and_the_model_stays() -> None:
    model, images, labels = task(shot=5, dtype=torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen: list[tuple[int, int]] = []
    config = FineTuneConfig(steps=2)
    rate = cross_validated_lr(
        model, images, labels, kind="lora", config=config, on_step=lambda *step: seen.append(step)
    )
    assert rate in make_tuner("lora").learning_rates(config)
    total = 2 * (7 + 4 + 2 + 2 + 2)
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert cross_validated_lr(model, images, labels, kind="lora", config=config) == rate


def test_mistakes_say_what_to_do() -> None:
    model, images, labels = family_task("mobilenet")
    with pytest.raises(ConfigError, match="has none"):
        cross_validated_lr(model, images, labels, kind="lora")
    with pytest.raises(DataError, match=r"labels are of 2 classes and the network of 3"):
        cross_validated_lr(model, images, labels % 2, kind="full")


@pytest.mark.parametrize(
    ("settings", "shot", "message"),
    [
        ({"learning_rate": "support"}, 1, "cannot be chosen from one image per class"),
        ({"learning_rate": 0.0}, 2, r"since the learning rate is 0.*--learning-rate 1e-4"),
        ({"learning_rate": 1e-3, "steps": 0}, 2, r"since steps is 0.*--steps"),
        ({"learning_rate": "average", "steps": 0}, 2, "since steps is 0"),
    ],
)
def test_the_classifier_says_that_nothing_was_tuned(
    settings: dict[str, Any], shot: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = load(Pixels(), image_size=2)
    images = [np.full((2, 2, 3), value, np.uint8) for value in (0, 255) for _ in range(shot)]
    classifier = FewShotClassifier(backbone, adapt="full", device="cpu", margin=1.0, head="prototype", **settings)
    fitted = classifier.fit(images, np.repeat(["a", "b"], shot))
    assert fitted.task_model_.tuned == 0
    assert re.search(rf"setting was left out: nothing was fine-tuned, .*{message}.*'adapt full'", caplog.text)


def test_a_choice_of_0_says_that_tuning_did_not_help() -> None:
    _, images, labels = drowned(2)
    tuning = FineTuning(images, labels)
    assert re.search("no learning rate did better than 0 .* network is as it was", why_untuned(tuning, "support"))


def test_a_tuner_that_finds_nothing_to_tune_leaves_the_network_as_it_was() -> None:
    class Nothing(FullTuning):
        def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Any:
            backbone.requires_grad_(False)
            return lambda: None

    model, images, labels = drowned(2)
    tuned = FineTuning(images, labels, Nothing()).adapt(model, lr=1e-2)
    assert tuned.tuned == 0
    assert all(torch.equal(value, tuned.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in tuned.backbone.parameters())
