"""Packed pools: the same networks from fewer bytes, in memory and from a folder."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cards import full_card
from small_pools import vit_pool
from smat import backbones
from smat.errors import CheckpointError, ConfigError
from smat.experts import Hardening, PackedGates, PoolConfig, SparseInterpolatedExperts, pack
from smat.metatuning import MetaOptimizer, OptimizerConfig
from tiny_checkpoint import SIZE, save_checkpoint

KINDS = {
    "soft gates": {},
    "hard gates": {"hardening": Hardening()},
    "one expert": {"experts": 1},
    "five experts": {"experts": 5},
    "eight experts": {"experts": 8},
    "shared gates": {"structure": "output"},
    "the authors' gates": {"count_head": True, "evaluation_beta": 1.0},
    "random masks": {"gating": "random"},
    "one mask": {"gating": "magnitude", "experts": 1},
    "no gates": {"gating": "open", "experts": 1},
    "a null expert": {"null_expert": True, "learned_head": True},
}


def pool_of(**settings: object) -> SparseInterpolatedExperts:
    return vit_pool(torch.float32, **settings).eval()


def update_of(pool: SparseInterpolatedExperts) -> PackedGates:
    assert isinstance(pool.update, PackedGates)
    return pool.update


def bits_of(pool: SparseInterpolatedExperts) -> int:
    return update_of(pool).packing.bits


def weights_of(experts: int) -> torch.Tensor:
    return torch.randn(4, experts, generator=torch.Generator().manual_seed(2)).softmax(1)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS.keys())
def test_a_packed_pool_makes_the_very_same_networks(settings: dict[str, object]) -> None:
    pool = pool_of(**settings)
    small = pack(pool)
    assert not small.training
    for weights in weights_of(pool.config.experts):
        assert torch.equal(small.merged_vector(weights), pool.merged_vector(weights))
        assert torch.equal(small.merge(weights).vector, pool.merged_vector(weights))
    assert torch.equal(small.gates(), pool.gates())
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.equal(small.merged_for(images, labels)[0], pool.merged_for(images, labels)[0])


def test_more_experts_than_bits_of_a_byte() -> None:
    pool = pool_of(experts=11, hardening=Hardening())
    small = pack(pool)
    assert update_of(small).codes.shape[0] == 2
    for weights in weights_of(11):  # the two bytes are added, in another order than eleven gates
        torch.testing.assert_close(small.merged_vector(weights), pool.merged_vector(weights), rtol=1e-6, atol=1e-7)
    assert torch.equal(small.gates(), pool.gates())


def test_density_is_that_of_the_gates() -> None:
    pool = pool_of()
    merged = pack(pool).merge(torch.full((3,), 1 / 3))
    torch.testing.assert_close(merged.expected_density, (pool.gates() > 0).float().mean(1))
    torch.testing.assert_close(merged.sparsity, 1 - merged.expected_density)


def test_the_gates_together() -> None:
    pool = pool_of()
    for weights in weights_of(3):
        assert torch.equal(pack(pool).update.merged_gates(weights), pool.update.merged_gates(weights))


def test_rounded_pools_are_near() -> None:
    pool = pool_of()
    small = pack(pool, lossy=True)
    assert bits_of(small) == 2
    levels = {round(level, 4) for level in small.gates().unique().tolist()}
    assert levels == {0, 0.3333, 0.6667, 1}
    assert (small.gates() - pool.gates()).abs().max() <= 1 / 6 + 1e-6
    for weights in weights_of(3):
        exact = pool.merged_vector(weights)
        assert 0 < (small.merged_vector(weights) - exact).norm() / (exact - pool.pretrained).norm() < 0.25
    assert bits_of(pack(pool_of(hardening=Hardening()), lossy=True)) == 1


def test_biases_and_norms_are_not_rounded() -> None:
    pool = pool_of()
    small = pack(pool, lossy=True)
    before, after = pool.layout.views(pool.pretrained), small.layout.views(small.pretrained)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(before[name].ndim > 1 for name in changed)


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS.keys())
def test_a_packed_pool_comes_back_from_a_folder(settings: dict[str, object], lossy: bool, tmp_path: Path) -> None:
    small = pack(pool_of(**settings), lossy=lossy)
    small.save_pretrained(tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=pool_of().backbone)
    assert again.config == small.config
    assert again.fingerprint() == small.fingerprint()
    for weights in weights_of(small.config.experts):
        assert torch.equal(again.merged_vector(weights), small.merged_vector(weights))
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_real_architecture_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts.from_pretrained(save_checkpoint(tmp_path / "pool"))
    pack(pool).save_pretrained(tmp_path / "packed")
    again = SparseInterpolatedExperts.from_pretrained(tmp_path / "packed")
    images, labels = torch.randn(4, 3, SIZE, SIZE), torch.tensor([0, 1, 0, 1])
    assert torch.equal(again.merged_for(images, labels)[0], pool.merged_for(images, labels)[0])
    assert "| packed | for use, exactly |" in (tmp_path / "packed/README.md").read_text()


def test_only_what_some_expert_opens_is_kept() -> None:
    pool = pool_of(hardening=Hardening())
    small = pack(pool)
    opened = (pool.gates() > 0).any(0)
    assert torch.equal(update_of(small).values, pool.update.delta[opened])
    assert len(update_of(small).partial) == len(update_of(small).fractions) == 0


def test_the_pool_is_left_as_it_is() -> None:
    pool = pool_of()
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    pool.train()
    pack(pool, lossy=True)
    assert pool.training
    assert all(torch.equal(value, before[name]) for name, value in pool.state_dict().items())


def test_results_of_a_pool_are_not_those_of_a_packed_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pool = pool_of()
    pool.card = full_card(pool)
    assert pack(pool, lossy=True).card == pool.card  # what is of other numbers is left out when it is saved
    pack(pool, lossy=True).save_pretrained(tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=pool_of().backbone)
    assert again.card.training == pool.card.training
    assert not again.card.results


def test_results_of_a_pool_hold_for_one_that_makes_the_same_networks(tmp_path: Path) -> None:
    pool = pool_of()
    pool.card = full_card(pool)
    pack(pool).save_pretrained(tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path, backbone=pool_of().backbone)
    assert pool.card.results
    assert [result.accuracy for result in again.card.results] == [result.accuracy for result in pool.card.results]
    assert again.card.analysis
    assert {each.checkpoint for each in (*again.card.results, again.card.analysis)} == {again.fingerprint()}


def test_a_packed_pool_is_not_trained() -> None:
    small = pack(pool_of())
    with pytest.raises(ConfigError, match="packed, for use and not for training: train from the checkpoint"):
        MetaOptimizer(small, torch.nn.Parameter(torch.zeros(3)), OptimizerConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experts": 0}, "it has no experts: only experts that share an update behind gates are packed"),
        ({"gating": "open", "separate_deltas": True}, "it has experts that do not share an update"),
    ],
)
def test_what_has_no_shared_update_is_not_packed(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pack(pool_of(**settings))


def test_a_packed_pool_is_not_packed_again() -> None:
    with pytest.raises(ConfigError, match="packed already"):
        pack(pack(pool_of()))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("values", lambda t: t[:-1]),
        ("partial", lambda t: t[:-1]),
        ("partial", lambda t: t.float()),
        ("fractions", lambda t: t[:-1]),
        ("codes", lambda t: torch.zeros_like(t)),
    ],
)
def test_parts_that_contradict_each_other_are_refused(name: str, change, tmp_path: Path) -> None:
    small = pack(pool_of())
    tensors = small.tensors()
    tensors[f"update.{name}"] = change(tensors[f"update.{name}"])
    with pytest.raises(CheckpointError, match="its packed experts contradict each other: it was changed"):
        small.load_tensors(tensors, "the file")


def test_a_part_that_is_missing_or_of_another_shape_is_named() -> None:
    small = pack(pool_of())
    tensors = small.tensors()
    with pytest.raises(CheckpointError, match=r"update\.codes: \(1, 5\) instead of"):
        small.load_tensors(tensors | {"update.codes": torch.zeros(1, 5, dtype=torch.uint8)}, "the file")
    del tensors["update.codes"]
    with pytest.raises(CheckpointError, match=r"update\.codes: missing instead of"):
        small.load_tensors(tensors, "the file")


def test_another_number_of_experts_is_found_before_they_are_made(tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts(backbones.load("pocket"), PoolConfig(experts=2))
    pack(pool).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"experts": 2', '"experts": 90'))
    with pytest.raises(CheckpointError, match=r"pool\.experts is 90, but the codes are of another number"):
        SparseInterpolatedExperts.from_pretrained(tmp_path)


def test_the_file_holds_bytes(tmp_path: Path) -> None:
    pack(pool_of()).save_pretrained(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.uint8}
