"""scikit-learn's own estimator checks.

They come in two parts. Checks of the interface alone run on the classifier itself. Checks that fit and predict bring
tables of numbers, which the classifier, being one of images, refuses; they run on `OfRows`, which draws every row of
such a table as an image, of grey bars, and leaves everything else to the classifier. What these say about the checking
of tables (their numbers of columns, missing values, sparse ones) is scikit-learn's doing, not the classifier's.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

from smat.adaptation import Change, FewShotClassifier
from tiny_images import make_pool

INTERFACE = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_estimators_unfitted,
    estimator_checks.check_mixin_order,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
]

EXPECTED_FAILURES = {
    "check_estimators_overwrite_params": "compares hashes of a deep copy of the pool, whose numbers are the same but "
    "do not share memory with the backbone's parameters; see test_a_model_given_as_an_object_stays_as_it_is",
    "check_methods_subset_invariance": "asks for 1e-7, but float32 networks round by the size of the batch; "
    "see test_probabilities_do_not_depend_on_the_other_images",
    "check_methods_sample_order_invariance": "likewise, of the order in a batch",
    "check_sample_weight_equivalence_on_dense_data": "the head goes by the number of images, and the router sees "
    "each once; see test_an_image_that_counts_twice_is_as_two_for_the_head",
}


class Plain(FewShotClassifier):
    """Without the type checks that the tests put on every function: scikit-learn wants to set nonsense freely."""

    __init__ = inspect.unwrap(FewShotClassifier.__init__)


@pytest.mark.parametrize("check", INTERFACE, ids=lambda check: check.__name__)
def test_interface(check: Callable[[str, BaseEstimator], None]) -> None:
    check("FewShotClassifier", Plain(make_pool(), device="cpu"))


class OfRows(Plain):
    """Rows of numbers as images of grey bars: one bar a number, from black (-10 or less) to white (10 or more)."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = tags.input_tags.string = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "OfRows":
        if y is not None:
            X, y = validate_data(self, X, y)
        super().fit(draw(X), y, sample_weight)
        return self

    def add(self, X: Any, y: Any, sample_weight: Any = None) -> Change:
        X, y = validate_data(self, X, y, reset=False)
        return super().add(draw(X), y, sample_weight)

    def _passes(self, X: Any) -> Iterator[Any]:
        check_is_fitted(self)
        return super()._passes(draw(validate_data(self, X, reset=False)))


def draw(X: Any) -> list[np.ndarray]:
    bars = np.clip((np.asarray(X, dtype=np.float64) + 10) / 20, 0, 1)
    return [np.tile(np.repeat(row, 8), (8, 1)) for row in bars]


BEHAVIOUR = list(
    estimator_checks_generator(
        OfRows(make_pool(), device="cpu", precision="32-true", margin=1.0),
        legacy=True,
        expected_failed_checks=EXPECTED_FAILURES,
        mark="xfail",
    )
)


@pytest.mark.parametrize(
    ("estimator", "check"), BEHAVIOUR, ids=lambda value: getattr(getattr(value, "func", None), "__name__", "")
)
def test_behaviour(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)
