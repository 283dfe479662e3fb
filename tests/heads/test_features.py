"""Features of a task: each pass through a network once, whichever heads want what of it."""

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from smat.heads import WHOLE, InViews, TaskFeatures, Views, query_features, support_features
from smat.heads.features import averaged, side_by_side
from smat.heads.views import CENTRE, CORNERS, ONE_VIEW
from smat.rng import seeded_torch


class Projection:
    """A random linear network that counts its images."""

    def __init__(self, seed: int, dim: int = 5) -> None:
        with seeded_torch(seed, "projection"):
            self.matrix = torch.randn(3 * 8 * 8, dim, dtype=torch.float64)
        self.passes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        return images.flatten(1) @ self.matrix


def task(support: int = 4, query: int = 3) -> tuple[Tensor, Tensor]:
    with seeded_torch(0, "task of images"):
        images = torch.randn(support + query, 3, 8, 8, dtype=torch.float64)
    return images[:support], images[support:]


@pytest.mark.parametrize("views", [ONE_VIEW, Views.of(1), Views.of(2), Views.of(4), Views((WHOLE, CENTRE), (WHOLE,))])
@pytest.mark.parametrize("count", [1, 2])
def test_features_are_those_of_separate_passes(views: Views, count: int) -> None:
    support, query = task()
    networks = [Projection(seed) for seed in range(count)]
    found = TaskFeatures(support, query).of(dict(enumerate(networks)), views)
    torch.testing.assert_close(found[0], support_features(networks, support, views.support))
    torch.testing.assert_close(found[1], query_features(networks, query, views.query))
    assert found[0].shape == (4 * len(views.support), 5 * count)
    assert found[1].shape == (3, 5 * count)


def test_the_order_is_by_view_and_networks_lie_side_by_side() -> None:
    support, query = task()
    first, second = Projection(0), Projection(1)
    found, wanted = TaskFeatures(support, query).of({"a": first, "b": second}, Views.of(2))
    for place, view in enumerate((CENTRE, *CORNERS[:2])):
        rows = found[4 * place : 4 * place + 4]
        torch.testing.assert_close(rows[:, :5], normalize(first(view(support))))
        torch.testing.assert_close(rows[:, 5:], normalize(second(view(support))))
    each = [torch.cat([normalize(n(view(query))) for n in (first, second)], 1) for view in CORNERS[:2]]
    torch.testing.assert_close(wanted, (normalize(each[0]) + normalize(each[1])) / 2)


def test_one_network_in_one_view_gives_its_features_as_they_are() -> None:
    features = 3 * torch.randn(4, 5)
    assert side_by_side([features]) is features
    assert averaged([features]) is features


def test_no_image_passes_twice_and_support_and_query_pass_together() -> None:
    features, network, other = TaskFeatures(*task()), Projection(0), Projection(1)
    for views in (ONE_VIEW, Views.of(2), InViews(passes=2).views, ONE_VIEW):
        features.of({"merged": network}, views)
    assert network.passes == [7, 4, 7, 7]  # whole; then the support's centre, and two corners of both
    features.of({"merged": network}, Views.of(4))
    assert network.passes == [7, 4, 7, 7, 7, 7]
    features.of({"merged": network, "frozen": other}, Views((CENTRE, WHOLE), (CENTRE, WHOLE)))
    assert network.passes == [7, 4, 7, 7, 7, 7, 3]  # the queries' centre was not known yet
    assert other.passes == [7, 7]


def test_the_time_of_what_was_known_already_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.heads.features.time.perf_counter", stopwatch())
    features, network = TaskFeatures(*task()), Projection(0)
    features.of({"merged": network}, ONE_VIEW)
    assert features.reused == 0
    features.of({"merged": network}, ONE_VIEW)
    assert features.reused == pytest.approx(1)
    features.reused = 0.0
    features.of({"merged": network}, Views((WHOLE, CENTRE), (CENTRE,)))
    assert features.reused == pytest.approx(4 / 7)  # the support's share of the first pass
    features.of({"merged": network}, Views((CENTRE,), (CENTRE,)))
    assert features.reused == pytest.approx(4 / 7 + 1)


def stopwatch() -> Callable[[], float]:
    """A clock by which whatever happens between two looks takes a second."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def test_networks_are_told_apart_by_their_keys() -> None:
    features, networks = TaskFeatures(*task()), [Projection(0), Projection(1)]
    found: Sequence[Tensor] = [features.of({key: network}, ONE_VIEW)[1] for key, network in enumerate(networks)]
    assert not torch.equal(*found)
