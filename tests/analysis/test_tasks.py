"""What a router makes of tasks: numbers of made-up weights by hand, and those of a pool on pocket domains."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small_images import write_folders
from smat.analysis.tasks import Tasks, join, place, recognise_domains, route_own, route_tasks
from smat.domains import open_domain
from smat.episodes import TransformConfig, plain_transform
from smat.errors import ConfigError, DataError
from smat.evaluation import FixedFeatures
from tiny import IMAGE_SIZE, tiny_pool, tiny_source

NAMES = ("glyphs", "polygons")


def made(weights: list[list[float]], domain: list[int], routes: int | None = None) -> Tasks:
    """Tasks of domains a, b, ... with such merge weights."""
    names = tuple("abcdef"[: max(domain) + 1])
    ids = tuple(f"{names[index]}/{number}" for number, index in enumerate(domain))
    logits = np.zeros((len(weights), routes or len(weights[0])))
    return Tasks(ids, names, ("",) * len(names), np.array(domain), np.array(weights, float), logits)


APART = made([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]], [0, 0, 1, 1])


def routed(episodes: int = 3, **settings: Any) -> Tasks:
    pool = tiny_pool(**settings)
    return route_tasks(pool, FixedFeatures(pool), [tiny_source("test", name) for name in NAMES], episodes)


def test_entropy_is_0_for_one_expert_and_1_for_all_alike() -> None:
    tasks = made([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]], [0, 0, 1])
    np.testing.assert_allclose(tasks.entropy, [0, 0.5, 1])
    np.testing.assert_allclose(tasks.mean_entropy, [0.25, 1])


def test_a_null_expert_is_one_more_entry() -> None:
    tasks = made([[0.25, 0.25], [0, 0]], [0, 1], routes=3)
    np.testing.assert_allclose(tasks.shares, [[0.25, 0.25, 0.5], [0, 0, 1]])
    np.testing.assert_allclose(tasks.entropy, [1.5 * math.log(2) / math.log(3), 0])
    np.testing.assert_allclose(tasks.mean_weights, [[0.25, 0.25], [0, 0]])
    assert made([[0.5, 0.5]], [0], routes=3).shares.shape == (1, 3)


def test_one_expert_alone_has_no_entropy() -> None:
    assert made([[1.0]], [0]).entropy.tolist() == [0]


def test_an_expert_is_idle_that_no_domain_uses() -> None:
    tasks = made([[0.96, 0.04, 0], [0.96, 0.04, 0], [0.97, 0.02, 0.01]], [0, 0, 1])
    assert tasks.idle.tolist() == [False, False, True]
    assert made([[0.97, 0.03, 0]], [0]).idle.tolist() == [False, True, True]  # the bound is 1/30


def test_tasks_together_are_by_the_names_of_their_domains() -> None:
    both = join([APART, made([[0.3, 0.7]], [0]), made([[0, 1], [1, 0], [1, 0]], [0, 2, 1])])
    assert both.domains == ("a", "b", "c")
    assert both.domain.tolist() == [0, 0, 1, 1, 0, 0, 2, 1]
    np.testing.assert_allclose(both.mean_weights[0], [(0.9 + 0.8 + 0.3 + 0) / 4, (0.1 + 0.2 + 0.7 + 1) / 4])
    with pytest.raises(DataError, match="no tasks"):
        join([])


def test_domains_whose_weights_lie_apart_are_recognised() -> None:
    found = recognise_domains(APART)
    assert (found.accuracy, found.chance) == (1, 0.5)
    z = 1.959964
    assert (found.low, found.high) == pytest.approx((4 / (4 + z**2), 1))
    assert found.confusion.tolist() == [[2, 0], [0, 2]]


def test_a_task_does_not_help_to_recognise_itself() -> None:
    between = [0.1, 0.8, 0.1]
    tasks = made([[1, 0, 0], [0, 0, 1], between, between], [0, 0, 1, 1])  # nearer to (0.5, 0, 0.5) than to those
    assert recognise_domains(tasks).confusion.tolist() == [[0, 2], [0, 2]]


def test_weights_that_say_nothing_recognise_the_first_domain() -> None:
    found = recognise_domains(made([[1.0]] * 6, [0, 0, 1, 1, 2, 2]))
    assert found.accuracy == found.chance == pytest.approx(1 / 3)


@pytest.mark.parametrize(("weights", "domain"), [([[1.0], [1.0]], [0, 0]), ([[1.0]] * 3, [0, 0, 1])])
def test_too_little_to_recognise(weights: list[list[float]], domain: list[int]) -> None:
    with pytest.raises(DataError, match="2 or more tasks of each of 2 or more domains"):
        recognise_domains(made(weights, domain))


def test_where_tasks_of_one_s_own_lie() -> None:
    own = made([[0.85, 0.15], [0.0, 1.0]], [0, 1])
    middle, outside = place(own, APART)
    assert [name for name, _ in middle.nearest] == ["a", "b"]
    assert middle.nearest[0][1] == pytest.approx(0, abs=1e-6)
    assert middle.within == 1
    assert [name for name, _ in outside.nearest] == ["b", "a"]
    assert outside.within == 0
    assert outside.weights.tolist() == [0, 1]
    assert (middle.entropy, outside.entropy) == pytest.approx((own.entropy[0], 0))


@pytest.mark.parametrize("settings", [{}, {"null_expert": True}, {"experts": 1}, {"gating": "open", "experts": 3}])
def test_tasks_are_routed_as_pools_route_them(settings: dict[str, Any]) -> None:
    tasks, pool = routed(**settings), tiny_pool(**settings)
    assert tasks.domains == NAMES
    assert tasks.domain.tolist() == [0, 0, 0, 1, 1, 1]
    for index, name in enumerate(NAMES):
        source = tiny_source("test", name)
        for n in range(3):
            episode = source.episode(n)
            _, weights = pool.merged_for(episode.support, episode.support_labels)
            assert tasks.ids[3 * index + n] == episode.plan.id
            np.testing.assert_allclose(tasks.weights[3 * index + n], weights.numpy(), atol=1e-6)
    assert tasks.logits.shape[1] == pool.config.routes
    np.testing.assert_allclose(tasks.shares.sum(1), 1)


def test_the_features_of_the_support_are_left_for_others() -> None:
    pool, source = tiny_pool(), tiny_source("test", "glyphs")
    frozen = FixedFeatures(pool)
    route_tasks(pool, frozen, [source], 2)
    assert {row for _, row, _ in frozen.kept} == {row for n in range(2) for row in source.plan(n).support_rows}


def test_each_task_is_told() -> None:
    told: list[str] = []
    pool = tiny_pool()
    route_tasks(pool, FixedFeatures(pool), [tiny_source("test", n) for n in NAMES], 2, on_task=told.append)
    assert told == ["glyphs", "glyphs", "polygons", "polygons"]


def test_a_pool_without_experts_and_no_episodes() -> None:
    with pytest.raises(ConfigError, match="no experts"):
        routed(experts=0)
    with pytest.raises(ConfigError, match="episodes is 0"):
        routed(episodes=0)


def test_a_folder_of_one_s_own_is_one_task_of_all_its_images(tmp_path: Path) -> None:
    folder, pool = write_folders(tmp_path / "mine", {"cup": 5, "bowl": 70}), tiny_pool().train()
    domain = open_domain(folder)
    task = route_own(pool, domain, margin=1.0)
    assert pool.training
    assert (task.ids, task.domains) == (("mine",), ("mine",))
    rows = [row for name in ("bowl", "cup") for row in domain.rows(name).tolist()]
    side = TransformConfig(margin=1.0).canvas_size(IMAGE_SIZE)
    canvases = torch.stack([domain.canvas(row, side) for row in rows])
    images = plain_transform(canvases, pool.backbone.spec.image_format)
    _, weights = pool.eval().merged_for(images, torch.tensor([0] * 70 + [1] * 5))
    np.testing.assert_allclose(task.weights[0], weights.numpy(), atol=1e-6)


def test_a_task_needs_two_classes(tmp_path: Path) -> None:
    domain = open_domain(write_folders(tmp_path / "mine", {"cup": 5}))
    with pytest.raises(DataError, match="'mine' has one class, 'cup'"):
        route_own(tiny_pool(), domain)
