"""Dendrograms of distances whose tree is known."""

import math

import numpy as np
import pytest

from smat.analysis.dendrogram import cluster
from smat.errors import DataError

# two pairs, 1 and 2 apart, whose members are 6, 8, 7 and 7 apart: on average 7
PAIRS = np.array([[0, 6, 1, 8], [6, 0, 7, 2], [1, 7, 0, 7], [8, 2, 7, 0]], dtype=np.float64)


def test_groups_are_joined_at_the_mean_of_their_distances() -> None:
    found = cluster(PAIRS, ["a0", "b0", "a1", "b1"], ["a", "b", "a", "b"])
    assert found.linkage[:, 2].tolist() == [1, 2, 7]
    assert [set(map(int, row[:2])) for row in found.linkage] == [{0, 2}, {1, 3}, {4, 5}]
    assert found.linkage[:, 3].tolist() == [2, 2, 4]
    assert found.labels == ("a0", "b0", "a1", "b1")
    assert found.groups == ("a", "b", "a", "b")


def test_neighbouring_leaves_are_as_near_as_the_tree_allows() -> None:
    order = cluster(PAIRS, list("wxyz"), list("abab")).order  # of the four ways to put the pairs, 0 and 1 are nearest
    assert list(order) in ([2, 0, 1, 3], [3, 1, 0, 2])


def test_the_agreement_with_the_domains() -> None:
    assert cluster(PAIRS, list("wxyz"), list("abab")).agreement == 1
    assert cluster(PAIRS, list("wxyz"), list("aabb")).agreement == pytest.approx(-0.5)


def test_a_tree_that_is_in_the_distances_is_found_whole() -> None:
    tree = np.array([[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 2], [4, 4, 2, 0]], dtype=np.float64)
    assert cluster(tree, list("wxyz"), list("aabb")).cophenetic == pytest.approx(1)
    in_tree = [7, 1, 7, 7, 2, 7]
    assert cluster(PAIRS, list("wxyz"), list("abab")).cophenetic == pytest.approx(
        np.corrcoef(PAIRS[np.triu_indices(4, 1)], in_tree)[0, 1]
    )


def test_what_cannot_be_said_is_not_a_number() -> None:
    alike = cluster(np.zeros((3, 3)), list("xyz"), list("xyz"))
    assert math.isnan(alike.cophenetic)
    assert math.isnan(alike.agreement)
    assert math.isnan(cluster(PAIRS, list("wxyz"), list("aaaa")).agreement)


def test_one_leaf_makes_no_tree() -> None:
    with pytest.raises(DataError, match="2 or more tasks or domains; got 1"):
        cluster(np.zeros((1, 1)), ["a"], ["a"])
