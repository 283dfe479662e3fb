"""Pickles and MATLAB files that are damaged or made to do harm."""

import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from python2_pickles import Python2
from smat.errors import DataError
from smat.importing import apart
from smat.importing.apart import read_matlab, read_pickle

CONTENT: dict[str, Any] = {
    "labels": [0, 1, 70_000],
    "data": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "filenames": [b"a.png", b"b" * 300, b""],
}


def same(found: dict[str, Any]) -> bool:
    return set(found) == set(CONTENT) and all(np.array_equal(found[name], CONTENT[name]) for name in CONTENT)


def test_pickles_of_python_2_are_read() -> None:
    content = Python2().file(CONTENT)
    assert same({key.decode(): value for key, value in pickle.loads(content, encoding="bytes").items()})
    assert same(read_pickle(content))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_files_saved_again_by_python_3_are_read(protocol: int) -> None:
    assert same(read_pickle(pickle.dumps({key.encode(): value for key, value in CONTENT.items()}, protocol)))
    assert same(read_pickle(pickle.dumps(CONTENT, protocol)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"<html>", "damaged"),
        (b"\x80\x02}", "damaged"),
        (b"\x80\x02]q\x00.", "a list where a dict"),
        (b"\x80\x02" + b"}" * 40 + b"cbuiltins\neval\n.", "'builtins eval'"),
        (b"\x80\x02cnumpy\ndtype\ncnumpy\ndtype\n\x85R.", "a _Type where a dict"),
        (b"\x80\x02cnumpy\nndarray\n}b.", "damaged"),
        (b"\x80\x02c_codecs\nencode\n}b.", "damaged"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0hex\x86R.", "damaged: .*encoded as hex"),
        (b"\x80\x02}X\x01\0\0\0acnumpy\nndarray\n)\x81s.", "an array without its content"),
        (b"\x80\x02P1\n.", "persistent"),
        (b"\x80\x02\x82\x01.", "unregistered extension"),
        (b"\x80\x02}r\xff\xff\xff\xffr\xfe\xff\xff\xff0.", "of memory"),  # a memo of 64 GB
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x", "of memory"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**30) + b"x", "damaged"),
    ],
)
def test_pickles_of_other_things_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pickle(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(np.int8),
        lambda array: array.astype(object),
        lambda array: np.asfortranarray(array),
    ],
    ids=["int8", "objects", "by columns"],
)
def test_other_arrays_are_refused(change: Any) -> None:
    with pytest.raises(DataError, match=r"damaged: .*an array of"):
        read_pickle(pickle.dumps({"data": change(CONTENT["data"])}, 2))


def test_pickles_that_fill_the_memory_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_MEMORY", 2**28)
    with pytest.raises(DataError, match=r"more than 0\.25 GiB of memory"):
        read_pickle(b"\x80\x02" + b"}" * 8_000_000 + b".")


def test_pickles_that_take_for_ever_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_SECONDS", 1)
    # A key of 60 pairs in each other, both halves the same: its hash is made of 2^60.
    pairs = b")q\x000" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(60))
    with pytest.raises(DataError, match="more than 1 s"):
        read_pickle(b"\x80\x02}" + pairs + b"h<K\x01s.")


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind: int, shape: tuple[int, ...], *contents: bytes, name: bytes = b"labels", flags: int = 0) -> bytes:
    head = element(6, bytes([kind, flags]) + bytes(6)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name) + b"".join(contents))


def matlab(body: bytes, packed: bool = False) -> bytes:
    if packed:
        squeezed = zlib.compress(body)
        body = struct.pack("<II", 15, len(squeezed)) + squeezed
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + body


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (1, -3), (3,)])
def test_arrays_made_by_hand_are_read(shape: tuple[int, ...], packed: bool) -> None:
    content = matlab(array(9, shape, element(2, bytes([7, 8, 9]))), packed)
    assert read_matlab(content) == {"labels": [7, 8, 9]}  # also where the shape is damaged, but nothing is missing


HUGE = 2**31 - 1


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (array(9, (HUGE, HUGE), element(2, bytes(3))), "cannot reshape"),
        (array(1, (HUGE, HUGE), name=b"c"), "too big"),
        (array(2, (HUGE, 1), element(5, b"\x04\0\0\0"), element(1, b"a\0\0\0")), "of memory"),
        (array(2, (1, 1), element(5, b"\x00\0\0\0"), element(1, b"a\0\0\0")), "division or modulo"),
        (array(4, (1, 40), element(16, b"abc")), "buffer is too small"),
        (array(9, (1, 3), element(14, bytes(24))), "ended the process"),
        (array(9, (1, 3), element(2, bytes(3)), flags=8), "could not read"),
        (array(5, (1, 1), element(2, bytes(1))), "could not read"),
        (array(17, (1, 1), element(2, bytes(1))), "Expecting miINT8"),
        (element(9, bytes(8)), "Expecting miMATRIX"),
        (array(9, (1, 3), element(2, bytes(3)))[:-9], "not there|could not read"),
        (struct.pack("<II", 14, 2**32 - 1) + bytes(40), "not there|Expecting miINT32"),
        (element(14, bytes(24)), "Expecting miINT32"),
    ],
)
def test_arrays_that_claim_what_is_not_there_are_refused(body: bytes, message: str, packed: bool) -> None:
    with pytest.raises(DataError, match=message):
        read_matlab(matlab(body, packed))


@pytest.mark.parametrize(("depth", "message"), [(20, "lies too deep"), (100_000, "ended the process|recursion")])
def test_arrays_in_arrays_without_end_are_refused(depth: int, message: str) -> None:
    body = array(9, (1, 1), element(2, b"\1"), name=b"")
    head = array(1, (1, 2), body, name=b"")[8:]
    sizes = [len(body) + (len(head) + 8) * level for level in range(depth)]
    nested = b"".join(struct.pack("<II", 14, len(head) + size) + head for size in reversed(sizes)) + body
    outer = array(1, (1, 1), nested)
    with pytest.raises(DataError, match=message):
        read_matlab(matlab(outer))


def test_a_compressed_array_that_grows_without_bound_is_refused() -> None:
    squeezed = zlib.compressobj(1)
    body = b"".join(squeezed.compress(bytes(2**24)) for _ in range(5)) + squeezed.flush()
    with pytest.raises(DataError, match="cut, or has more than"):
        read_matlab(matlab(struct.pack("<II", 15, len(body)) + body))


def test_a_wrong_checksum_is_an_error() -> None:
    content = bytearray(matlab(array(9, (1, 3), element(2, bytes([7, 8, 9]))), packed=True))
    content[-1] ^= 1
    with pytest.raises(DataError, match="incorrect data check"):
        read_matlab(bytes(content))


def test_values_that_are_neither_numbers_nor_texts_are_refused() -> None:
    for value in (np.array([1 + 2j]), scipy.sparse.eye(3)):
        file = io.BytesIO()
        scipy.io.savemat(file, {"labels": value})
        with pytest.raises(DataError, match="neither number nor text"):
            read_matlab(file.getvalue())
