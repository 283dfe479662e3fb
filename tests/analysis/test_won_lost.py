"""Single images by the frozen and the merged network: of made-up probabilities by hand, and on pocket domains."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smat.analysis import won_lost
from smat.analysis.accuracy import accuracy_grid
from smat.analysis.won_lost import Judgement, WonLost, compare_queries, distinct, thumbnails
from smat.episodes import FixedSampler
from smat.errors import ConfigError
from smat.evaluation import Experts, FixedFeatures, Frozen, domain_sources, evaluate_domain
from smat.experts import SparseInterpolatedExperts
from smat.heads import LDA, Prototype
from smat.left_out import collecting
from smat.statistics import interval, paired_difference
from tiny import tiny_pool, tiny_source

SOURCE = tiny_source("test", "glyphs")  # 3-way, 2 queries a class


def trained_pool(**settings: Any) -> SparseInterpolatedExperts:
    pool = tiny_pool(**settings)
    for delta in pool.update.parameter_vectors():
        nn.init.normal_(delta, std=0.5, generator=torch.Generator().manual_seed(0))
    return pool


def compared(pool: SparseInterpolatedExperts, episodes: int = 3, **settings: Any) -> WonLost:
    return compare_queries(pool, FixedFeatures(pool), SOURCE, episodes, **settings)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> WonLost:
    """Two episodes. The frozen network gets the first query of each class wrong, the merged one those of class 1."""

    def frozen(episode: Any, features: Any) -> Tensor:
        wrong = torch.tensor([1, 0, 1, 0, 1, 0])
        return 0.3 + 0.4 * nn.functional.one_hot((episode.query_labels + wrong) % 3, 3) - 0.1

    def merged(episode: Any, features: Any) -> Tensor:
        wrong = (episode.query_labels == 1).long() * 2
        return 0.1 + 0.7 * nn.functional.one_hot((episode.query_labels + wrong) % 3, 3)

    both = {"frozen": frozen, "merged": merged}
    monkeypatch.setattr(won_lost, "contenders", lambda *arguments: both)
    return compared(tiny_pool(), 2)


def test_images_are_won_and_lost(by_hand: WonLost) -> None:
    plans = [SOURCE.plan(n) for n in range(2)]
    assert [query.row for query in by_hand.judgements] == [row for plan in plans for row in plan.query_rows]
    assert [query.row for query in by_hand.won] == [plan.query_rows[i] for plan in plans for i in (0, 4)]
    assert [query.row for query in by_hand.lost] == [plan.query_rows[3] for plan in plans]
    first = by_hand.won[0]
    assert (first.episode, first.label, first.merged) == (plans[0].id, plans[0].classes[0], plans[0].classes[0])
    assert first.frozen == plans[0].classes[1]


def test_margins_are_of_the_right_class_less_the_best_other(by_hand: WonLost) -> None:
    first, second, _, lost, *_ = by_hand.judgements
    assert (first.frozen_margin, first.merged_margin, first.gain) == pytest.approx((-0.4, 0.7, 1.1))
    assert (second.frozen_margin, second.merged_margin, second.gain) == pytest.approx((0.4, 0.7, 0.3))
    assert (lost.frozen_margin, lost.merged_margin, lost.gain) == pytest.approx((0.4, -0.7, -1.1))


def test_accuracies_are_paired_by_episode(by_hand: WonLost) -> None:
    accuracy = by_hand.accuracy
    assert (accuracy.episodes, accuracy.frozen.mean, accuracy.merged.mean) == pytest.approx((2, 1 / 2, 2 / 3))
    assert (accuracy.difference.mean, accuracy.difference.standard_error) == pytest.approx((1 / 6, 0))


def test_confusions_are_counted_by_what_could_be_chosen(by_hand: WonLost) -> None:
    confusion, plans = by_hand.confusion, [SOURCE.plan(n) for n in range(2)]
    assert confusion.classes == tuple(sorted({name for plan in plans for name in plan.classes}))
    offered, frozen, merged = (np.zeros((len(confusion.classes),) * 2, dtype=int) for _ in range(3))
    for plan in plans:
        there = [confusion.classes.index(name) for name in plan.classes]
        offered[np.ix_(there, there)] += 2
        for label, row in enumerate(there):
            frozen[row, [row, there[(label + 1) % 3]]] += 1
            merged[row, there[0] if label == 1 else row] += 2
    assert (confusion.offered == offered).all()
    assert (confusion.frozen == frozen).all()
    assert (confusion.merged == merged).all()


def test_those_that_gain_and_lose_most_come_first(by_hand: WonLost) -> None:
    def query(row: int, right: bool, margin: float) -> Judgement:
        return Judgement("e", row, "a", "b" if right else "a", "a" if right else "b", -margin, margin)

    queries = (query(3, True, 0.1), query(5, True, 0.2), query(3, True, 0.3), query(7, False, -0.1))
    found = replace(by_hand, judgements=(*queries, query(8, False, -0.4)))
    assert [(q.row, q.merged_margin) for q in found.won] == [(3, 0.3), (5, 0.2), (3, 0.1)]
    assert [q.row for q in found.lost] == [8, 7]
    assert [q.row for q in distinct(found.won, 5)] == [3, 5]
    assert [q.row for q in distinct(found.won, 1)] == [3]


def test_experts_that_add_nothing_change_nothing() -> None:
    found = compared(tiny_pool())
    assert not found.won
    assert not found.lost
    assert all(query.gain == pytest.approx(0, abs=1e-6) for query in found.judgements)
    assert (found.accuracy.difference.mean, found.accuracy.difference.half_width) == (0, 0)


@pytest.mark.parametrize("settings", [{}, {"experts": 1, "gating": "open", "learned_head": True}])
@pytest.mark.parametrize("head", [None, LDA()])
def test_accuracies_are_those_of_an_evaluation(settings: dict[str, Any], head: Any) -> None:
    pool = trained_pool(**settings)
    both = {"frozen": Frozen(head or Prototype()), "merged": Experts(pool, head=head)}
    rows = evaluate_domain(both, FixedFeatures(pool), SOURCE, 3)
    found = compared(pool, head=head)
    frozen, merged = ([row.outcomes[name].accuracy for row in rows] for name in both)
    assert found.accuracy.frozen == pytest.approx(interval(frozen))
    assert found.accuracy.merged == pytest.approx(interval(merged))
    assert len(found.won) - len(found.lost) == pytest.approx(found.accuracy.difference.mean * len(found.judgements))


def test_a_learned_scale_counts_for_both() -> None:
    pool = tiny_pool(experts=1, learned_head=True)
    pool.head.data[0] = 0.0  # type: ignore[union-attr]  (all classes alike)
    assert all(query.frozen_margin == pytest.approx(0, abs=1e-6) for query in compared(pool).judgements)


def test_each_image_passes_through_each_network_once() -> None:
    pool, seen = trained_pool(), []
    pool.backbone.network.register_forward_pre_hook(lambda module, images: seen.append(len(images[0])))
    compared(pool, 2)
    plans = [SOURCE.plan(n) for n in range(2)]
    rows = [row for plan in plans for row in plan.support_rows + plan.query_rows]
    assert sum(seen) == len(set(rows)) + len(rows)


def test_no_experts_and_no_episodes() -> None:
    with pytest.raises(ConfigError, match="no experts"):
        compared(tiny_pool(experts=0))
    with pytest.raises(ConfigError, match="episodes is 0"):
        compared(tiny_pool(), 0)


def test_accuracy_against_ways_and_shots_is_that_of_evaluations() -> None:
    pool = trained_pool()
    cells = accuracy_grid(pool, FixedFeatures(pool), SOURCE, 2, ways=(2, 3), shots=(1, 4), query=3)
    assert [(cell.way, cell.shot) for cell in cells] == [(2, 1), (2, 4), (3, 1), (3, 4)]
    sampler = FixedSampler(3, 1, 3)
    (source,) = domain_sources(SOURCE.image_format, SOURCE.domains, "test", sampler, SOURCE.transforms, SOURCE.seed)
    rows = evaluate_domain({"frozen": Frozen(), "merged": Experts(pool)}, FixedFeatures(pool), source, 2)
    frozen, merged = ([row.outcomes[name].accuracy for row in rows] for name in ("frozen", "merged"))
    assert cells[2].accuracy.difference == paired_difference(merged, frozen)


def test_what_the_domain_is_too_small_for_is_left_out_with_a_word() -> None:
    pool, told = trained_pool(), []
    with collecting() as left:
        cells = accuracy_grid(
            pool,
            FixedFeatures(pool),
            SOURCE,
            1,
            ways=(2, 99),
            shots=(1, 9999),
            query=2,
            on_episode=told.append,
        )
    assert [(cell.way, cell.shot) for cell in cells] == [(2, 1)]
    assert told == ["glyphs"]
    (entry,) = left
    assert list(entry.names) == [f"glyphs, {each}-shot" for each in ("2-way 9999", "99-way 1", "99-way 9999")]


def test_thumbnails_are_the_images_of_the_domain() -> None:
    (domain,) = SOURCE.domains
    found = thumbnails(domain, [4, 2], 20)
    assert torch.equal(found, torch.stack([domain.canvas(4, 20), domain.canvas(2, 20)]))
    assert thumbnails(domain, [], 20).shape == (0, 3, 20, 20)
