"""What is in a file of weights is known before it is read, and numbers that are none are found."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from smat.errors import CheckpointError
from smat.weights import Stored, bounded, misfits, read_header, read_weights

ADVICE = "Copy it again"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2), "steps": torch.tensor(5)}, path)
    return path


def test_a_header_says_names_types_and_shapes(file: Path) -> None:
    header = read_header(file, CheckpointError, ADVICE)
    assert header == {"weight": Stored("F32", (2, 3)), "bias": Stored("F32", (2,)), "steps": Stored("I64", ())}
    assert [name for name, stored in header.items() if not stored.floating] == ["steps"]


def test_a_damaged_file_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])
    for read in (read_header, read_weights):
        with pytest.raises(CheckpointError, match=rf"'{file}' is damaged: .*\. Copy it again"):
            read(file, CheckpointError, ADVICE)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.float64])
def test_numbers_that_are_not_finite_are_named(file: Path, number: float, dtype: torch.dtype) -> None:
    save_file({"good": torch.ones(3), "bad": torch.tensor([1.0, number]).to(dtype)}, file)
    with pytest.raises(CheckpointError, match=r"is damaged: .*not finite \(NaN or infinity\) in bad\. Copy it again"):
        read_weights(file, CheckpointError, ADVICE)


def test_tensors_that_do_not_fit_a_network_are_named(file: Path) -> None:
    header = read_header(file, CheckpointError, ADVICE)
    assert misfits(header, {"weight": torch.ones(2, 3, device="meta"), "steps": torch.tensor(0)}) == []
    wrong = misfits(header, {"weight": torch.ones(3, 2), "steps": torch.ones(()), "scale": torch.ones(1)})
    assert wrong == [
        "weight: (2, 3) instead of (3, 2)",
        "steps: of type I64 instead of floating-point numbers",
        "scale: missing instead of (1,)",
    ]


@pytest.mark.parametrize("make", [lambda: nn.Linear(10**6, 10**6), lambda: [nn.Linear(1, 1) for _ in range(10**9)]])
def test_a_network_that_is_too_large_is_found_out_while_it_is_made(file: Path, make) -> None:
    error = CheckpointError("too large")
    header = read_header(file, CheckpointError, ADVICE)
    with pytest.raises(CheckpointError, match="too large"), torch.device("meta"), bounded(header, error):
        make()
    nn.Linear(20_000, 1000, device="meta")  # afterwards there is no bound


def test_a_network_of_about_the_size_is_made(file: Path) -> None:
    with bounded(read_header(file, CheckpointError, ADVICE), CheckpointError("too large")):
        assert nn.Linear(3, 2).weight.shape == (2, 3)
