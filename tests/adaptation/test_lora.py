"""Adapters: in which layers, what they change, and that nothing of them is left."""

import pytest
import torch

from smat.adaptation import FineTuneConfig
from smat.adaptation.lora import adapted_layers
from smat.errors import ConfigError
from tasks import CONFIGS, adapt, backbone, family_task, task

ATTENTION = [name for name in CONFIGS if name != "mobilenet"]


@pytest.mark.parametrize("family", ATTENTION)
def test_queries_and_values_of_every_family_change_and_nothing_else(family: str) -> None:
    model, images, labels = family_task(family)
    before = dict(model.backbone.named_parameters())
    adapted = adapt(model, images, labels, kind="lora", lr=1e-2, config=FineTuneConfig(steps=2))
    changed = {name for name, value in adapted.backbone.named_parameters() if not torch.equal(value, before[name])}
    layers = adapted_layers(model.backbone)
    assert len(layers) == 4  # two blocks
    assert changed == {f"network.{layer}.weight" for layer in layers}


def test_a_convolutional_network_has_nothing_to_adapt() -> None:
    model, images, labels = family_task("mobilenet")
    with pytest.raises(ConfigError, match=r"query and value.*'tiny-mobilenet' has none.*--adapt full"):
        adapt(model, images, labels, kind="lora", lr=0.0)
    with pytest.raises(ConfigError, match="has none"):
        adapted_layers(backbone("mobilenet"))
    before = dict(model.backbone.named_buffers())
    adapted = adapt(model, images, labels, kind="full", lr=1e-3, config=FineTuneConfig(steps=2))
    assert all(torch.equal(value, before[name]) for name, value in adapted.backbone.named_buffers())


def test_of_a_fused_projection_the_key_stays() -> None:
    model, images, labels = task()
    adapted = adapt(model, images, labels, kind="lora", lr=1e-2, config=FineTuneConfig(steps=3))
    for name in adapted_layers(model.backbone):
        layers = [m.backbone.network.get_submodule(name) for m in (adapted, model)]
        change = layers[0].get_parameter("weight") - layers[1].get_parameter("weight")
        query, key, value = change.chunk(3)
        assert not key.any()
        assert query.any()
        assert value.any()
        assert torch.linalg.matrix_rank(change) <= 8


def test_what_is_left_is_the_network_as_it_was_built() -> None:
    model, images, labels = family_task("vit")
    adapted = adapt(model, images, labels, kind="lora", lr=1e-2, config=FineTuneConfig(steps=1))
    assert str(adapted) == str(model)
    assert vars(adapted.backbone.network).keys() == vars(model.backbone.network).keys()
    assert adapted.state_dict().keys() == model.state_dict().keys()
    assert all(p.requires_grad and p.grad is None for p in adapted.parameters())
    assert not any(module.training for module in adapted.backbone.modules())
    with torch.no_grad():
        torch.testing.assert_close(adapted(images), adapted(images), rtol=0, atol=0)


def test_dropout_and_rank_make_a_difference_and_the_seed_fixes_it() -> None:
    model, images, labels = family_task("vit")

    def query(seed: int = 0, **settings: float) -> torch.Tensor:
        config = FineTuneConfig(steps=3, augment=0.0, **settings)  # type: ignore[arg-type]
        adapted = adapt(model, images, labels, kind="lora", lr=1e-2, config=config, seed=seed)
        return adapted.backbone.network.get_submodule(adapted_layers(model.backbone)[0]).get_parameter("weight")

    state = torch.random.get_rng_state()
    base = query()
    assert torch.equal(base, query())
    for other in (query(seed=1), query(dropout=0.0), query(rank=4), query(alpha=16)):
        assert not torch.equal(base, other)
    assert torch.equal(state, torch.random.get_rng_state())
