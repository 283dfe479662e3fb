"""The checks of the tests themselves: they still find a wrong shape and a wrong type."""

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import Float
from torch import Tensor

from checks import same_check
from smat.heads.neighbours import NeighboursClassifier
from smat.rng import derive_seed


def test_a_wrong_shape_or_type_is_found_in_smat() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        NeighboursClassifier(torch.ones(4, 2), torch.ones(3, 2), 1)
    with pytest.raises(BeartypeCallHintParamViolation):
        derive_seed("0", "episode")  # type: ignore[arg-type]


def test_a_wrong_type_or_shape_is_found_at_each_call_of_a_function_within_another() -> None:
    made = []

    def check(function):
        made.append(function)
        return same_check(function)

    def shapes(first: Tensor, second: Tensor, given: Tensor) -> Tensor:
        @jaxtyping.jaxtyped(typechecker=check)
        def inner(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
            return given

        return inner(first, second)

    def types(first: object, given: object) -> int:
        @jaxtyping.jaxtyped(typechecker=check)
        def inner(a: int) -> int:
            return given  # type: ignore[return-value]

        return inner(first)  # type: ignore[arg-type]

    three, four = torch.ones(3), torch.ones(4)
    for _ in range(2):
        assert shapes(three, three, three) is three
        assert shapes(four, four, four) is four
        with pytest.raises(jaxtyping.TypeCheckError):
            shapes(three, four, three)
        with pytest.raises(jaxtyping.TypeCheckError):
            shapes(three, three, four)
    made.clear()
    assert [types(number, 7) for number in range(3)] == [7] * 3
    assert len({id(function) for function in made}) == 2  # one for what is given, one for what is returned
    for first, given in (("1", 7), (1, "7")):
        with pytest.raises(jaxtyping.TypeCheckError):
            types(first, given)
