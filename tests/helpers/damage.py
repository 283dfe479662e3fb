"""Ways of damaging files, for hypothesis: bytes that are lost or changed, and values that are others."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]
Place = tuple[str | int, ...]

BYTES = st.integers(0, 255)
_NUMBERS = [0, -1, 1, 3, 10**6, 10**9, 2**63, -(10**30), 0.0, -0.5, 1.5, 1e308, float("nan"), float("inf")]
_TEXTS = ["", "x", "none", "auto", "1", "é\u2028", "a" * 300, "../..", "a\0b", "cpu"]
_PLUGINS = [
    {"class_path": "os.system", "init_args": {"a": 1}},
    {"class_path": "smat.heads.LDA", "init_args": {"ridge": "x"}},
    {"class_path": 3},
]
_NESTED = [[], {}, [[]], [None], [1, 2, 3], ["a", "a"], {"x": 1}]
ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, False, *_NUMBERS, *_TEXTS, *_NESTED, *_PLUGINS]).map(
    copy.deepcopy  # later changes may be made within it
)


@st.composite
def damages(draw: st.DrawFn, values: st.SearchStrategy[int] = BYTES) -> Damage:
    """Some bytes changed to such values, a piece cut out, or the end cut off: places are shares of the length."""
    share = st.floats(0, 1, exclude_max=True)
    flips = draw(st.lists(st.tuples(share, values), max_size=4))
    cut = draw(st.none() | st.tuples(share, st.none() | st.integers(1, 40)))

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        for place, value in flips:
            changed[int(place * len(changed))] = value
        if cut:
            start = int(cut[0] * len(changed))
            del changed[start : None if cut[1] is None else start + cut[1]]
        return bytes(changed)

    return damage


@st.composite
def changed(draw: st.DrawFn, values: Any) -> Any:
    """Plain data with one to three changes: a value that is another, is missing, or that nobody knows."""
    values = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(values))
        *path, key = draw(st.sampled_from(places))
        owner = values
        for part in path:
            owner = owner[part]
        what = draw(st.sampled_from(["other"] * 6 + ["missing", "new"]))
        if what == "missing":
            del owner[key]
        elif what == "new" and isinstance(owner, dict):
            owner["new_setting"] = draw(ODD)
        else:
            owner[key] = draw(ODD)
        if not values:
            break
    return values


def _places(values: Any) -> Iterator[Place]:
    """Where there are values, each by the keys that lead to it."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in pairs:
        yield (key,)
        yield from ((key, *place) for place in _places(value))
