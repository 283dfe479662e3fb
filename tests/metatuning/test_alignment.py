import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from smat.episodes import Episode
from smat.metatuning import TuningConfig, train_task
from smat.metatuning.alignment import (
    GradientCosines,
    Probe,
    cosines,
    gradient_cosines,
    sketch,
)
from tiny import tiny_pool, tiny_source

CONFIG = TuningConfig(tasks=2, meta_batch=2)


def trained(**settings: object):
    """A pool whose update is not zero, so that its gates have gradients too."""
    pool = tiny_pool(**settings)
    with torch.no_grad():
        pool.update.delta.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    return pool


def probe() -> list[Episode]:
    return list(Probe(tiny_source("train", train=True), seed=0))


def test_cosines_of_known_vectors() -> None:
    found = cosines([torch.tensor(v) for v in ([1.0, 0.0], [2.0, 2.0], [-3.0, 0.0], [0.0, 0.0], [math.nan, 1.0])])
    half = math.sqrt(0.5)
    expected = np.full((5, 5), np.nan)
    expected[:3, :3] = [[1, half, -1], [half, 1, -half], [-1, -half, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_cosines_of_long_vectors_are_summed_in_float64() -> None:
    ones = torch.ones(3_000_000)
    tilted = ones.clone()
    tilted[0] = 1000.0
    expected = (len(ones) + 999) / math.sqrt(len(ones) * (len(ones) - 1 + 1000.0**2))
    assert cosines([ones, tilted])[0, 1] == pytest.approx(expected, abs=1e-14)


def test_means_are_over_pairs_within_and_between_domains() -> None:
    matrix = np.array([[1, 0.8, 0.1, 0.2], [0.8, 1, 0.3, 0.4], [0.1, 0.3, 1, -0.6], [0.2, 0.4, -0.6, 1]])
    undefined = np.full((4, 4), np.nan)
    found = GradientCosines(("0", "1", "2", "3"), ("a", "a", "b", "b"), {"delta": matrix, "gates": undefined})
    assert found.values() == pytest.approx(
        {"alignment/delta/all": 0.2, "alignment/delta/within": 0.1, "alignment/delta/between": 0.25}
    )
    assert math.isnan(found.mean("gates", "all"))


def with_cosine(value: float, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    first, other = torch.randn(2, size, generator=generator, dtype=torch.float64)
    first /= first.norm()
    other -= (other @ first) * first
    return first, value * first + math.sqrt(1 - value**2) * other / other.norm()


@pytest.mark.parametrize("value", [0.0, 0.5, 0.95])
def test_cosines_of_sketches_are_as_wrong_as_they_may_be(value: float) -> None:
    generator, size = torch.Generator().manual_seed(0), 50_000
    errors = []
    for seed in range(40):
        pair = with_cosine(value, size, generator)
        errors.append(cosines([sketch(v, seed) for v in pair])[0, 1] - value)
    expected = (1 - value**2) / math.sqrt(4096)
    assert 0.7 * expected < math.sqrt(np.square(errors).mean()) < 1.3 * expected
    assert abs(np.mean(errors)) < 3 * expected / math.sqrt(len(errors))


def test_a_sketch_is_that_of_its_seed() -> None:
    vector = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sketch(vector, 1), sketch(vector, 1))
    assert not torch.equal(sketch(vector, 1), sketch(vector, 2))
    assert float(sketch(torch.ones(1), 0).abs().sum()) == 1


def by_hand(episodes: Sequence[Episode], **settings: object) -> dict[str, list[Tensor]]:
    """The gradients of tasks, one after the other, each on a pool of its own."""
    found: dict[str, list[Tensor]] = {"delta": [], "gates": [], "router": []}
    for episode in episodes:
        pool = trained(**settings)
        objective = replace(CONFIG.objective, routing_penalty=0.0)
        train_task(pool, torch.zeros(pool.config.experts), episode, objective, target_sparsity=None)
        router = torch.cat([(p if p.grad is None else p.grad).flatten() for p in pool.router.parameters()])
        parts = (pool.update.delta.grad, pool.update.gate_logits.grad, router)
        for name, part in zip(found, parts, strict=True):
            found[name].append(part.flatten())
    return found


def test_gradients_are_those_of_the_tasks_without_constraint_and_penalty() -> None:
    episodes = probe()
    found = gradient_cosines(trained(), episodes, CONFIG, "32-true")
    assert found.domains == ("glyphs", "glyphs", "polygons", "polygons")
    for name, gradients in by_hand(episodes).items():
        expected = torch.nn.functional.cosine_similarity(
            torch.stack(gradients)[:, None].double(), torch.stack(gradients)[None].double(), dim=2
        )
        np.testing.assert_allclose(found.groups[name], expected.numpy(), atol=1e-9)
    assert found.sketched == ()


def test_a_task_and_its_copy_have_one_direction() -> None:
    (episode, *_) = probe()
    found = gradient_cosines(trained(), [episode, episode], CONFIG, "32-true")
    assert all(found.mean(group, "within") == pytest.approx(1) for group in ("delta", "gates", "router"))


def test_only_the_largest_groups_are_sketched() -> None:
    episodes = probe()
    exact = gradient_cosines(trained(), episodes, CONFIG, "32-true")
    pool = trained()
    room = 4 * len(episodes) * 3 * pool.layout.size  # enough for the update and the router
    found = gradient_cosines(pool, episodes, CONFIG, "32-true", exact_bytes=room)
    assert found.sketched == ("gates",)
    for group, matrix in exact.groups.items():
        np.testing.assert_allclose(found.groups[group], matrix, atol=0.08 if group in found.sketched else 1e-12)


def test_nothing_changes_by_looking() -> None:
    pool = trained(random_gates=True).eval()
    pool.update.delta.grad = torch.ones_like(pool.update.delta)
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    state = torch.random.get_rng_state()
    gradient_cosines(pool, probe(), CONFIG, "32-true")
    assert all(torch.equal(before[name], value) for name, value in pool.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not pool.training
    assert torch.equal(pool.update.delta.grad, torch.ones_like(pool.update.delta))
    assert {name for name, p in pool.named_parameters() if p.grad is not None} == {"update.delta"}


def test_an_untrained_pool_has_no_direction_of_gates_and_router() -> None:
    values = gradient_cosines(tiny_pool(), probe(), CONFIG, "32-true").values()
    assert {name.split("/")[1] for name in values} == {"delta"}


@pytest.mark.parametrize(
    ("settings", "groups"),
    [
        ({"gating": "open", "experts": 1}, {"delta"}),
        ({"gating": "open", "separate_deltas": True}, {"delta", "router"}),
        ({"gating": "bias"}, {"delta", "router"}),
        ({"structure": "output", "learned_head": True}, {"delta", "gates", "router"}),
    ],
)
def test_every_kind_of_pool_has_its_groups(settings: dict[str, object], groups: set[str]) -> None:
    values = gradient_cosines(trained(**settings), probe(), CONFIG, "32-true").values()
    assert {name.split("/")[1] for name in values} == groups


def test_the_probe_is_always_the_same_and_never_trained_on() -> None:
    source = tiny_source("train", train=True)
    first, second = probe(), probe()
    assert [e.plan for e in first] == [e.plan for e in second]
    assert all(torch.equal(a.support, b.support) for a, b in zip(first, second, strict=True))
    trained_on = {source.plan(n).support_rows for n in range(100)}
    assert not trained_on & {e.plan.support_rows for e in first}
    assert len(Probe(source, 0, per_domain=3)) == 6
