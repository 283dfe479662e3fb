"""Compressed tensors: exact ones come back as they were, rounded ones within a step, damaged ones not at all."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from smat.compression import KEY, Coding, compress, rounded
from smat.errors import CheckpointError
from smat.weights import Stored, read_header, read_weights

ADVICE = "Copy it again"
TENSORS = {
    "float": torch.linspace(-1, 1, 300).view(3, 100),
    "short": torch.arange(7).to(torch.bfloat16),
    "long": torch.tensor(2**40),
    "bytes": torch.arange(256, dtype=torch.int32).to(torch.uint8).view(2, 128),
    "truth": torch.tensor([True, False, True]),
    "none": torch.zeros(0),
}


def written(path: Path, tensors: dict[str, Tensor], codings: dict[str, Coding]) -> Path:
    frames, metadata = compress(tensors, codings)
    save_file(frames, path, metadata)
    return path


def test_exact_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", TENSORS, {})
    again = read_weights(path, CheckpointError, ADVICE)
    assert again.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(again[name], tensor)
        assert again[name].dtype == tensor.dtype
    again["float"][0, 0] = 5.0  # they are the reader's own


def test_the_header_says_what_frames_become(tmp_path: Path) -> None:
    header = read_header(written(tmp_path / "a.safetensors", TENSORS, {}), CheckpointError, ADVICE)
    assert (header["float"], header["long"]) == (Stored("F32", (3, 100)), Stored("I64", ()))


def test_numbers_that_are_alike_take_less(tmp_path: Path) -> None:
    numbers = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    sizes = {
        coding: written(tmp_path / coding, {"a": numbers}, {"a": coding}).stat().st_size / len(numbers)
        for coding in ("exact", "int8", "int5")
    }
    assert sizes["exact"] < 3.8
    assert sizes["int8"] < 1.05
    assert sizes["int5"] < 0.75


@pytest.mark.parametrize(("coding", "steps"), [("int8", 127), ("int5", 15)])
@given(seed=st.integers(0, 2**31), numbers=st.integers(1, 200), scale=st.floats(-30, 30))
def test_rounded_numbers_are_within_half_a_step(
    coding: Coding, steps: int, seed: int, numbers: int, scale: float
) -> None:
    exact = torch.randn(numbers, generator=torch.Generator().manual_seed(seed)) * 10**scale
    near = rounded(exact, coding)
    for block, other in zip(exact.split(64), near.split(64), strict=True):
        assert (block - other).abs().max() <= block.abs().max() / steps * 0.51 + 1e-37
    assert torch.equal(rounded(near, coding), near)


def test_rounded_tensors_come_back_rounded_once(tmp_path: Path) -> None:
    numbers = torch.randn(5, 77, generator=torch.Generator().manual_seed(0))
    path = written(tmp_path / "a.safetensors", {"a": numbers, "b": numbers}, {"a": "int5"})
    again = read_weights(path, CheckpointError, ADVICE)
    assert torch.equal(again["a"], rounded(numbers, "int5"))
    assert torch.equal(again["b"], numbers)


def changed(path: Path, **heads: object) -> Path:
    """The file with other things said of its tensor `float`."""
    frames, metadata = compress(TENSORS, {})
    said = json.loads(metadata[KEY])
    said["float"] |= heads
    save_file(frames, path, {KEY: json.dumps(said)})
    return path


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"shape": [3, 101]}, "float: its frame is not of the size that the file says"),
        ({"shape": [3, 99]}, "float: its frame is not of the size"),
        ({"shape": [2**30]}, "would become [0-9,]+, far more than a pool's do"),
        ({"shape": [-1, -1]}, r"float\.shape\.0 is -1"),
        ({"crc32c": 5}, "float: its checksum is wrong"),
        ({"coding": "int3"}, "coding is 'int3'"),
        ({"coding": "int8"}, "float: its frame is not of the size"),
        ({"coding": "int8", "dtype": "I64"}, "float: it is of type I64, of which there is no coding int8"),
        ({"dtype": "F8"}, "dtype is 'F8'"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(heads: dict[str, object], message: str, tmp_path: Path) -> None:
    path = changed(tmp_path / "a.safetensors", **heads)
    with pytest.raises(CheckpointError, match=rf"is damaged: .*{message}.*\. Copy it again"):
        read_weights(path, CheckpointError, ADVICE)


@pytest.mark.parametrize("said", ["", "[]", "{", "5", '{"float": {}}', "[" * 100_000])
def test_metadata_that_says_nothing_is_refused(said: str, tmp_path: Path) -> None:
    save_file(compress(TENSORS, {})[0], tmp_path / "a.safetensors", {KEY: said})
    for read in (read_header, read_weights):
        with pytest.raises(CheckpointError, match=r"a\.safetensors' is damaged"):
            read(tmp_path / "a.safetensors", CheckpointError, ADVICE)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", TENSORS, {})
    frames, metadata = load_file(path), compress(TENSORS, {})[1]
    for place in range(0, len(frames["float"]), 7):
        damaged = frames["float"].clone()
        damaged[place] ^= 16
        save_file(frames | {"float": damaged}, path, metadata)
        with pytest.raises(CheckpointError, match="float: its checksum is wrong"):
            read_weights(path, CheckpointError, ADVICE)


def test_numbers_that_are_not_finite_are_named_here_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", {"bad": torch.tensor([float("nan")])}, {})
    with pytest.raises(CheckpointError, match=r"not finite \(NaN or infinity\) in bad"):
        read_weights(path, CheckpointError, ADVICE)
