"""A pool with a null expert: its merge weights, and that pools without one are what they were."""

import json

import pytest
import torch
from torch import Tensor

from small_pools import random_episode, vit_pool
from smat.errors import ConfigError
from smat.experts import PoolConfig, Router, RouterConfig, TemperatureSchedule
from smat.experts.pool import NULL_OFFSET
from smat.heads import specialise
from smat.metatuning import ObjectiveConfig, TaskNoise, train_task


def prototypes() -> Tensor:
    return torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def softmax(scores: Tensor) -> Tensor:
    return scores / scores.sum()


@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_weights_are_the_experts_share_of_a_simplex_with_one_more_corner(experts: int, temperature: float) -> None:
    schedule = TemperatureSchedule(temperature, temperature, 1)
    pool = vit_pool(experts=experts, null_expert=True, temperature=schedule)
    with torch.no_grad():
        weights, logits = pool.route(prototypes())
    assert weights.shape == (experts,)
    assert logits.shape == (experts + 1,)
    offset = torch.tensor([0.0] * experts + [NULL_OFFSET])
    expected = softmax(torch.sigmoid(logits / temperature + offset))
    torch.testing.assert_close(weights, expected[:experts])
    assert 0 < float(1 - weights.sum()) < 0.3

    u = torch.linspace(0.2, 0.9, experts + 1, dtype=torch.float64)
    with torch.no_grad():
        drawn, _ = pool.route(prototypes(), u)
    noisy = torch.sigmoid((logits + torch.logit(u)) / temperature + offset)
    torch.testing.assert_close(drawn, softmax(noisy)[:experts])


@pytest.mark.parametrize("experts", [1, 4, 8])
@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_the_null_expert_starts_with_less_than_any_other(experts: int, temperature: float) -> None:
    """By logits of 0, which learning starts near: σ(-2) to the 1/2 of each expert."""
    pool = vit_pool(experts=experts, null_expert=True, temperature=TemperatureSchedule(temperature, temperature, 1))
    with torch.no_grad():
        pool.router.keys.zero_()
        weights, _ = pool.route(prototypes())
    null = 1 / (1 + 2.718281828459045**2)
    assert float(1 - weights.sum()) == pytest.approx(null / (null + experts / 2))
    torch.testing.assert_close(weights, weights[:1].expand(experts))


def test_without_weight_for_the_experts_the_network_stays_pretrained() -> None:
    pool = vit_pool(experts=1, null_expert=True, temperature=TemperatureSchedule(0.5, 0.5, 1))
    episode = random_episode()
    with torch.no_grad():
        pool.router.keys[0] = -1000 * pool.router.read_out(pool.backbone(episode.support).unflatten(0, (2, 3)).mean(0))
        pool.router.keys[1] = 0
    model = specialise(pool, episode.support, episode.support_labels)
    assert float(model.merge_weights) < 1e-9
    merged = torch.cat([p.flatten() for p in model.backbone.parameters()])
    torch.testing.assert_close(merged, pool.pretrained, rtol=0, atol=1e-9)


def test_weights_depend_neither_on_the_numbers_of_classes_nor_on_the_order_of_images() -> None:
    pool, episode = vit_pool(null_expert=True).eval(), random_episode()

    def weights(support: Tensor, labels: Tensor) -> Tensor:
        return specialise(pool, support, labels).merge_weights

    expected = weights(episode.support, episode.support_labels)
    torch.testing.assert_close(weights(episode.support, (episode.support_labels + 1) % 3), expected)
    torch.testing.assert_close(weights(episode.support.flip(0), episode.support_labels.flip(0)), expected)


def test_a_task_teaches_the_null_expert_and_penalises_its_logit() -> None:
    pool, episode = vit_pool(null_expert=True).train(), random_episode()
    penalty = 0.3
    noise = TaskNoise(routing=torch.full((4,), 0.5, dtype=torch.float64))
    multipliers = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    config = ObjectiveConfig(routing_penalty=penalty)
    result = train_task(pool, multipliers, episode, config, target_sparsity=0.9, noise=noise)
    assert (result.merge_weights.shape, result.routing_logits.shape, result.sparsity.shape) == ((3,), (4,), (3,))
    assert float(result.terms["routing"]) == pytest.approx(penalty * float(result.routing_logits.square().mean()))
    assert (pool.router.keys.grad.abs().amax(1) > 0).all()


def test_pools_without_one_are_what_they_were() -> None:
    """Their settings, fingerprints of these and parameters do not know of it."""
    config = PoolConfig()
    assert "null" not in repr(config)
    assert "null_expert" not in config.to_dict()
    assert PoolConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with_one = PoolConfig(null_expert=True)
    assert PoolConfig.from_dict(json.loads(json.dumps(with_one.to_dict()))) == with_one
    plain, other = vit_pool(), vit_pool(null_expert=True)
    assert plain.router.keys.shape == (3, 16)
    assert other.router.keys.shape == (4, 16)
    assert plain.fingerprint() != other.fingerprint()
    with torch.no_grad():
        weights, logits = plain.route(prototypes())
    torch.testing.assert_close(weights, softmax(torch.sigmoid(logits / plain.temperature)))


@pytest.mark.parametrize(
    ("settings", "routes", "routed"),
    [
        ({"experts": 0}, 0, False),
        ({"experts": 1}, 1, False),
        ({"experts": 1, "router": RouterConfig(normalise_single=False)}, 1, True),
        ({"experts": 1, "null_expert": True}, 2, True),
        ({"experts": 3}, 3, True),
        ({"experts": 3, "null_expert": True}, 4, True),
    ],
)
def test_what_is_routed(settings: dict, routes: int, routed: bool) -> None:
    config = PoolConfig(**settings)
    assert (config.routes, config.routed) == (routes, routed)


def test_one_expert_of_the_authors_code_is_normalised_beside_a_null_expert() -> None:
    pool = vit_pool(experts=1, null_expert=True, router=RouterConfig(readout="first-class", normalise_single=False))
    with torch.no_grad():
        weights, logits = pool.route(prototypes())
    scores = torch.sigmoid(logits / pool.temperature + torch.tensor([0.0, NULL_OFFSET]))
    torch.testing.assert_close(weights, softmax(scores)[:1])


def test_a_null_expert_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pool\.null_expert needs experts"):
        PoolConfig(experts=0, null_expert=True)


class Flat(Router):
    """As many logits of 0 as it was built for."""

    def build(self, dim: int, experts: int) -> None:
        self.logits = torch.nn.Parameter(torch.zeros(experts))

    def forward(self, prototypes: Tensor) -> Tensor:
        return self.logits


def test_a_router_of_ones_own_has_one_more_logit_to_give() -> None:
    pool = vit_pool(experts=2, null_expert=True, routing=Flat())
    with torch.no_grad():
        weights, logits = pool.route(prototypes())
    assert len(logits) == 3
    assert float(weights.sum()) == pytest.approx(1 / (1 + float(torch.sigmoid(torch.tensor(NULL_OFFSET)))), rel=1e-6)
