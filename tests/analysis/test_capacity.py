"""Shares of open gates and energies by type and depth of layer, counted by hand."""

import numpy as np
import pytest

from made_masks import made_contributions, made_layers
from small_pools import vit_pool
from smat.analysis import capacity, read_contributions

LAYERS = made_layers(("query", "1", 2), ("bias", "1", 1), ("query", "2", 2), ("norm", "rest", 1))
MASKS = [[1, 0, 1, 1, 1, 0], [1, 1, 0, 0, 1, 0]]
ADDED = [3, 4, 1, 0, 4, 7]
MADE = made_contributions(LAYERS, MASKS, ADDED)


def test_by_type() -> None:
    found = capacity(MADE, "type")
    assert found.labels == (("query", "norm", "bias"),)
    assert found.params.tolist() == [4, 1, 1]
    assert found.open.tolist() == [[3, 0, 1], [3, 0, 0]]
    assert found.open_in_any.tolist() == [4, 0, 1]
    assert found.share.tolist() == [[0.75, 0, 1], [0.75, 0, 0]]
    assert found.share_in_any.tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.energy, [[5, 0, 1], [(9 + 16 + 16) ** 0.5, 0, 0]])
    np.testing.assert_allclose(found.pretrained_energy, [2, 1, 1])
    np.testing.assert_allclose(found.relative_energy[0], [2.5, 0, 1])


def test_by_depth() -> None:
    found = capacity(MADE, "depth")
    assert found.labels == (("1", "2", "rest"),)
    assert found.open.tolist() == [[2, 2, 0], [2, 1, 0]]
    np.testing.assert_allclose(found.energy, [[10**0.5, 4, 0], [5, 4, 0]])


def test_by_both_as_a_grid() -> None:
    found = capacity(MADE, "type", "depth")
    assert found.params.tolist() == [[2, 2, 0], [0, 0, 1], [1, 0, 0]]
    assert found.open[0].tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert np.array_equal(np.isnan(found.share[0]), found.params == 0)
    assert np.array_equal(np.isnan(found.relative_energy[0]), found.params == 0)


def test_of_the_whole_network() -> None:
    found = capacity(MADE)
    assert found.params == 6
    assert found.open.tolist() == [4, 3]
    assert found.open_in_any == 5
    np.testing.assert_allclose(found.energy, [26**0.5, 41**0.5])


@pytest.mark.parametrize("axes", [(), ("type",), ("depth",), ("type", "depth")])
def test_groups_of_a_pool_make_up_the_whole(axes: tuple) -> None:
    pool = vit_pool()
    contributions = read_contributions(pool)
    found = capacity(contributions, *axes)
    assert found.params.sum() == pool.layout.size
    assert found.open.reshape(3, -1).sum(1).tolist() == contributions.masks.sum(1).tolist()
    assert found.open_in_any.sum() == contributions.masks.any(0).sum()
    energy = np.square(found.energy).reshape(3, -1).sum(1)
    np.testing.assert_allclose(energy, contributions.energy.sum(1))
