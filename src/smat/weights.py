"""Weights in safetensors files: their names, types and shapes before they are read, and whether they are numbers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from smat.compression import Frame, decompress, heads_of
from smat.errors import SmatError, one_line
from smat.schema import Error

_MOST_UNPACKED = 200  # bytes from a byte: pools stay below 30, and a file of zeros that fills a memory has thousands
_FLOATING = ("F", "BF")  # how the names of floating types begin in safetensors


@dataclass(frozen=True)
class Stored:
    """A tensor of a file that is not read yet.

    Attributes:
        dtype: its type, as safetensors calls it, such as `F32`.
        shape: its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        """Whether its numbers are floating-point numbers."""
        return self.dtype.startswith(_FLOATING)


Header = Mapping[str, Stored]


def read_header(path: Path, error: Error, advice: str) -> Header:
    """The tensors of a file by name, without their numbers; of compressed ones, what they become.

    Raises:
        SmatError: of the class `error`: the file cannot be read, or is damaged; `advice` says what to do.
    """
    try:
        with safe_open(path, "pt") as file:
            heads = _heads(file, path)
            if heads is not None:
                return {name: Stored(head.dtype, head.shape) for name, head in heads.items()}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (OSError, SafetensorError, SmatError) as found:
        raise error(f"'{path}' is damaged: {one_line(found)}. {advice}") from found


def read_weights(path: Path, error: Error, advice: str) -> dict[str, Tensor]:
    """The tensors of a file by name; arguments and errors are those of `read_header`, and numbers are finite."""
    try:
        with safe_open(path, "pt") as file:
            heads = _heads(file, path)
            tensors = load_file(path) if heads is None else _decompressed(file, heads)
    except (OSError, SafetensorError, SmatError) as found:
        raise error(f"'{path}' is damaged: {one_line(found)}. {advice}") from found
    check_finite(tensors.items(), f"'{path}'", error, advice)
    return tensors


def _heads(file: Any, path: Path) -> dict[str, Frame] | None:
    """What the frames of an open file hold; None where its tensors are not compressed."""
    heads = heads_of(file.metadata())
    if heads is None:
        return None
    if heads.keys() != set(file.keys()):
        raise SmatError("its metadata is not of its tensors")
    unpacked, size = sum(head.bytes for head in heads.values()), path.stat().st_size
    if unpacked > _MOST_UNPACKED * size + 2**26:
        raise SmatError(f"its {size:,} bytes would become {unpacked:,}, far more than a pool's do")
    return heads


def _decompressed(file: Any, heads: Mapping[str, Frame]) -> dict[str, Tensor]:
    tensors = {}
    for name, head in heads.items():
        try:
            tensors[name] = decompress(file.get_tensor(name), head)
        except SmatError as found:
            raise SmatError(f"{name}: {found}") from found
    return tensors


def check_finite(tensors: Iterable[tuple[str, Tensor]], where: str, error: Error, advice: str) -> None:
    """Raise an `error` that names the tensors which have NaN or infinity, if there are any.

    Args:
        tensors: tensors with their names.
        where: what holds them.
        error: class of the error.
        advice: what to do.
    """
    bad = [name for name, tensor in tensors if tensor.is_floating_point() and not _finite(tensor)]
    if bad:
        names = f"{', '.join(bad[:3])}{f' and {len(bad) - 3} more' if len(bad) > 3 else ''}"
        raise error(f"{where} is damaged: there are numbers that are not finite (NaN or infinity) in {names}. {advice}")


def _finite(tensor: Tensor) -> bool:
    numbers = tensor.detach()
    return bool((numbers.float() if numbers.element_size() == 1 else numbers).isfinite().all())


def misfits(header: Header, expected: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with a file's tensors for a network, tensor by tensor.

    Args:
        header: the file's tensors.
        expected: tensors of the network, of which only names, types and shapes matter.
    """
    wrong = []
    for name, tensor in expected.items():
        found = header.get(name)
        if found is None:
            wrong.append(f"{name}: missing instead of {tuple(tensor.shape)}")
        elif found.shape != tuple(tensor.shape):
            wrong.append(f"{name}: {found.shape} instead of {tuple(tensor.shape)}")
        elif tensor.is_floating_point() and not found.floating:
            wrong.append(f"{name}: of type {found.dtype} instead of floating-point numbers")
    return wrong


@contextmanager
def bounded(header: Header, error: SmatError) -> Iterator[None]:
    """Within the block, a module that has far more parameters than there are weights raises the error.

    Parameters are counted as they are made. On the device `meta`, where they take no memory, a network of any size is
    so found out at once.

    Args:
        header: the weights.
        error: what is raised.
    """
    # a network may make parts that it then drops, such as a classifier
    tensors, numbers = 2 * len(header) + 100, 2 * sum(prod(stored.shape) for stored in header.values()) + 10**7

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal tensors, numbers
        tensors, numbers = tensors - 1, numbers - (0 if parameter is None else parameter.numel())
        if tensors < 0 or numbers < 0:
            raise error

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
