"""Contenders of an episode share passes through networks, and find what they would find alone."""

from collections.abc import Callable, Mapping

import pytest
import torch

from smat.episodes import EpisodeSource
from smat.evaluation import Contender, EpisodeFeatures, Experts, FixedFeatures, Frozen, evaluate_domain
from smat.experts import SparseInterpolatedExperts, Strength
from smat.heads import LDA, Auto, Each, Head, InViews, Prototype, Ridge, Views, specialise
from smat.heads.views import CENTRE, ONE_VIEW
from tiny_pool import images_seen, make_pool

Source = Callable[..., EpisodeSource]
EPISODES, IMAGES = 3, 3 * (2 + 4)
FROZEN, MERGED = Strength(0.0, 0.0), Strength()


def seen(source: EpisodeSource, pool: SparseInterpolatedExperts, contenders: Mapping[str, Contender]) -> int:
    """Images that pass through the network while contenders are evaluated."""
    before = images_seen(pool)
    evaluate_domain(contenders, FixedFeatures(pool), source, EPISODES)
    return images_seen(pool) - before


def distinct(source: EpisodeSource, part: str = "both") -> int:
    """Different images of the episodes, or of their support or query parts."""
    plans = [source.plan(n) for n in range(EPISODES)]
    rows = {"support": [], "query": []}
    for plan in plans:
        rows["support"] += plan.support_rows
        rows["query"] += plan.query_rows
    return len(set(rows["support"] + rows["query"] if part == "both" else rows[part]))


def test_heads_on_the_merged_network_share_its_pass(source: Source) -> None:
    pool = make_pool()
    one = seen(source(), pool, {"smat": Experts(pool)})
    assert one == distinct(source()) + EPISODES * IMAGES
    heads: list[Head] = [Prototype(), Ridge(), LDA(), Auto(0)]
    assert seen(source(), pool, {str(n): Experts(pool, head=head) for n, head in enumerate(heads)}) == one


def test_the_frozen_network_at_strength_0_is_the_one_that_all_share(source: Source) -> None:
    pool = make_pool()
    one = seen(source(), pool, {"smat": Experts(pool)})
    both = Experts(pool, head=Each(), strengths=(FROZEN, MERGED))
    assert seen(source(), pool, {"both": both, "pretrained": Frozen(), "smat": Experts(pool)}) == one
    three = Experts(pool, head=Each(), strengths=(FROZEN, Strength(0.5, 0.5), MERGED))
    assert seen(source(), pool, {"both": both, "three": three}) == one + EPISODES * IMAGES


def test_pools_around_one_backbone_share_the_frozen_network_alone(source: Source) -> None:
    pool, other = make_pool(), make_pool(delta=0.3)
    contenders = {"pretrained": Frozen(), "one": Experts(pool), "other": Experts(other)}
    assert seen(source(), pool, contenders) == distinct(source()) + EPISODES * IMAGES
    assert images_seen(other) == EPISODES * IMAGES


def test_views_that_heads_have_in_common_pass_once(source: Source) -> None:
    pool, views = make_pool(), Views.of(2)
    whole = distinct(source()) + EPISODES * IMAGES
    merged_views = EPISODES * (3 * 2 * len(views.support) + 3 * 4 * len(views.query))
    alone = seen(source(), pool, {"lda": Experts(pool, head=InViews(LDA(), 2))})
    assert alone == distinct(source()) + merged_views
    heads: list[Head] = [InViews(LDA(), 2), InViews(Ridge(), 2), Auto(2), Prototype()]
    together = seen(source(), pool, {str(n): Experts(pool, head=head) for n, head in enumerate(heads)})
    assert together == whole + merged_views


def test_the_frozen_network_sees_an_image_once_in_each_view(source: Source) -> None:
    pool, views = make_pool(experts=0), Views.of(2)
    found = seen(source(), pool, {"pretrained": Frozen(InViews(Prototype(), 2)), "lda": Frozen(InViews(LDA(), 2))})
    corners = len(views.query) * distinct(source())
    assert found == distinct(source()) + distinct(source(), "support") + corners


@pytest.mark.parametrize("head", [Prototype(), InViews(Each(LDA()), 2), Auto(2), Auto(0)])
@pytest.mark.parametrize("strengths", [(MERGED,), (FROZEN, MERGED), (Strength(0.2, 0.8), MERGED)])
def test_outcomes_are_those_of_specialised_networks(
    source: Source, head: Head, strengths: tuple[Strength, ...]
) -> None:
    pool = make_pool().eval()
    contenders = {"first": Experts(pool), "chosen": Experts(pool, head=head, strengths=strengths)}
    rows = evaluate_domain(contenders, FixedFeatures(pool), source(), EPISODES)
    for n, row in enumerate(rows):
        episode = source().episode(n)
        model = specialise(pool, episode.support, episode.support_labels, head=head, strengths=strengths)
        with torch.no_grad():
            expected = model(episode.query).softmax(1).amax(1)
        torch.testing.assert_close(row.outcomes["chosen"].confidence, expected, rtol=1e-4, atol=1e-5)


def test_features_of_one_part_or_view_are_kept_by_both(source: Source) -> None:
    pool, episode = make_pool(experts=0), source().episode(0)
    fixed = FixedFeatures(pool)
    whole = fixed(episode)
    assert torch.equal(fixed(episode, parts=("query",)), whole[6:])
    assert images_seen(pool) == IMAGES
    centre = fixed(episode, CENTRE, ("support",))
    assert images_seen(pool) == IMAGES + 6
    expected = pool.backbone(CENTRE(episode.support))
    torch.testing.assert_close(centre, expected)
    assert not torch.allclose(centre, whole[:6])


def test_a_pool_at_strengths_gives_features_side_by_side(source: Source) -> None:
    pool, episode = make_pool().eval(), source().episode(0)
    features = EpisodeFeatures(episode, FixedFeatures(pool))
    with torch.no_grad():
        support, query = features.at_strengths(pool, "32-true", (FROZEN, MERGED), ONE_VIEW)
        alone, _ = features.at_strengths(pool, "32-true", (FROZEN,), ONE_VIEW)
    assert (support.shape, query.shape) == ((6, 32), (12, 32))
    torch.testing.assert_close(alone, pool.backbone(episode.support))
    torch.testing.assert_close(support[:, :16], torch.nn.functional.normalize(alone, dim=1))
