"""A training task: its passes counted, its loss and gradients against plain formulas, and bfloat16 against float32."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from formulas import cosine_logits
from shared import SHARED
from small_pools import random_episode, vit_pool
from smat import backbones
from smat.domains import open_domain
from smat.episodes import EpisodeSource, FixedSampler
from smat.errors import ConfigError
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.metatuning.objective import ObjectiveConfig, TaskNoise, TaskResult, relative_spread, train_task
from smat.metatuning.terms import distillation_loss
from smat.recipes.bench import eager_reference
from smat.recipes.bench.eager_reference import EagerExperts
from smat.rng import seeded_torch

# Large steps, so that a wrong sign or a missing one cannot hide.
STEPS = {"inner_lr": 0.1, "teacher_lr": 0.2}


def task(
    pool: SparseInterpolatedExperts, target: float | None = 0.9, weight: float = 1.0, **settings: object
) -> tuple[TaskResult, dict[str, Tensor]]:
    """A task's result and gradients, by name."""
    multipliers = nn.Parameter(torch.linspace(0.5, 1.5, pool.config.experts, dtype=pool.pretrained.dtype))
    pool.zero_grad()
    episode = random_episode(dtype=pool.pretrained.dtype)
    config = ObjectiveConfig(**(STEPS | settings))  # type: ignore[arg-type]
    result = train_task(pool, multipliers, episode, config, target_sparsity=target, weight=weight, keep_networks=True)
    named = {name.removeprefix("update."): p for name, p in pool.named_parameters()} | {"multipliers": multipliers}
    return result, {name: p.grad.clone() for name, p in named.items() if p.grad is not None}


def plain_task(
    pool: SparseInterpolatedExperts, target: float | None, **settings: object
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    experts = EagerExperts(pool, torch.linspace(0.5, 1.5, pool.config.experts, dtype=pool.pretrained.dtype))
    config = ObjectiveConfig(**(STEPS | settings))  # type: ignore[arg-type]
    terms = eager_reference.train_task(experts, random_episode(dtype=pool.pretrained.dtype), config, target)
    return terms, eager_reference.gradients(experts)


def test_the_frozen_network_is_measured_beside_the_student_through_the_same_head() -> None:
    pool = vit_pool()
    result, _ = task(pool)
    labels = random_episode().query_labels
    assert float(result.frozen_accuracy) == float((result.pretrained_logits.argmax(1) == labels).float().mean())
    assert float(result.feature_spread) != 1
    with torch.no_grad():
        for delta in pool.update.parameter_vectors():
            delta.zero_()
    same, _ = task(pool, inner_lr=0.0)
    assert float(same.accuracy) == float(same.frozen_accuracy)
    assert float(same.feature_spread) == pytest.approx(1)


def test_the_relative_spread_of_features() -> None:
    ends = torch.tensor([[3.0, 4.0], [-3.0, -4.0]])
    assert float(relative_spread(ends)) == pytest.approx(1)
    assert float(relative_spread(ends[:1].expand(5, 2))) == 0
    assert float(relative_spread(torch.zeros(3, 2))) == 0
    assert float(relative_spread(1e30 * ends)) == 0
    # a distance of 1 from the mean (0, 2), a norm of √5
    assert float(relative_spread(torch.tensor([[1.0, 2.0], [-1.0, 2.0]]))) == pytest.approx(5**-0.5)


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        pytest.param(0.9, {}, id="default"),
        pytest.param(0.9, {"teacher_steps": 0}, id="no-teacher"),
        pytest.param(0.9, {"teacher_steps": 3}, id="three-teacher-steps"),
        pytest.param(0.9, {"distillation_weight": 0.0}, id="no-distillation"),
        pytest.param(0.9, {"distillation_weight": 1.0}, id="distillation-alone"),
        pytest.param(0.9, {"inner_lr": 0.0}, id="no-inner-step"),
        pytest.param(None, {}, id="no-constraint"),
        pytest.param(0.9, {"distillation": "student-target", "weigh_constraint": True}, id="official"),
        pytest.param(0.9, {"distillation_temperature": 0.7, "routing_penalty": 0.3}, id="other-constants"),
        pytest.param(None, {"routing_penalty": 0.0, "distillation_weight": 0.0}, id="cross-entropy-alone"),
        pytest.param(0.2, {}, id="some-experts-sparse-enough"),
    ],
)
def test_loss_and_gradients_are_those_of_the_plain_formulas(target: float | None, settings: dict[str, object]) -> None:
    pool = vit_pool().train()
    result, ours = task(pool, target, **settings)
    terms, theirs = plain_task(pool, target, **settings)
    assert set(result.terms) == set(terms)
    for name, value in terms.items():
        assert torch.allclose(result.terms[name], value, rtol=1e-10, atol=1e-12), name
    assert torch.allclose(result.loss, torch.stack(list(terms.values())).sum())
    for name, gradient in theirs.items():
        if name not in ours:
            assert (gradient == 0).all(), name
            continue
        error = float((ours[name] - gradient).norm())
        assert error <= 1e-9 * float(gradient.norm()) + 1e-14, name
    assert ours["delta"].norm() > 0
    assert ours["gate_logits"].norm() > 0


def test_each_pass_is_made_once() -> None:
    pool, passes = vit_pool().train(), []
    hook = pool.backbone.network.register_forward_hook(
        lambda module, inputs, output: passes.append((len(inputs[0]), torch.is_grad_enabled()))
    )
    episode = random_episode()
    support, query = len(episode.support), len(episode.query)
    task(pool)
    # the frozen network sees all; then the merged one the support, the student and the teacher the query
    assert passes == [(support + query, False), (support, True), (query, True), (query, False)]
    passes.clear()
    task(pool, distillation_weight=0.0)
    assert passes[1:] == [(support, True), (query, True)]
    hook.remove()


def test_weight_scales_gradients_alone() -> None:
    pool = vit_pool().train()
    (whole, full), (part, half) = task(pool), task(pool, weight=0.5)
    assert torch.equal(whole.loss, part.loss)
    for name, gradient in full.items():
        assert torch.allclose(half[name], 0.5 * gradient, rtol=1e-12, atol=1e-16), name


def test_gradients_add_up_over_tasks() -> None:
    pool = vit_pool().train()
    _, once = task(pool)
    multipliers, episode = nn.Parameter(torch.linspace(0.5, 1.5, 3, dtype=torch.float64)), random_episode()
    pool.zero_grad()
    for _ in range(2):
        train_task(pool, multipliers, episode, ObjectiveConfig(**STEPS), target_sparsity=0.9)
    assert torch.allclose(pool.update.delta.grad, 2 * once["delta"])
    assert torch.allclose(multipliers.grad, 2 * once["multipliers"])


def test_steps_go_down_the_losses() -> None:
    pool, episode = vit_pool().train(), random_episode()
    result, _ = task(pool)
    networks = result.networks
    features = pool.network(networks.merged)(episode.support)
    network = pool.network(networks.merged)
    logits = cosine_logits(network(episode.support), result.state["prototypes"])
    (step,) = network.gradient(cross_entropy(logits, episode.support_labels))
    assert torch.allclose(networks.adapted, networks.merged - 0.1 * step, rtol=0, atol=1e-12)
    assert torch.allclose(result.support_logits, cosine_logits(features, result.state["prototypes"]))
    student = cross_entropy(result.student_logits, episode.query_labels)
    assert cross_entropy(result.teacher_logits, episode.query_labels) < student


def test_parts_that_are_left_out_are_absent() -> None:
    pool = vit_pool().train()
    result, gradients = task(pool, None, teacher_steps=0, inner_lr=0.0, routing_penalty=0.0)
    assert result.networks.teacher is result.teacher_logits is None
    assert not result.teacher_state
    assert set(result.terms) == {"cross_entropy", "distillation"}
    assert "multipliers" not in gradients
    assert torch.equal(result.networks.adapted, result.networks.merged)
    result, _ = task(pool, distillation_weight=0.0)
    assert result.teacher_logits is None
    assert "distillation" not in result.terms


def test_multipliers_of_experts_that_meet_the_target_are_zero() -> None:
    pool = vit_pool().train()
    with torch.no_grad():
        pool.update.gate_logits[1] = -4
    multipliers = nn.Parameter(torch.ones(3, dtype=torch.float64))
    result = train_task(pool, multipliers, random_episode(), ObjectiveConfig(), target_sparsity=0.9)
    assert result.sparsity[1] == 1
    assert multipliers.tolist() == [1, 0, 1]
    assert (multipliers.grad[[0, 2]] < 0).all(), "descent raises the multipliers of dense experts"


def test_noise_reaches_gates_and_routing() -> None:
    pool, episode = vit_pool().train(), random_episode()
    u = torch.rand(3, pool.layout.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = TaskNoise(lambda start, stop: u[:, start:stop], torch.tensor([0.2, 0.7, 0.5], dtype=torch.float64))
    multipliers = nn.Parameter(torch.ones(3, dtype=torch.float64))
    result = train_task(
        pool, multipliers, episode, ObjectiveConfig(), target_sparsity=0.9, noise=noise, keep_networks=True
    )
    scores = torch.sigmoid((result.routing_logits + torch.logit(noise.routing)) / pool.temperature)
    assert torch.allclose(result.merge_weights, scores / scores.sum())
    expected = pool.pretrained + (result.merge_weights @ pool.gates(noise.gates)) * pool.update.delta
    assert torch.allclose(result.networks.merged, expected, rtol=0, atol=1e-12)


def test_distillation_is_the_divergence_in_the_direction_asked_for() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    q = torch.tensor([[0.3, 0.3, 0.4]], dtype=torch.float64)
    student, target = (2 * q.log()).repeat(4, 1), (2 * p.log()).repeat(4, 1)  # at temperature 2
    forwards, backwards = (p * (p / q).log()).sum(), (q * (q / p).log()).sum()
    assert distillation_loss(student, target, 2.0, "target-student").item() == pytest.approx(4 * forwards.item())
    reverse = distillation_loss(student, target, 2.0, "student-target")
    assert reverse.item() == pytest.approx(4 * backwards.item())
    assert distillation_loss(student, student, 2.0, "target-student").item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    "settings", [{"distillation_weight": -0.1}, {"distillation_weight": 1.1}, {"distillation_temperature": 0.0}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ObjectiveConfig(**settings)  # type: ignore[arg-type]


def test_bfloat16_keeps_vectors_and_gradients_in_float32() -> None:
    pool = vit_pool(torch.float32).train()
    gradients = {}
    for precision in ("32-true", "bf16-mixed"):
        multipliers = nn.Parameter(torch.ones(3))
        pool.zero_grad()
        result = train_task(
            pool,
            multipliers,
            random_episode(dtype=torch.float32),
            ObjectiveConfig(),
            target_sparsity=0.9,
            precision=precision,
            keep_networks=True,
        )
        networks = result.networks
        for vector in (networks.merged, networks.adapted, networks.teacher, result.student_logits, result.loss):
            assert vector is not None
            assert vector.dtype == torch.float32
        gradients[precision] = pool.update.delta.grad
    assert cosine_similarity(*gradients.values(), 0) > 0.99


def _effects(folder: Path, data: Path, precision: str, episodes: int) -> dict[str, Tensor]:
    """Changes of the query logits by the inner and by the teacher's step, over some episodes."""
    backbone = backbones.load(folder)
    with seeded_torch(0, "effects"):
        pool = SparseInterpolatedExperts(backbone, PoolConfig(experts=2)).train()
    source = EpisodeSource(
        [open_domain(data)],
        "test",
        FixedSampler(5, 5, 10),
        image_format=backbone.spec.image_format,
    )
    effects: dict[str, list[Tensor]] = {"inner": [], "teacher": []}
    for n in range(episodes):
        episode, multipliers = source.episode(n), nn.Parameter(torch.zeros(2))
        result = train_task(
            pool, multipliers, episode, ObjectiveConfig(), target_sparsity=None, precision=precision, keep_networks=True
        )  # type: ignore[arg-type]
        with torch.no_grad():
            features = pool.network(result.networks.merged, precision)(episode.query)  # type: ignore[arg-type]
        before = cosine_logits(features, result.state["prototypes"])
        effects["inner"].append(result.student_logits - before)
        assert result.teacher_logits is not None
        effects["teacher"].append(result.teacher_logits - result.student_logits)
    return {name: torch.cat(parts).flatten() for name, parts in effects.items()}


@pytest.mark.slow
def test_both_steps_move_the_logits_as_far_in_bfloat16_as_in_float32() -> None:
    """On weights stored in float16: rounding those to the nearest makes the inner step 5 to 9 times too large."""
    folder, data = SHARED / "backbone" / "vit_tiny_8_64", SHARED / "data" / "quickdraw.parquet"
    if not (folder.exists() and data.exists()):
        pytest.skip(f"needs the network {folder} and the images {data}")
    exact, rounded = (_effects(folder, data, precision, episodes=2) for precision in ("32-true", "bf16-mixed"))
    for step, spread, alike in (("inner", 0.15, 0.8), ("teacher", 0.1, 0.98)):
        a, b = exact[step], rounded[step]
        # activations in bfloat16 add noise in all directions: the size is that along the exact change
        assert float(a @ b / (a @ a)) == pytest.approx(1, abs=spread), step
        assert cosine_similarity(a, b, 0) > alike, step
