"""Figures of `smat reproduce`."""

import numpy as np

from smat.recipes.reproduce.trade_offs import shared_labels


def test_points_on_one_another_share_a_label() -> None:
    pixels = np.array([[0.0, 0.0], [100.0, 0.0], [108.0, 5.0], [100.0, 40.0], [116.0, 5.0]])
    found = shared_labels(["a", "b", "c", "d", "e"], pixels / 10, pixels)
    assert [label for label, _ in found] == ["a", "b, c, e", "d"]  # e lies near c, not b
    assert [tuple(place) for _, place in found] == [(0, 0), (10, 0), (10, 4)]
