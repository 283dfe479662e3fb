"""Heads by name."""

from typing import get_args

import pytest

from smat.errors import ConfigError
from smat.heads import (
    LDA,
    Auto,
    Average,
    Head,
    HeadName,
    InViews,
    LinearLayer,
    Logistic,
    Neighbours,
    Prototype,
    Ridge,
    make_head,
)
from smat.plugins import describe, restore


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("prototype", None),
        ("ridge", Ridge()),
        ("logistic", Logistic()),
        ("lda", LDA()),
        ("knn", Neighbours()),
        ("average", Average()),
        ("linear", LinearLayer()),
        ("auto", Auto()),
        ("prototype:1", InViews(Prototype(), 1)),
        ("lda:2", InViews(LDA(), 2)),
        ("average:4", InViews(Average(), 4)),
        ("auto:4", Auto(4)),
        ("auto:0", Auto(0)),
    ],
)
def test_names_stand_for_heads(name: str, head: Head | None) -> None:
    found = make_head(name)
    assert found == head
    assert found is None or restore(describe(found), Head) == found


def test_a_head_that_is_given_is_the_result() -> None:
    given = LDA(3.0)
    assert make_head(given) is given
    assert make_head(None) is None
    for name in get_args(HeadName):
        assert isinstance(make_head(f"{name}:2"), Head)


@pytest.mark.parametrize("name", ["", "lad", "lda:", "lda:two", "lda:²", "lda:-1", ":2", "LDA", "lda:2:2"])
def test_other_names_are_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_head(name)
    assert f"head is {name!r}; choose one of prototype, ridge, logistic, lda, knn, average, auto" in str(error.value)
    assert "give a Head by import path" in str(error.value)


def test_other_numbers_of_passes_are_refused() -> None:
    for name in ("lda:3", "auto:8"):
        with pytest.raises(ConfigError, match=r"passes is \d; give 0, 1, 2 or 4"):
            make_head(name)
