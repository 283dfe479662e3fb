"""What contenders are called."""

import pytest

from smat.errors import ConfigError
from smat.evaluation import BASELINES, Variant
from smat.experts import BOTH, MERGED, Strength
from smat.heads import LDA, Auto, Head, InViews, Logistic, Neighbours, Ridge


@pytest.mark.parametrize(
    ("text", "method", "strengths", "head"),
    [
        ("smat+lda", "smat", None, LDA()),
        ("smat+lda:2", "smat", None, InViews(LDA(), 2)),
        ("smat@0@1+auto", "smat", BOTH, Auto()),
        ("smat@0.5+ridge", "smat", (Strength(0.5, 0.5),), Ridge()),
        ("smat@0..1@1+auto:4", "smat", (Strength(0.0, 1.0), Strength()), Auto(4)),
        ("pretrained+prototype", "pretrained", None, None),
        ("logistic", "pretrained", None, Logistic()),
        ("knn", "pretrained", None, Neighbours()),
    ],
)
def test_methods_with_heads(text: str, method: str, strengths: tuple[Strength, ...] | None, head: Head | None) -> None:
    found = Variant.parse(text)
    assert found == Variant(text, method, strengths, head, headed=True)
    assert found.head_or(Ridge(7.0)) == head, "its own head counts, also where that is the class mean"


@pytest.mark.parametrize(
    ("text", "method", "strengths"),
    [
        ("smat", "smat", None),
        ("smat@1", "smat", MERGED),
        ("smat@0.5..1", "smat", (Strength(0.5, 1.0),)),
        ("my+lab@home/own.yaml", "my+lab@home/own.yaml", None),
        ("a+b.yml", "a+b.yml", None),
    ],
)
def test_methods_without_heads_take_the_usual_one(
    text: str, method: str, strengths: tuple[Strength, ...] | None
) -> None:
    found = Variant.parse(text)
    assert found == Variant(text, method, strengths)
    assert found.head_or(Ridge()) == Ridge()
    assert found.head_or(None) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smat+", "head is ''; choose one of prototype"),
        ("smat+lad", "head is 'lad'; choose one of prototype"),
        ("smat+lda:3", "passes is 3"),
        ("smat+lda+ridge", r"head is 'lda\+ridge'"),
        ("smat@", "strength '' is no number"),
        ("smat@half", "strength 'half' is no number"),
        ("smat@0@9", "give numbers in 0..4"),
        ("smat+lda@0", "head is 'lda@0'"),
        ("logistic+lda", r"logistic\+lda: logistic is short for pretrained\+logistic, to which nothing can be added"),
        ("knn@0.5", r"knn@0.5: knn is short for pretrained\+knn"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Variant.parse(text)


def test_baselines_are_names_of_variants() -> None:
    for name, text in BASELINES.items():
        short, long = Variant.parse(name), Variant.parse(text)
        assert (short.method, short.head, short.headed) == (long.method, long.head, long.headed)
        assert short.text == name
