"""The compiled kernels against the plain code, which has tests of its own."""

import logging
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from devices import DEVICES
from small_pools import vit_pool
from smat.errors import ConfigError
from smat.experts import HardConcrete, PackedGates, interpolate, pack
from smat.experts import compiled as compiled_module
from smat.experts.compiled import ROW, compiler_failure, look_up
from smat.metatuning import compilation
from smat.metatuning.compilation import is_compiled
from smat.metatuning.settings import TuningConfig
from tiny import everything, tiny_pool, tiny_tuner

compiles = pytest.mark.usefixtures("compiler")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def compiler() -> None:
    if failure := compiler_failure("cpu"):
        pytest.skip(f"nothing can be compiled here: {failure}")


@compiles
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pulled", [1.0, 0.0], ids=["pulled", "not pulled"])
@pytest.mark.parametrize("hc", [HardConcrete(), HardConcrete(0.4, -0.2, 1.3)], ids=["cubic", "any temperature"])
def test_kernels_give_what_plain_code_gives(hc: HardConcrete, pulled: float, device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    params, experts = 3 * ROW + 77, 3

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device)

    pretrained, slopes, density_slopes = draw(params), draw(params), pulled * draw(experts)
    leaves = [draw(params), 3 * draw(experts, params), draw(experts)]

    def merge(compiled: bool) -> list[torch.Tensor]:
        given = [leaf.clone().requires_grad_() for leaf in leaves]
        merged = interpolate(pretrained, *given, hc, density_hc=HardConcrete(0.9), compiled=compiled)
        outputs = [merged.vector, merged.expected_density]
        gradients = torch.autograd.grad(outputs, given, [slopes, density_slopes])
        alone = interpolate(pretrained, *leaves, hc, compiled=compiled, measure=False)
        return [*outputs, merged.sparsity, *gradients, alone]

    torch.testing.assert_close(merge(True), merge(False), rtol=1e-12, atol=1e-13)
    opened = merge(True)[2]
    assert ((opened > 0.1) & (opened < 0.9)).all()


@compiles
def test_a_training_comes_to_the_same_with_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_module, "ROW", 128)
    plain, compiled = (tiny_tuner(tmp_path / choice, tasks=8, compile=choice) for choice in ("off", "on"))
    assert 0 < plain.pool.pretrained.numel() % 128 < plain.pool.pretrained.numel()
    for tuner in plain, compiled:
        tuner.run()
    assert compiled.pool.update.compiled
    assert not plain.pool.update.compiled
    before, after = everything(plain), everything(compiled)
    assert before["update.delta"].abs().max() > 1e-3
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5)


def test_auto_compiles_where_gates_are_many_and_a_compiler_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool, failures = tiny_pool(), [""]
    monkeypatch.setattr(compilation, "compiler_failure", lambda device: failures[0])
    assert not is_compiled(pool, TuningConfig(), CPU)
    monkeypatch.setattr(compilation, "WORTHWHILE", pool.update.gate_logits.numel())
    assert is_compiled(pool, TuningConfig(), CPU)
    assert not is_compiled(pool, TuningConfig(compile="off"), CPU)
    caplog.set_level(logging.INFO)
    failures[0] = "no g++"
    for _ in range(2):
        assert not is_compiled(pool, TuningConfig(), CPU)
    assert caplog.text.count("without compiled kernels, which takes several times as long: no g++") == 1
    with pytest.raises(ConfigError, match=r"nothing can be compiled here \(no g\+\+\)"):
        is_compiled(pool, TuningConfig(compile="on"), CPU)


@pytest.mark.parametrize(
    ("pool", "tuning"),
    [
        ({"random_gates": True}, {}),
        ({"gating": "random"}, {"target_sparsity": None}),
        ({}, {"sparsity_budget": "block"}),
    ],
)
def test_on_is_refused_where_there_are_no_kernels(pool: dict[str, object], tuning: dict[str, object]) -> None:
    made = tiny_pool(**pool)
    with pytest.raises(ConfigError, match=r"tuning.compile is on, but there are kernels only for learned gates"):
        is_compiled(made, TuningConfig(compile="on", **tuning), CPU)
    assert not is_compiled(made, TuningConfig(**tuning), CPU)


def test_a_compiler_that_fails_is_told_by_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> object:
        raise RuntimeError("no compiler\nof any kind")

    monkeypatch.setattr(torch, "compile", failing)
    assert compiler_failure.__wrapped__("cpu") == "no compiler of any kind"


@compiles
@pytest.mark.parametrize("experts", [3, 11])
def test_packed_pools_make_the_same_networks_with_a_kernel(experts: int) -> None:
    small = pack(vit_pool(experts=experts, dtype=torch.float32))
    update, weights = small.update, torch.rand(experts, generator=torch.Generator().manual_seed(0))
    assert isinstance(update, PackedGates)
    assert len(update.codes) == 1 + (experts > 8)
    plain = small.merged_vector(weights)
    update.compiled = True
    torch.testing.assert_close(small.merged_vector(weights), plain, rtol=1e-6, atol=1e-7)


@compiles
def test_any_number_of_shapes_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    before = counters["stats"]["unique_graphs"]
    for params in (50, 51, 52):
        codes, table = torch.zeros(1, params, dtype=torch.uint8), torch.ones(1, 256)
        made = look_up(torch.ones(params), torch.ones(params), codes, table)
        torch.testing.assert_close(made, torch.full((params,), 2.0))
    assert counters["stats"]["unique_graphs"] == before + 3
