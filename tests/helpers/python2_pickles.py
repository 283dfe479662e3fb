"""Pickles as Python 2 writes them."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np


class Python2:
    """Pickles as Python 2 writes them (protocol 2, as the authors' files are), made byte by byte."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        self.memos = 0

    def file(self, content: Mapping[str, Any] | list[Any]) -> bytes:
        if isinstance(content, list):
            return b"\x80\x02" + self.value(content) + b"."
        out = b"\x80\x02}" + self.memo() + b"("
        for key, value in content.items():
            out += self.string(key.encode())
            start = len(out)
            out += self.value(value)
            self.places[key] = start, len(out)
        return out + b"u."

    def value(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, list):
            return b"]" + self.memo() + b"(" + b"".join(map(self.value, value)) + b"e"
        if isinstance(value, dict):
            entries = b"".join(self.string(key.encode()) + self.value(one) for key, one in value.items())
            return b"}" + self.memo() + b"(" + entries + b"u"
        return self.string(value) if isinstance(value, bytes) else self.number(value)

    def memo(self) -> bytes:
        self.memos += 1
        return b"q" + bytes([self.memos - 1]) if self.memos <= 256 else b"r" + struct.pack("<I", self.memos - 1)

    def string(self, value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value + self.memo()
        return b"T" + struct.pack("<i", len(value)) + value + self.memo()

    def number(self, value: int) -> bytes:
        if value < 0 or value > 65535:
            return b"J" + struct.pack("<i", value)
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    def array(self, value: np.ndarray) -> bytes:
        head = b"cnumpy.core.multiarray\n_reconstruct\n" + self.memo() + b"cnumpy\nndarray\n" + self.memo()
        head += b"K\x00\x85" + self.memo() + self.string(b"b") + b"\x87" + self.memo() + b"R" + self.memo()
        shape = b"(" + b"".join(map(self.number, value.shape)) + b"t" + self.memo()
        kind = (
            b"cnumpy\ndtype\n"
            + self.memo()
            + self.string(value.dtype.str[1:].encode())
            + b"K\x00K\x01\x87"
            + self.memo()
            + b"R"
            + self.memo()
        )
        kind += (
            b"(K\x03"
            + self.string(value.dtype.str[:1].encode())
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
            + self.memo()
            + b"b"
        )
        return head + b"(K\x01" + shape + kind + b"\x89" + self.string(value.tobytes()) + b"t" + self.memo() + b"b"
