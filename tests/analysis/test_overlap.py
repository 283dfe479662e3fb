"""Agreement of masks and what it is by chance, against enumeration, closed forms and simulation."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from made_masks import made_contributions, made_layers
from smat.analysis import compare_masks, overlap, sharing
from smat.analysis.overlap import intersection_distribution, poisson_binomial
from smat.errors import ConfigError

ONE = made_layers(("query", "1", 8))
TWO = made_layers(("query", "1", 4), ("key", "1", 2), ("query", "1", 1), ("query", "2", 3))
CELLS = [[0, 1, 2, 3, 6], [4, 5], [7, 8, 9]]  # parameters of each type and depth in TWO


def every_mask(size: int, cells: list[list[int]], counts: list[int]) -> list[np.ndarray]:
    """All masks with a number of open parameters in each cell."""
    found = []
    for chosen in product(*(combinations(cell, count) for cell, count in zip(cells, counts, strict=True))):
        mask = np.zeros(size, dtype=bool)
        mask[[index for part in chosen for index in part]] = True
        found.append(mask)
    return found


def moments(first: list[np.ndarray], second: list[np.ndarray]) -> tuple[float, float, float, float]:
    """Mean and deviation of the Jaccard index and of the containment, over all pairs."""
    pairs = list(product(first, second))
    jaccard = [(a & b).sum() / (a | b).sum() for a, b in pairs]
    containment = [(a & b).sum() / a.sum() for a, b in pairs]
    return (*(np.mean(jaccard), np.std(jaccard)), *(np.mean(containment), np.std(containment)))


def test_overlap_of_masks_by_hand() -> None:
    found = overlap(made_contributions(ONE, [[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0], [0] * 7 + [1]]))
    assert found.first_sizes.tolist() == found.second_sizes.tolist() == [4, 2, 1]
    assert found.intersection.tolist() == [[4, 1, 0], [1, 2, 0], [0, 0, 1]]
    np.testing.assert_allclose(found.jaccard.observed, [[1, 1 / 5, 0], [1 / 5, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(found.containment.observed, [[1, 1 / 4, 0], [1 / 2, 1, 0], [0, 0, 1]])
    assert np.array_equal(np.isnan(found.jaccard.z("density")), np.eye(3, dtype=bool))


@pytest.mark.parametrize("null", ["density", "layers"])
def test_chance_is_that_of_all_masks_of_the_same_sizes(null: str) -> None:
    first, second = [1, 1, 0, 0, 1, 0, 1, 1, 1, 0], [1, 0, 0, 0, 1, 0, 1, 0, 0, 1]
    cells = CELLS if null == "layers" else [list(range(10))]
    of_both = [every_mask(10, cells, [sum(mask[i] for i in cell) for cell in cells]) for mask in (first, second)]
    expected = moments(*of_both)
    found = overlap(made_contributions(TWO, [first, second]))
    measures = (found.jaccard, found.containment)
    got = [getattr(measure, name)[null][0, 1] for measure in measures for name in ("expected", "deviation")]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    z = (found.jaccard.observed[0, 1] - expected[0]) / expected[1]
    np.testing.assert_allclose([found.jaccard.z(null)[0, 1], found.jaccard.z(null)[1, 0]], z)
    np.testing.assert_allclose(found.jaccard.lift(null)[0, 1], found.jaccard.observed[0, 1] / expected[0])


@pytest.mark.parametrize(
    ("n", "a", "b"), [(1, 1, 1), (5, 0, 3), (7, 7, 4), (30, 12, 9), (1000, 990, 970), (10**6, 50, 9)]
)
def test_one_stratum_is_hypergeometric(n: int, a: int, b: int) -> None:
    lowest, probabilities = intersection_distribution(*(np.array([x]) for x in (n, a, b)))
    values = lowest + np.arange(len(probabilities))
    np.testing.assert_allclose(probabilities, stats.hypergeom.pmf(values, n, a, b), rtol=1e-8, atol=1e-15)


def test_a_distribution_over_many_large_strata_has_the_moments_of_their_sum() -> None:
    n = np.array([2_000_000, 600_000, 300, 150_000] * 12)
    a, b = n // 12, n // 7
    lowest, probabilities = intersection_distribution(n, a, b)
    values = lowest + np.arange(len(probabilities))
    mean = float(probabilities @ values)
    np.testing.assert_allclose(mean, (a * b / n).sum(), rtol=1e-10)
    variance = (a * b / n * (1 - a / n) * (n - b) / (n - 1)).sum()
    np.testing.assert_allclose(probabilities @ (values - mean) ** 2, variance, rtol=1e-8)


def test_chance_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(0)
    layers = made_layers(("query", "1", 60), ("key", "1", 40), ("query", "2", 100))
    counts = np.array([[30, 4, 10], [20, 2, 25]])
    cells = list(zip(layers.sizes, *counts, strict=True))

    def draw() -> int:
        return sum(np.isin(rng.permutation(n)[:a], rng.permutation(n)[:b]).sum() for n, a, b in cells)

    draws = np.array([draw() for _ in range(4000)])
    jaccard = draws / (counts.sum() - draws)
    masks = np.concatenate([np.arange(n) < counts[:, i, None] for i, n in enumerate(layers.sizes)], axis=1)
    found = overlap(made_contributions(layers, masks)).jaccard
    error = jaccard.std() / len(draws) ** 0.5
    assert abs(found.expected["layers"][0, 1] - jaccard.mean()) < 4 * error
    assert found.deviation["layers"][0, 1] == pytest.approx(jaccard.std(), rel=0.06)


def test_masks_that_agree_on_layers_alone_agree_by_chance_within_layers() -> None:
    rng = np.random.default_rng(1)
    layers = made_layers(("query", "1", 5000), ("key", "1", 5000))
    density = np.repeat([0.4, 0.01], 5000)
    found = overlap(made_contributions(layers, rng.random((2, 10_000)) < density)).jaccard
    assert found.z("density")[0, 1] > 20
    assert abs(found.z("layers")[0, 1]) < 4


def test_masks_that_leave_chance_no_choice_have_no_z() -> None:
    found = overlap(made_contributions(ONE, [[1] * 8, [1] * 3 + [0] * 5, [0] * 8]))
    assert np.isnan(found.jaccard.z("density")).all()
    assert found.jaccard.observed[0, 1] == found.jaccard.expected["density"][0, 1] == 3 / 8
    assert np.isnan(found.jaccard.observed[2, 2])
    assert np.isnan(found.containment.observed[2]).all()


def test_two_pools_are_compared_mask_by_mask() -> None:
    first = made_contributions(TWO, [[1, 1, 0, 0, 1, 0, 1, 1, 1, 0], [1, 0, 0, 0, 1, 0, 1, 0, 0, 1]])
    second = made_contributions(TWO, [first.masks[1], first.masks[0], ~first.masks[0]])
    found = compare_masks(first, second)
    np.testing.assert_allclose(found.jaccard.observed, [[3 / 7, 1, 0], [1, 3 / 7, 1 / 7]])
    own = overlap(first)
    assert found.jaccard.expected["layers"][0, 0] == pytest.approx(own.jaccard.expected["layers"][0, 1])
    assert np.isfinite(found.jaccard.z("density")).all()


def test_pools_of_other_networks_are_not_compared() -> None:
    first = made_contributions(ONE, [[1] * 8])
    with pytest.raises(ConfigError, match=r"p0 is 8 numbers in one pool and 4 numbers in the other"):
        compare_masks(first, made_contributions(TWO, [[1] * 10]))
    longer = made_contributions(made_layers(("query", "1", 8), ("key", "1", 1)), [[1] * 9])
    with pytest.raises(ConfigError, match=r"p1 is absent in one pool and 1 numbers in the other"):
        compare_masks(first, longer)


def test_how_many_experts_share_a_parameter() -> None:
    found = sharing(made_contributions(TWO, [[1, 1, 1, 0, 0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 1, 0, 0, 1, 1, 1]]), "depth")
    assert found.labels == (("1", "2"),)
    assert found.counts.tolist() == [[3, 0], [3, 0], [1, 3]]
    np.testing.assert_allclose(found.share[:, 1], [0, 0, 1])
    # the whole network is open in 6 and in 5 of 10; queries of block 1 in 3 and 1 of 5, its keys in 0 and 1 of 2
    np.testing.assert_allclose(found.expected["density"][:, 0], [0.4 * 0.5, 0.6 * 0.5 + 0.4 * 0.5, 0.6 * 0.5])
    of_queries, of_keys = np.array([0.4 * 0.8, 0.6 * 0.8 + 0.4 * 0.2, 0.6 * 0.2]), np.array([0.5, 0.5, 0])
    np.testing.assert_allclose(found.expected["layers"][:, 0], (5 * of_queries + 2 * of_keys) / 7)
    np.testing.assert_allclose(found.expected["layers"][:, 1], [0, 0, 1])


def test_sharing_of_the_whole_network() -> None:
    found = sharing(
        made_contributions(ONE, [[1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0, 0, 0]])
    )
    assert found.counts.tolist() == [4, 2, 1, 1]
    np.testing.assert_allclose(found.expected["layers"], found.expected["density"])
    np.testing.assert_allclose(found.expected["density"].sum(), 1)


def test_the_poisson_binomial_distribution() -> None:
    p = np.array([0.1, 0.5, 0.7])
    expected = np.zeros(4)
    for happened in product([0, 1], repeat=3):
        expected[sum(happened)] += np.prod(np.where(happened, p, 1 - p))
    np.testing.assert_allclose(poisson_binomial(p), expected)
    of_equal = poisson_binomial(np.full((6, 2), 0.3))
    np.testing.assert_allclose(of_equal[:, 1], stats.binom.pmf(np.arange(7), 6, 0.3))
