import copy

import jaxtyping
import pytest
import torch
from torch import nn

from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning import GroupConfig, MetaOptimizer, OptimizerConfig
from tiny import tiny_pool

PLAIN = GroupConfig("sgd", 0.1)
GROUPS = ("delta", "gates", "router", "multipliers")


def set_gradients(pool: SparseInterpolatedExperts, multipliers: nn.Parameter, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in [*pool.parameters(), multipliers]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def make(config: OptimizerConfig, **settings: object) -> tuple[SparseInterpolatedExperts, nn.Parameter, MetaOptimizer]:
    pool, multipliers = tiny_pool(**settings), nn.Parameter(torch.ones(2))
    return pool, multipliers, MetaOptimizer(pool, multipliers, config)


def members(optimizer: MetaOptimizer, name: str) -> list[nn.Parameter]:
    return [p for group in optimizer.groups[name][1].param_groups for p in group["params"]]


def norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.cat([t.flatten() for t in tensors]).norm())


def test_the_schedule_rises_linearly_and_falls_by_a_cosine() -> None:
    config = OptimizerConfig(warmup=0.2, final_lr=0.01)
    assert config.scale(0.0) == pytest.approx(0.01)
    assert config.scale(0.1) == pytest.approx(0.505)
    assert config.scale(0.2) == pytest.approx(1.0)
    assert config.scale(0.6) == pytest.approx(0.505)
    assert config.scale(0.4) == pytest.approx(0.01 + 0.99 * (1 + 0.5**0.5) / 2)
    assert config.scale(1.0) == pytest.approx(0.01)
    assert config.scale(1.5) == pytest.approx(0.01)
    scales = [config.scale(n / 100) for n in range(101)]
    assert max(scales) == scales[20]
    assert scales[:21] == sorted(scales[:21])
    assert scales[20:] == sorted(scales[20:], reverse=True)


def test_without_a_warmup_it_starts_at_the_top() -> None:
    config = OptimizerConfig(warmup=0.0, final_lr=0.1)
    assert config.scale(0.0) == pytest.approx(1.0)
    assert config.scale(1.0) == pytest.approx(0.1)
    assert OptimizerConfig(warmup=1.0).scale(1.0) == pytest.approx(1.0)


def test_learning_rates_follow_the_schedule_unless_told_to_stay() -> None:
    config = OptimizerConfig(
        delta=GroupConfig("sgd", 0.5),
        gates=GroupConfig("sgd", 3.0, scheduled=False),
        router=GroupConfig("adamw", 0.2),
        multipliers=GroupConfig("sgd", 0.7, scheduled=False),
    )
    pool, multipliers, optimizer = make(config)
    for progress in (0.0, 0.1, 0.2, 0.7, 1.0):
        set_gradients(pool, multipliers)
        optimizer.step(progress)
        rates = {name: optimizer.groups[name][1].param_groups[0]["lr"] for name in GROUPS}
        factor = config.scale(progress)
        assert rates == pytest.approx({"delta": 0.5 * factor, "gates": 3.0, "router": 0.2 * factor, "multipliers": 0.7})


@pytest.mark.parametrize("count_head", [False, True])
def test_every_parameter_is_in_the_group_of_its_part(count_head: bool) -> None:
    pool, multipliers, optimizer = make(OptimizerConfig(delta=PLAIN), count_head=count_head)
    gates = [pool.update.gate_logits, pool.update.head_logits] if count_head else [pool.update.gate_logits]
    expected = {
        "delta": [pool.update.delta],
        "gates": gates,
        "router": list(pool.router.parameters()),
        "multipliers": [multipliers],
    }
    assert tuple(optimizer.groups) == GROUPS
    for name, parameters in expected.items():
        assert [id(p) for p in members(optimizer, name)] == [id(p) for p in parameters], name
    everything = sorted(id(p) for name in GROUPS for p in members(optimizer, name))
    assert everything == sorted(id(p) for p in [*pool.parameters(), multipliers])


def test_a_step_of_plain_descent_moves_each_group_along_its_gradient_and_clears_it() -> None:
    config = OptimizerConfig(delta=PLAIN, gates=PLAIN, router=PLAIN, multipliers=PLAIN, warmup=0.0)
    pool, multipliers, optimizer = make(config)
    set_gradients(pool, multipliers)
    parameters = {name: members(optimizer, name) for name in GROUPS}
    expected = {n: [(p - 0.1 * p.grad).detach() for p in ps if p.grad is not None] for n, ps in parameters.items()}
    norms = {n: norm([p.grad for p in ps if p.grad is not None]) for n, ps in parameters.items()}
    assert {name: float(found) for name, found in optimizer.clip().items()} == pytest.approx(norms, rel=1e-5)
    optimizer.step(0.0)
    for name, group in parameters.items():
        torch.testing.assert_close([p.detach() for p in group], expected[name])
        assert all(p.grad is None for p in group)


@pytest.mark.parametrize("scale", [0.01, 100.0], ids=["below", "above"])
def test_gradients_are_clipped_to_the_groups_norm_and_not_beyond(scale: float) -> None:
    clipped = GroupConfig("sgd", 1.0, clip=3.0, scheduled=False)
    free = GroupConfig("sgd", 1.0, scheduled=False)
    config = OptimizerConfig(delta=free, gates=clipped, router=clipped, multipliers=free)
    pool, multipliers, optimizer = make(config, count_head=True)
    set_gradients(pool, multipliers)
    moved, before = {}, {name: [p.detach().clone() for p in members(optimizer, name)] for name in GROUPS}
    for parameter in [*pool.parameters(), multipliers]:
        assert parameter.grad is not None
        parameter.grad *= scale
    norms = {name: float(found) for name, found in optimizer.clip().items()}
    optimizer.step(0.5)
    for name in GROUPS:
        moved[name] = norm([b - p.detach() for p, b in zip(members(optimizer, name), before[name], strict=True)])
    # a step of rate 1 is as long as the clipped gradient, which the whole group shares
    for name in ("gates", "router"):
        assert moved[name] == pytest.approx(min(3.0, norms[name]), rel=1e-4)
        assert (norms[name] > 3.0) == (scale > 1)
    for name in ("delta", "multipliers"):
        assert moved[name] == pytest.approx(norms[name], rel=1e-4)


def test_groups_without_a_gradient_are_left_alone() -> None:
    pool, multipliers, optimizer = make(OptimizerConfig(delta=PLAIN))
    before = [p.detach().clone() for p in [*pool.parameters(), multipliers]]
    pool.update.delta.grad = torch.ones_like(pool.update.delta)
    norms = {name: float(found) for name, found in optimizer.clip().items()}
    optimizer.step(0.2)
    assert norms["delta"] == pytest.approx(pool.layout.size**0.5, rel=1e-5)
    assert [norms[name] for name in ("gates", "router", "multipliers")] == [0.0, 0.0, 0.0]
    after = [p.detach() for p in [*pool.parameters(), multipliers]]
    changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [p is pool.update.delta for p in [*pool.parameters(), multipliers]]


def test_rules_are_those_of_torch() -> None:
    sgd = GroupConfig("sgd", 0.1, momentum=0.8, weight_decay=0.2)
    adamw = GroupConfig("adamw", 0.1, weight_decay=0.3)
    start = torch.tensor([1.0, -2.0])
    for config, reference in (
        (sgd, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.2)),
        (adamw, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3)),
    ):
        ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        optimizers = config.build([ours]), reference([theirs])
        for step in range(3):
            for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
                parameter.grad = torch.tensor([0.5, 1.0]) * (step + 1)
                optimizer.step()
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, start)


def test_another_optimizer_goes_on_from_a_state_as_the_first_would_have() -> None:
    config = OptimizerConfig(
        delta=GroupConfig("sgd", 1e-4, momentum=0.9, weight_decay=1e-4),
        gates=GroupConfig("sgd", 10.0, momentum=0.5, clip=5.0),
        multipliers=GroupConfig("adamw", 0.1),
    )
    pool, multipliers, optimizer = make(config)
    for step in range(3):
        set_gradients(pool, multipliers, step)
        optimizer.step(step / 5)
    other, other_multipliers, again = make(config)
    other.load_state_dict(pool.state_dict())
    with torch.no_grad():
        other_multipliers.copy_(multipliers)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch shares what it loads
    fresh, fresh_multipliers, untrained = make(config)
    fresh.load_state_dict(pool.state_dict())
    with torch.no_grad():
        fresh_multipliers.copy_(multipliers)
    for somebody, theirs, their_optimizer in (
        (pool, multipliers, optimizer),
        (other, other_multipliers, again),
        (fresh, fresh_multipliers, untrained),
    ):
        set_gradients(somebody, theirs, 3)
        their_optimizer.step(0.6)
    ours = dict(pool.named_parameters()) | {"multipliers": multipliers}
    same = dict(other.named_parameters()) | {"multipliers": other_multipliers}
    forgetful = dict(fresh.named_parameters()) | {"multipliers": fresh_multipliers}
    assert all(torch.equal(ours[name], same[name]) for name in ours)
    # every group has a memory that matters: momentum, or Adam's averages
    assert [name for name in ours if torch.equal(ours[name], forgetful[name])] == []


def test_a_rate_that_is_missing_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"give tuning.optimizers.delta.lr, or have it found \(--find-lr"):
        make(OptimizerConfig())
    with pytest.raises(ConfigError, match=r"tuning.optimizers.router.lr is missing"):
        OptimizerConfig(router=GroupConfig("adamw"))


def test_an_unknown_rule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # outside the tests nothing else checks it
    with pytest.raises(ConfigError, match="rule is 'lion'; expected 'sgd' or 'adamw'"):
        GroupConfig("lion", 0.1)  # pyright: ignore[reportArgumentType]
