"""Accuracies over episodes, against specialising a pool by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from smat.episodes import EpisodeSource, VariableSampler
from smat.errors import ConfigError
from smat.evaluation import EpisodeRow, Experts, FixedFeatures, Frozen, evaluate_domain, protocol
from smat.experts import FeatureCache, RouterConfig, SparseInterpolatedExperts
from smat.heads import specialise
from smat.precision import NetworkPrecision
from tiny_pool import images_seen, make_pool

Source = Callable[..., EpisodeSource]
BOTH = ("smat", "pretrained")


def rows_of(
    pool: SparseInterpolatedExperts,
    source: EpisodeSource,
    episodes: int,
    methods: Sequence[str] = BOTH,
    precision: NetworkPrecision = "32-true",
    **more: Any,
) -> list[EpisodeRow]:
    contenders = {"smat": Experts(pool, precision), "pretrained": Frozen()}
    chosen = {method: contenders[method] for method in methods}
    return evaluate_domain(chosen, FixedFeatures(pool, precision), source, episodes, **more)


def by_hand(pool: SparseInterpolatedExperts, source: EpisodeSource, episodes: int) -> list[torch.Tensor]:
    pool.eval()
    found = []
    for n in range(episodes):
        e = source.episode(n)
        with torch.no_grad():
            found.append(specialise(pool, e.support, e.support_labels)(e.query).softmax(1))
    return found


@pytest.mark.parametrize("sampler", [None, VariableSampler(max_way=8)])
def test_outcomes_are_those_of_specialised_networks(source: Source, sampler: VariableSampler | None) -> None:
    episodes = source(sampler=sampler)
    rows = rows_of(make_pool(), episodes, 5)
    for method, pool in (("smat", make_pool()), ("pretrained", make_pool(experts=0))):
        for n, (row, probabilities) in enumerate(zip(rows, by_hand(pool, episodes, 5), strict=True)):
            episode = episodes.episode(n)
            torch.testing.assert_close(row.outcomes[method].confidence, probabilities.amax(1), rtol=1e-4, atol=1e-5)
            right = (probabilities.argmax(1) == episode.query_labels).double()
            assert row.outcomes[method].accuracy == pytest.approx(float(right.mean()), abs=1e-9)
            assert (row.id, row.n, row.way) == (f"polygons/test/0/{n}", n, episode.way)
            assert (row.n_support, row.n_query) == (len(episode.support), len(episode.query))


def test_the_two_methods_differ_where_there_are_experts_and_not_otherwise(source: Source) -> None:
    def confidences(pool: SparseInterpolatedExperts) -> list[torch.Tensor]:
        rows = rows_of(pool, source(), 3)
        return [torch.cat([row.outcomes[method].confidence for row in rows]) for method in BOTH]

    smat, pretrained = confidences(make_pool())
    assert not torch.allclose(smat, pretrained, atol=1e-3)
    smat, pretrained = confidences(make_pool(experts=0))
    torch.testing.assert_close(smat, pretrained, rtol=1e-4, atol=1e-5)
    smat, pretrained = confidences(make_pool(delta=0.0))
    torch.testing.assert_close(smat, pretrained, rtol=1e-4, atol=1e-5)


def test_frozen_network_sees_every_image_once_and_the_adapted_one_every_episode_once(source: Source) -> None:
    episodes, images = 6, 3 * (2 + 4)
    plans = [source().plan(n) for n in range(episodes)]
    distinct = len({row for plan in plans for row in plan.support_rows + plan.query_rows})
    assert distinct < episodes * images  # images come again
    pool = make_pool()
    rows_of(pool, source(), episodes, ["pretrained"])
    assert images_seen(pool) == distinct
    pool = make_pool()
    rows_of(pool, source(), episodes)
    assert images_seen(pool) == distinct + episodes * images


@pytest.mark.parametrize(
    "config", [{}, {"gating": "open", "learned_head": True}], ids=["gates", "open gates and a head"]
)
def test_one_expert_sees_every_image_once_and_is_what_specialised_networks_are(source: Source, config: dict) -> None:
    pool = make_pool(experts=1, **config)
    if pool.head is not None:
        pool.head.data.copy_(torch.tensor([7.0, 0.5]))
    plans = [source().plan(n) for n in range(6)]
    distinct = len({row for plan in plans for row in plan.support_rows + plan.query_rows})
    rows = rows_of(pool, source(), 6)
    assert images_seen(pool) == 2 * distinct  # by the untouched network and by the expert
    for row, probabilities in zip(rows, by_hand(pool, source(), 6), strict=True):
        torch.testing.assert_close(row.outcomes["smat"].confidence, probabilities.amax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("experts", [0, 1, 2])
def test_features_on_disk_save_passes_and_change_no_bit(source: Source, tmp_path: Path, experts: int) -> None:
    def found(cache: FeatureCache | None) -> tuple[list[torch.Tensor], int]:
        pool = make_pool(experts)
        contenders: dict[str, Any] = {"pretrained": Frozen()}
        if experts:
            contenders["smat"] = Experts(pool, cache=cache)
        rows = evaluate_domain(contenders, FixedFeatures(pool, cache=cache), source(), 4)
        return [outcome.confidence for row in rows for outcome in row.outcomes.values()], images_seen(pool)

    noise = 2 * (2 if experts == 1 else 1)  # images that tell what each network is
    plain, seen = found(None)
    cold, first = found(FeatureCache(tmp_path))
    warm, second = found(FeatureCache(tmp_path))
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, cold, warm, strict=True))
    assert first == seen + noise
    assert second == noise + (4 * 3 * (2 + 4) if experts == 2 else 0)  # networks merged for a task are not kept


@pytest.mark.parametrize("config", [{"null_expert": True}, {"router": RouterConfig(normalise_single=False)}])
def test_one_expert_whose_weight_depends_on_the_task_is_merged_for_each(source: Source, config: dict) -> None:
    pool = make_pool(experts=1, **config)
    rows = rows_of(pool, source(), 6)
    episodes = [source().episode(n) for n in range(6)]
    weights = torch.cat([specialise(pool, e.support, e.support_labels).merge_weights for e in episodes])
    assert weights.unique().numel() == 6
    assert weights.max() < 1
    for row, probabilities in zip(rows, by_hand(pool, source(), 6), strict=True):
        torch.testing.assert_close(row.outcomes["smat"].confidence, probabilities.amax(1), rtol=1e-4, atol=1e-5)


def test_a_full_store_of_features_forgets_the_oldest_and_changes_nothing(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = rows_of(make_pool(), source(), 8)
    monkeypatch.setattr(protocol, "FEATURES_KEPT", 5)
    pool = make_pool()
    little = rows_of(pool, source(), 8, ["pretrained"])
    assert images_seen(pool) > 8 * 18 - 5 * 8  # at most 5 features are known in each episode
    for a, b in zip(plenty, little, strict=True):
        torch.testing.assert_close(a.outcomes["pretrained"].confidence, b.outcomes["pretrained"].confidence)


def test_the_pool_stays_as_it_was_and_its_mode_does_not_matter(source: Source) -> None:
    pool = make_pool(evaluation_beta=1.0)
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    pool.train()
    training = rows_of(pool, source(), 3)
    assert pool.training
    pool.eval()
    evaluation = rows_of(pool, source(), 3)
    assert not pool.training
    for a, b in zip(training, evaluation, strict=True):
        assert torch.equal(a.outcomes["smat"].confidence, b.outcomes["smat"].confidence)
    assert all(torch.equal(value, before[name]) for name, value in pool.state_dict().items())


def test_rows_do_not_depend_on_workers_and_come_one_by_one(source: Source) -> None:
    heard: list[int] = []
    here = rows_of(make_pool(), source(), 3, on_episode=lambda row: heard.append(row.n))
    there = rows_of(make_pool(), source(), 3, workers=1)
    assert heard == [0, 1, 2]
    for a, b in zip(here, there, strict=True):
        assert a.id == b.id
        assert torch.equal(a.outcomes["smat"].confidence, b.outcomes["smat"].confidence)


def test_bf16_is_close_to_float32(source: Source) -> None:
    exact = rows_of(make_pool(), source(), 2)
    rounded = rows_of(make_pool(), source(), 2, precision="bf16-mixed")
    for a, b in zip(exact, rounded, strict=True):
        torch.testing.assert_close(a.outcomes["smat"].confidence, b.outcomes["smat"].confidence, atol=0.05, rtol=0)
        assert not torch.equal(a.outcomes["smat"].confidence, b.outcomes["smat"].confidence)


def test_settings_that_cannot_work_are_refused(source: Source) -> None:
    with pytest.raises(ConfigError, match="no contenders"):
        rows_of(make_pool(), source(), 3, [])
    with pytest.raises(ConfigError, match="episodes is 0"):
        rows_of(make_pool(), source(), 0)
    with pytest.raises(ConfigError, match="train=False"):
        rows_of(make_pool(), source(train=True), 1)
