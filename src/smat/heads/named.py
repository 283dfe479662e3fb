"""Heads by name, as contenders and options name them."""

from typing import Literal, get_args

from smat.errors import ConfigError
from smat.heads.auto import Auto
from smat.heads.head import Head
from smat.heads.linear import LDA, Logistic, Ridge
from smat.heads.linear_layer import LinearLayer
from smat.heads.mixtures import Average, InViews
from smat.heads.neighbours import Neighbours

HeadName = Literal["prototype", "ridge", "logistic", "lda", "knn", "average", "auto", "linear"]

_HEADS: dict[str, Head | None] = {
    "prototype": None,
    "ridge": Ridge(),
    "logistic": Logistic(),
    "lda": LDA(),
    "knn": Neighbours(),
    "average": Average(),
    "auto": Auto(),
    "linear": LinearLayer(),
}


def make_head(head: str | Head | None) -> Head | None:
    """The head of a name such as `lda`, or `lda:2` for one with 2 passes per image; one that is given is the result.

    None is the class mean, the paper's head, with the scale that a pool may have learned for it.

    Raises:
        ConfigError: an unknown name, or a number of passes that there is not.
    """
    if head is None or isinstance(head, Head):
        return head
    name, colon, passes = head.partition(":")
    if name not in _HEADS or (colon and not passes.isdecimal()):
        raise ConfigError(
            f"head is {head!r}; choose one of {', '.join(get_args(HeadName))}, with :1, :2 or :4 after it for so many "
            "passes per image in as many views, or give a Head by import path"
        )
    found = _HEADS[name]
    if not colon:
        return found
    if isinstance(found, Auto):
        return Auto(int(passes))
    return InViews(found, int(passes)) if found else InViews(passes=int(passes))
