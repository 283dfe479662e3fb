"""Tensors as zstandard frames in a safetensors file, exact or rounded to few bits.

Each frame is a tensor of bytes under the name of what it holds. The file's metadata says of each what it becomes, so
that sizes are known, and can be refused, before anything is unpacked.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

import google_crc32c
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from smat.errors import SmatError
from smat.schema import Number, from_plain

Coding = Literal["exact", "int8", "int5"]
"""How numbers are kept: as they are, or rounded to 255 or 31 steps between the largest of a block and its negative."""

DType = Literal["F32", "F16", "BF16", "F64", "I64", "I32", "U8", "BOOL"]
"""A tensor's type, as safetensors calls it."""

KEY = "smat.compression"  # of the safetensors file's metadata

_STEPS = {"int8": 127, "int5": 15}
_BLOCK = 64  # numbers that share a scale
_TYPES: dict[DType, torch.dtype] = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES: dict[torch.dtype, DType] = {dtype: name for name, dtype in _TYPES.items()}


@dataclass(frozen=True)
class Frame:
    """What a frame holds.

    Attributes:
        dtype: type of the tensor.
        shape: its shape.
        coding: how its numbers are kept.
        crc32c: checksum of the frame.
    """

    dtype: DType
    shape: tuple[Number, ...]
    coding: Coding
    crc32c: int

    @property
    def bytes(self) -> int:
        """Size of the tensor."""
        return prod(self.shape) * _TYPES[self.dtype].itemsize


def rounded(tensor: Float[Tensor, "*shape"], coding: Coding) -> Float[Tensor, "*shape"]:
    """The numbers as a frame of this coding gives them back; rounding them once more changes nothing."""
    if coding == "exact":
        return tensor
    return _of_blocks(*_blocks(tensor, coding), tensor.shape)


def compress(tensors: Mapping[str, Tensor], codings: Mapping[str, Coding]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors as frames, and the metadata of a file that holds them.

    Args:
        tensors: contiguous, on the CPU.
        codings: those that are not `exact`, by the tensors' names; of float32 only.
    """
    frames, heads = {}, {}
    for name, tensor in tensors.items():
        coding = codings.get(name, "exact")
        parts = [tensor] if coding == "exact" else list(_blocks(tensor, coding))
        data = pa.Codec("zstd", compression_level=9).compress(b"".join(map(_planes, parts)), asbytes=True)
        frames[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        heads[name] = Frame(_NAMES[tensor.dtype], tuple(tensor.shape), coding, google_crc32c.value(data))
    return frames, {KEY: json.dumps({name: asdict(head) for name, head in heads.items()})}


def heads_of(metadata: Mapping[str, str] | None) -> dict[str, Frame] | None:
    """What the frames of a file hold, by name; None for a file without frames.

    Raises:
        SmatError: the metadata is damaged.
    """
    if KEY not in (metadata or {}):
        return None
    try:
        said: dict[str, Any] = dict(json.loads(metadata[KEY]))  # pyright: ignore[reportOptionalSubscript]
    except (ValueError, TypeError, RecursionError) as error:
        raise SmatError(f"its {KEY} is no JSON") from error
    return {name: from_plain(head, Frame, f"{KEY} {name}", SmatError) for name, head in said.items()}


def decompress(frame: Tensor, head: Frame) -> Tensor:
    """The tensor of a frame.

    Raises:
        SmatError: it is damaged, or not of the size that its head says.
    """
    data = frame.numpy().tobytes()
    if google_crc32c.value(data) != head.crc32c:
        raise SmatError("its checksum is wrong")
    numbers, dtype = prod(head.shape), _TYPES[head.dtype]
    if head.coding == "exact":
        return _of_planes(_unpack(data, numbers * dtype.itemsize), dtype).view(head.shape)
    if dtype != torch.float32:
        raise SmatError(f"it is of type {head.dtype}, of which there is no coding {head.coding}")
    blocks = -(-numbers // _BLOCK)
    raw = _unpack(data, blocks * (2 + _BLOCK))
    scales = _of_planes(raw[: 2 * blocks], torch.bfloat16)
    return _of_blocks(scales, _of_planes(raw[2 * blocks :], torch.int8), torch.Size(head.shape))


def _unpack(data: bytes, size: int) -> bytes:
    if not size:
        return b""
    try:
        return pa.Codec("zstd").decompress(data, decompressed_size=size, asbytes=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SmatError("its frame is not of the size that the file says") from error


def _planes(tensor: Tensor) -> bytes:
    """The first bytes of all numbers, then their second ones: alike ones stand together and compress better."""
    numbers = tensor.reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(numbers.reshape(-1, tensor.element_size()).T).tobytes()


def _of_planes(data: bytes, dtype: torch.dtype) -> Tensor:
    """The inverse of `_planes`, flat."""
    numbers = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return torch.from_numpy(np.array(numbers.T, order="C").reshape(-1)).view(dtype)


def _blocks(tensor: Float[Tensor, "*shape"], coding: Coding) -> tuple[Tensor, Tensor]:
    """The scale of each block, bfloat16, and the steps of its numbers, int8; the last block is filled with zeros.

    The nearest short scale leaves the largest number of a block at the last step, and a short number times a short one
    is exact in float32: a block that is rounded again gets the scale that it had.
    """
    flat = tensor.reshape(-1)
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % _BLOCK)).view(-1, _BLOCK)
    scales = (padded.abs().amax(1) / _STEPS[coding]).bfloat16()
    steps = (padded / scales.float().clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round()
    return scales, steps.to(torch.int8).view(-1)


def _of_blocks(scales: Tensor, steps: Tensor, shape: torch.Size) -> Float[Tensor, "*shape"]:
    numbers = steps.view(-1, _BLOCK).float() * scales.float()[:, None]
    return numbers.view(-1)[: prod(shape)].view(shape)
