from typing import Literal

import pytest
import torch
from torch import Tensor

from smat.errors import ConfigError
from smat.experts import PoolConfig, Router, RouterConfig, TransformerRouter, class_prototypes
from smat.experts.router import SpectralLinear
from smat.rng import seeded_torch

DIM, WAY = 16, 4


def make_router(experts: int = 3, dim: int = DIM, **settings: object) -> TransformerRouter:
    with seeded_torch(0, "router"):
        router = PoolConfig(router=RouterConfig(**settings)).make_router()  # type: ignore[arg-type]
        router.build(dim, experts)
        return router


def support() -> tuple[Tensor, Tensor]:
    """Features and labels of four classes with different numbers of images."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    with seeded_torch(1, "router"):
        return torch.randn(len(labels), DIM) + 2 * torch.randn(WAY, DIM)[labels], labels


def weights_of(router: Router, features: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return router.merge_weights(router(class_prototypes(features, labels, WAY)), temperature=0.5)


def weights_by_class_order(readout: Literal["task", "first-class"]) -> Tensor:
    """α for several numberings of the classes, `[numberings, experts]`; the first is the plain one."""
    router, (features, labels) = make_router(readout=readout), support()
    orders = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 1, 0], [1, 2, 3, 0]])
    return torch.stack([weights_of(router, features, order[labels]) for order in orders])


def test_the_task_readout_does_not_depend_on_how_classes_are_numbered() -> None:
    weights = weights_by_class_order("task")
    torch.testing.assert_close(weights, weights[:1].expand_as(weights), rtol=1e-5, atol=1e-6)


def test_the_first_class_readout_does() -> None:
    weights = weights_by_class_order("first-class")
    assert (weights[1:] - weights[0]).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("readout", ["task", "first-class"])
def test_the_order_of_support_images_does_not_matter(readout: Literal["task", "first-class"]) -> None:
    router, (features, labels) = make_router(readout=readout), support()
    expected = weights_of(router, features, labels)
    for seed in range(3):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(weights_of(router, features[order], labels[order]), expected, rtol=1e-5, atol=1e-6)


def test_the_weights_depend_on_the_task() -> None:
    router, (features, labels) = make_router(), support()
    assert (weights_of(router, features, labels) - weights_of(router, features.flip(1), labels)).abs().max() > 1e-3


@pytest.mark.parametrize("experts", [1, 2, 8])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_weights_are_on_the_simplex(experts: int, temperature: float) -> None:
    router, generator = make_router(experts), torch.Generator().manual_seed(0)
    for _ in range(20):
        logits, u = torch.randn(experts, generator=generator), torch.rand(experts, generator=generator)
        for weights in (
            router.merge_weights(logits, temperature),
            router.merge_weights(logits, temperature, u.clamp(1e-3, 1 - 1e-3)),
        ):
            assert weights.min() >= 0
            assert float(weights.sum()) == pytest.approx(1, abs=1e-6)


def test_temperature_limits() -> None:
    router = make_router(3)
    mixed = torch.tensor([2.0, -1.0, 3.0])
    torch.testing.assert_close(router.merge_weights(mixed, 1e6), torch.full((3,), 1 / 3))
    # cold: every expert with a positive logit has the same share
    torch.testing.assert_close(router.merge_weights(mixed, 1e-2), torch.tensor([0.5, 0.0, 0.5]))
    # cold and all negative: the least negative takes it all
    torch.testing.assert_close(
        router.merge_weights(torch.tensor([-0.9, -0.5, -1.1]), 2e-2), torch.tensor([0.0, 1.0, 0.0]), rtol=0, atol=1e-7
    )


def test_a_lone_expert_has_weight_one_unless_it_is_left_unnormalised() -> None:
    logits = torch.tensor([0.7])
    assert make_router(1).merge_weights(logits, 0.5).tolist() == [1.0]
    plain = make_router(1, normalise_single=False).merge_weights(logits, 0.5)
    torch.testing.assert_close(plain, torch.sigmoid(logits / 0.5))
    several = torch.tensor([0.7, 0.2])
    normalised = make_router(2, normalise_single=False).merge_weights(several, 0.5)
    assert float(normalised.sum()) == pytest.approx(1, abs=1e-6)


def test_noise_makes_a_relaxed_bernoulli() -> None:
    router = make_router(3)
    logits, u = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.1, 0.5, 0.8])
    scores = 1 / (1 + torch.exp(-(logits + torch.log(u) - torch.log(1 - u)) / 0.7))
    torch.testing.assert_close(router.merge_weights(logits, 0.7, u), scores / scores.sum())
    half = torch.full((3,), 0.5)
    assert torch.equal(router.merge_weights(logits, 0.7, half), router.merge_weights(logits, 0.7))


def test_a_cold_relaxed_bernoulli_is_on_as_often_as_its_probability() -> None:
    router, draws = make_router(1, normalise_single=False), 4000
    u = torch.rand(draws, 1, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    logit = torch.tensor([0.8])
    on = torch.stack([router.merge_weights(logit, 1e-3, noise) for noise in u]).mean()
    probability = float(torch.sigmoid(logit))
    assert abs(float(on) - probability) < 4 * (probability * (1 - probability) / draws) ** 0.5


def test_routing_logits_are_the_readout_against_the_keys() -> None:
    router, prototypes = make_router(5), support()[0][:WAY]
    with torch.no_grad():
        summary = router.read_out(prototypes)
        torch.testing.assert_close(router(prototypes), (router.keys * summary).sum(1))
    assert summary.shape == (DIM,)


@pytest.mark.parametrize("readout", ["task", "first-class"])
def test_every_parameter_of_the_router_learns(readout: Literal["task", "first-class"]) -> None:
    router = make_router(readout=readout)
    weights = router.merge_weights(router(support()[0][:WAY]), 1.0)
    (weights * torch.arange(3)).sum().backward()
    for name, parameter in router.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_heads_must_divide_the_feature_dimension() -> None:
    with pytest.raises(ConfigError, match=r"router.heads is 5; it must divide the number of features, 16"):
        make_router(heads=5)


def effective_weight(layer: SpectralLinear) -> Tensor:
    """What the layer multiplies with, read off its outputs."""
    inputs = torch.eye(layer.weight.shape[1], dtype=layer.weight.dtype)
    return (layer(inputs) - layer(torch.zeros_like(inputs))).T


def converged(inputs: int = 9, outputs: int = 6) -> SpectralLinear:
    with seeded_torch(2, "router"):
        layer = SpectralLinear(inputs, outputs).double()
    for _ in range(2000):
        layer.power_iteration()
    return layer


def test_a_spectral_layer_has_spectral_norm_one() -> None:
    layer = converged()
    with torch.no_grad():
        effective = effective_weight(layer)
        norm = torch.linalg.matrix_norm(effective, 2)
        torch.testing.assert_close(norm, torch.ones_like(norm), rtol=1e-9, atol=0)
        torch.testing.assert_close(effective, layer.weight / torch.linalg.matrix_norm(layer.weight, 2))
        layer.weight.mul_(3)  # a factor is divided out whether or not the vectors have moved
        torch.testing.assert_close(effective_weight(layer), effective)


def test_its_gradient_is_that_of_the_weight_over_its_norm() -> None:
    layer = converged()
    slopes = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (ours,) = torch.autograd.grad((effective_weight(layer) * slopes).sum(), layer.weight)
    weight = layer.weight.detach().requires_grad_()
    (theirs,) = torch.autograd.grad((weight / torch.linalg.matrix_norm(weight, 2) * slopes).sum(), weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_vectors_move_in_power_iteration_alone() -> None:
    router, prototypes = make_router().train(), support()[0][:WAY]
    before = {name: value.clone() for name, value in router.state_dict().items()}
    router(prototypes).sum().backward()
    router(prototypes)
    assert all(torch.equal(before[name], value) for name, value in router.state_dict().items())
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    router.before_step()
    for layer in ("qkv", "proj", "fc1", "fc2"):
        assert not torch.equal(before[f"{layer}.u"], router.state_dict()[f"{layer}.u"]), layer
        assert not torch.equal(before[f"{layer}.v"], router.state_dict()[f"{layer}.v"]), layer
