"""Pickles of which only the places of contents are kept."""

import contextlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from python2_pickles import Python2
from smat.errors import DataError
from smat.importing.large_pickles import Array, Span, read_large_pickle

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)


def read(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return read_large_pickle(path)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_python_3_writes(protocol: int, tmp_path: Path) -> None:
    labels = np.arange(5, dtype=">i4")
    content = {
        "data": IMAGES,
        "labels": labels,
        "names": {"ant": 3},
        "one": np.int64(7),
        "few": b"ab",
        "many": b"a" * 999,
    }
    path = tmp_path / "x.pkl"
    found = read(path, pickle.dumps(content, protocol=protocol))
    assert isinstance(found["data"], Array)
    assert np.array_equal(found["data"].values(path), IMAGES)
    assert found["labels"].values(path).tolist() == [0, 1, 2, 3, 4]
    assert (found["names"], found["one"], found["few"]) == ({"ant": 3}, 7, b"ab")
    assert isinstance(found["many"], Span)
    assert path.read_bytes()[found["many"].start :][: found["many"].size] == b"a" * 999


def test_what_python_2_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    found = read(path, Python2().file({"data": IMAGES, "labels": [1, 2, 300], "names": {"ant": 3}}))
    assert np.array_equal(found[b"data"].values(path), IMAGES)
    assert found[b"labels"] == [1, 2, 300]
    assert found[b"names"] == {b"ant": 3}


class Calls:
    """What runs code when it is unpickled as usual."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_run(protocol: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"asks for '.*', which plain data have no need of. Nothing was run"):
        read(tmp_path / "x.pkl", pickle.dumps({"a": Calls(tmp_path / "run")}, protocol=protocol))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"ends before"),
        (b"\x80\x04B\xff\xff\xff\x7fab.", r"ends before"),
        (b"\x80\x02T\xff\xff\xff\xff.", r"cannot be used"),
        (b"\x80\x02}" + b")" + 500_000 * b"\x85" + b"K\x01s.", r"keys are no names"),
        (b"\x80\x02c" + 70_000 * b"x", r"a line of more than"),
        (b"\x80\x02}}b.", r"a state for something that has none"),
        (b"\x80\x02})R.", r"something that cannot be called"),
        (b"\x80\x02\x94.", r"cannot be used"),
        (b"\x80\x02(l.", r"damaged, or has an instruction that plain data have no need of"),
        (pickle.dumps(np.zeros((2, 300))), r"an array of type 'f8'; expected whole numbers"),
        (pickle.dumps(np.asfortranarray(IMAGES)), r"not stored row by row"),
        (pickle.dumps(IMAGES, protocol=2), r"protocol 2.*save it with protocol 4"),
        (pickle.dumps(IMAGES)[:-900], r"ends before"),
    ],
)
def test_what_is_damaged_or_no_plain_data_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x.pkl", content)


@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=6),
    end=st.none() | st.integers(0, 10**6),
)
def test_any_damage_is_data_or_an_error(
    flips: list[tuple[int, int]], end: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(pickle.dumps({"data": IMAGES[:2, :3], "labels": [1, 2], "names": {"ant": 3}}))
    for place, change in flips:
        content[place % len(content)] ^= change
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    with contextlib.suppress(DataError):
        read(path, bytes(content[: end and end % len(content)]))
