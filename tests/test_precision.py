"""What `auto` comes to, by the device, the processor's instructions and, where they do not tell, a timed product."""

import logging
from pathlib import Path

import pytest
import torch

from smat import precision
from smat.errors import ConfigError
from smat.precision import resolve_precision

CPU = torch.device("cpu")
AMX = "amx_bf16 avx512_bf16 avx512f amx_tile amx_int8"


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decided yet, and no environment variable switches instructions off."""
    monkeypatch.setattr(precision, "_fastest", precision._fastest.__wrapped__)
    for name in precision._LIMITS:
        monkeypatch.delenv(name, raising=False)


def pretend(monkeypatch: pytest.MonkeyPatch, file: Path, cpu_info: str | None, gain: float | None) -> None:
    """A processor with that `/proc/cpuinfo` and that gain by bfloat16; None: there is none, or nothing is timed."""
    if cpu_info is not None:
        file.write_text(cpu_info)
    monkeypatch.setattr(precision, "_CPU_INFO", file)

    def timed() -> float:
        assert gain is not None, "a product was timed where instructions tell"
        return gain

    monkeypatch.setattr(precision, "_bfloat16_gain", timed)


@pytest.mark.parametrize(
    ("cpu_info", "gain", "expected", "reason"),
    [
        (f"processor: 0\nflags\t\t: fpu {AMX}\nbugs:\n", None, "bf16-mixed", "has AMX"),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", None, "32-true", "has no bfloat16"),
        ("flags\t\t: fpu avx512_bf16\n", 2.0, "bf16-mixed", "0.50 of float32's time"),
        ("flags\t\t: fpu avx512_bf16\n", 1.2, "32-true", "0.83 of float32's time"),
        ("flags\t\t: fpu amx_tile amx_int8\n", None, "32-true", "has no bfloat16"),
        ("Features\t: fp asimd\n", None, "32-true", "has no bfloat16"),
        ("Features\t: fp asimd i8mm bf16\n", 3.0, "bf16-mixed", "0.33 of float32's time"),
        (None, 4.0, "bf16-mixed", "0.25 of float32's time"),
        (None, 0.1, "32-true", "10.00 of float32's time"),
    ],
)
def test_on_processors(
    cpu_info: str | None,
    gain: float | None,
    expected: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pretend(monkeypatch, tmp_path / "cpuinfo", cpu_info, gain)
    with caplog.at_level(logging.INFO, "smat"):
        assert resolve_precision("auto", CPU) == expected
    (line,) = caplog.messages
    assert line.startswith(f"precision: {expected} (")
    assert reason in line


@pytest.mark.parametrize("limit", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"])
def test_amx_that_may_be_switched_off_is_timed(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(limit, "AVX2")
    pretend(monkeypatch, tmp_path / "cpuinfo", f"flags: {AMX}", gain=0.1)
    with caplog.at_level(logging.INFO, "smat"):
        assert resolve_precision("auto", CPU) == "32-true"
    assert f"under {limit}=AVX2" in caplog.text
    pretend(monkeypatch, tmp_path / "cpuinfo", f"flags: {AMX}", gain=10)
    assert resolve_precision("auto", CPU) == "bf16-mixed"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_on_gpus(supported: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def is_bf16_supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert resolve_precision("auto", torch.device("cuda", 0)) == expected
    assert asked == [False]
    assert resolve_precision("auto", torch.device("mps")) == "32-true"


def test_what_is_said_is_never_overridden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path / "cpuinfo", f"flags: {AMX}", None)
    assert resolve_precision("32-true", CPU) == "32-true"
    pretend(monkeypatch, tmp_path / "cpuinfo", "flags: avx2", None)
    assert resolve_precision("bf16-mixed", CPU) == "bf16-mixed"
    with pytest.raises(ConfigError, match="precision is '16'; choose one of auto, 32-true, bf16-mixed"):
        resolve_precision("16", CPU)  # type: ignore[arg-type]


def test_a_process_decides_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.undo()
    precision._fastest.cache_clear()
    with caplog.at_level(logging.INFO, "smat"):
        first = resolve_precision("auto", CPU)
        assert [resolve_precision("auto", CPU) for _ in range(3)] == [first] * 3
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(("float32", "bfloat16"), [(6.0, 2.0), (1.0, 4.0)])
def test_the_gain_is_that_of_the_fastest_products(
    float32: float, bfloat16: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, products, threads = [0.0], [], torch.get_num_threads()
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])

    def product(a: torch.Tensor, b: torch.Tensor) -> None:
        products.append(torch.get_num_threads())
        slow = 100.0 if len(products) <= 4 else 1.0  # the first turns, in which other work got in the way
        now[0] += slow * {torch.float32: float32, torch.bfloat16: bfloat16}[a.dtype]

    monkeypatch.setattr(torch, "mm", product)
    assert precision._bfloat16_gain() == pytest.approx(float32 / bfloat16)
    assert set(products) == {1}
    assert torch.get_num_threads() == threads
