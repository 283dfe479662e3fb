"""Networks on flat vectors, and bfloat16 that does not lose small steps."""

import pytest
import torch

from small_pools import random_episode, vit_pool
from smat.experts.network import to_bfloat16

SPACING = 2.0**-7  # of bfloat16 numbers in 1..2


def float16_weights(n: int = 1 << 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (1 + torch.rand(n, generator=generator)).half().float()


@pytest.mark.parametrize("share", [1e-4, 1e-3, 1e-2, 0.3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_small_steps_survive_rounding_in_the_sum(share: float, sign: int) -> None:
    weights, step = float16_weights(), sign * share * SPACING
    moved = to_bfloat16(weights + step).double() - to_bfloat16(weights).double()
    tolerance = 4 * (share / len(weights)) ** 0.5 / share  # four standard errors, were the thresholds random
    assert moved.mean().item() / step == pytest.approx(1, abs=max(tolerance, 0.02))
    nearest = (weights + step).bfloat16().double() - weights.bfloat16().double()
    if share < 1e-2:
        assert not 0.5 < nearest.mean().item() / step < 2, "the usual rounding does not keep them"


def test_rounding_is_to_a_neighbour_unbiased_and_repeatable() -> None:
    weights = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    rounded = to_bfloat16(weights)
    assert torch.equal(rounded, to_bfloat16(weights))
    spacing = 2.0 ** (torch.floor(torch.log2(weights.abs())) - 7)
    error = (rounded.float() - weights) / spacing
    assert error.abs().max() <= 1
    assert abs(error.mean().item()) < 4 * (1 / 6 / len(weights)) ** 0.5
    assert error.square().mean().item() == pytest.approx(1 / 6, rel=0.02)


def test_what_bfloat16_can_hold_is_kept() -> None:
    exact = torch.randn(5000, generator=torch.Generator().manual_seed(0)).bfloat16()
    values = torch.cat([exact, torch.tensor([0.0, -0.0, 1.0, -2.0]).bfloat16()])
    assert torch.equal(to_bfloat16(values.float()), values)


def test_networks_compute_what_the_backbone_computes() -> None:
    pool, episode = vit_pool(), random_episode()
    assert torch.allclose(pool.network(pool.pretrained)(episode.query), pool.backbone(episode.query))


def test_bfloat16_networks_take_and_give_float32() -> None:
    pool, images = vit_pool(torch.float32), random_episode(dtype=torch.float32).query
    gradients = {}
    for precision in ("32-true", "bf16-mixed"):
        network = pool.network(pool.pretrained, precision)
        features = network(images)
        assert features.dtype == torch.float32
        (gradients[precision],) = network.gradient(features.square().sum())
        assert gradients[precision].dtype == torch.float32
    a, b = gradients.values()
    assert torch.nn.functional.cosine_similarity(a, b, 0) > 0.999
    assert not torch.equal(a, b)


def test_the_gradient_is_that_of_the_vector_and_others_and_leaves_nothing_behind() -> None:
    pool, images = vit_pool(), random_episode().query
    vector, scale = pool.pretrained.clone().requires_grad_(), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    views = pool.layout.views(vector)
    features = torch.func.functional_call(pool.backbone, views, (images,))
    expected = torch.autograd.grad((scale * features).square().sum(), [vector, scale])
    network = pool.network(pool.pretrained)
    output = (scale * network(images)).square()
    for cotangent in (torch.ones_like(output), 3 * torch.ones_like(output)):
        found = network.gradient(output, [scale], cotangents=[cotangent], retain_graph=True)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours, cotangent.flatten()[0] * theirs, rtol=1e-9, atol=1e-10)
    assert scale.grad is None
    assert all(p.grad is None and not p._post_accumulate_grad_hooks for p in network.parameters.values())


def test_parameters_that_the_output_does_not_depend_on_have_no_gradient() -> None:
    pool = vit_pool()
    network = pool.network(pool.pretrained)
    other = torch.ones(3, dtype=torch.float64, requires_grad=True)
    whole, unused = network.gradient(next(iter(network.parameters.values())).sum(), [other])
    assert whole.sum() == pool.layout.sizes[0]
    assert (whole != 0).sum() == pool.layout.sizes[0]
    assert (unused == 0).all()


def test_only_what_layers_multiply_with_is_rounded() -> None:
    pool = vit_pool(torch.float32)
    parameters = pool.network(pool.pretrained, "bf16-mixed").parameters
    kept = {name for name, value in parameters.items() if value.dtype == torch.float32}
    assert kept == {n for n in pool.layout.names if "norm" in n or n.endswith(("cls_token", "pos_embed"))}
    assert all(parameters[n].dtype == torch.bfloat16 for n in pool.layout.names if n not in kept)
    views = pool.layout.views(pool.pretrained)
    assert all(torch.equal(parameters[n], views[n]) for n in kept)
