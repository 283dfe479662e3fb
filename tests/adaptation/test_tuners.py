"""What fine-tuning changes: nothing, everything, adapters, or what a tuner of one's own chooses."""

from collections.abc import Callable

import pytest
import torch

from small_pools import random_episode, vit_pool
from smat.adaptation import FineTuneConfig, FineTuner, FineTuning, FullTuning, LoRATuning, NoTuning, make_tuner
from smat.backbones import Backbone
from smat.errors import ConfigError
from smat.heads import Logistic, specialise
from smat.plugins import describe, restore
from tasks import task


class Biases(FineTuner):
    """Tunes biases alone."""

    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Callable[[], None]:
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
        return lambda: None


def changed(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    old = dict(before.named_parameters())
    return {name for name, value in after.named_parameters() if not torch.equal(value, old[name])}


def test_a_tuner_of_ones_own_changes_what_it_chose_and_leaves_a_plain_network() -> None:
    model, images, labels = task()
    adapted = FineTuning(images, labels, Biases(), FineTuneConfig(steps=3)).adapt(model, 1e-2)
    found = changed(model.backbone, adapted.backbone)
    assert found
    assert all(name.endswith("bias") for name in found)
    assert all(parameter.requires_grad for parameter in adapted.backbone.parameters())


def test_names_stand_for_the_three_classes() -> None:
    assert make_tuner("none") == NoTuning()
    assert make_tuner("full") == FullTuning()
    assert make_tuner("lora") == LoRATuning()
    own = Biases()
    assert make_tuner(own) is own
    assert own.name == "Biases"
    assert restore(describe(LoRATuning()), FineTuner) == LoRATuning()
    with pytest.raises(ConfigError, match="choose one of none, full, lora, weights, gates, or give a FineTuner"):
        make_tuner("half")  # type: ignore[arg-type]


def test_a_head_without_gradient_is_fitted_after_tuning_through_class_means() -> None:
    episode = random_episode(dtype=torch.float32)
    pool = vit_pool(torch.float32).eval()
    config, support = FineTuneConfig(steps=3), (episode.support, episode.support_labels)
    plain = FineTuning(*support, config=config).adapt(specialise(pool, *support), 1e-2)
    other = FineTuning(*support, config=config).adapt(specialise(pool, *support, head=Logistic()), 1e-2)
    assert not changed(plain.backbone, other.backbone)
    expected = Logistic().fit(plain.backbone(episode.support).detach(), episode.support_labels, 3)
    with torch.no_grad():
        torch.testing.assert_close(other(episode.query), expected(plain.backbone(episode.query)))
