"""Merging by a table, where gates are 0 or 1 and stay as they are: the same numbers."""

import pytest
import torch

from small_pools import vit_pool
from smat.evaluation import Experts
from smat.experts import Hardening, SparseInterpolatedExperts, pack
from smat.experts.lookup import Bits, codes_of, decode, encode
from smat.experts.updates import GatedUpdate

HARD = {"hardening": Hardening()}
SETTLED = {
    "hard gates": HARD,
    "one expert": HARD | {"experts": 1},
    "eight experts": HARD | {"experts": 8},
    "shared gates": HARD | {"structure": "output"},
    "random masks": {"gating": "random"},
    "one mask": {"gating": "magnitude", "experts": 1},
}
NOT_SETTLED = {
    "soft gates": {},
    "nine experts": HARD | {"experts": 9},
    "no gates": {"gating": "open", "experts": 1},
    "updates of their own": {"gating": "random", "separate_deltas": True},
}


def pool_of(**settings: object) -> SparseInterpolatedExperts:
    return vit_pool(torch.float32, **settings).eval()


def codes(pool: SparseInterpolatedExperts) -> torch.Tensor | None:
    return pool.update._codes if isinstance(pool.update, GatedUpdate) else None


def weights_of(experts: int) -> torch.Tensor:
    return torch.randn(4, experts, generator=torch.Generator().manual_seed(2)).softmax(1)


@pytest.mark.parametrize("settings", SETTLED.values(), ids=SETTLED.keys())
def test_settled_gates_merge_to_the_very_same_networks(settings: dict[str, object]) -> None:
    pool = pool_of(**settings)
    weights = weights_of(pool.config.experts)
    before, fingerprint = [pool.merged_vector(each) for each in weights], pool.fingerprint()
    pool.update.settle()
    assert codes(pool) is not None
    assert all(torch.equal(pool.merged_vector(each), vector) for each, vector in zip(weights, before, strict=True))
    assert pool.fingerprint() == fingerprint
    assert torch.equal(pack(pool).merged_vector(weights[0]), before[0])


@pytest.mark.parametrize("settings", NOT_SETTLED.values(), ids=NOT_SETTLED.keys())
def test_what_a_table_would_not_merge_to_the_same_numbers_is_merged_as_before(settings: dict[str, object]) -> None:
    pool = pool_of(**settings)
    weights = weights_of(pool.config.experts)[0]
    before = pool.merged_vector(weights)
    pool.update.settle()
    assert codes(pool) is None
    assert torch.equal(pool.merged_vector(weights), before)


def test_gates_that_are_trained_are_not_settled() -> None:
    pool = pool_of(**HARD)
    weights = weights_of(pool.config.experts)[0]
    pool.update.settle()
    before = pool.merged_vector(weights)
    pool.train()
    assert codes(pool) is None
    pool.update.settle()
    assert codes(pool) is None, "in training gates change"
    with torch.no_grad():
        pool.update.get_parameter("gate_logits").neg_()
    assert not torch.equal(pool.eval().merged_vector(weights), before)
    changed = pool.merged_vector(weights)
    pool.update.settle()
    assert torch.equal(pool.merged_vector(weights), changed)


def test_other_numbers_unsettle() -> None:
    pool, other = pool_of(**HARD), pool_of(**HARD)
    with torch.no_grad():
        other.update.get_parameter("gate_logits").neg_()
    weights = weights_of(pool.config.experts)[0]
    pool.update.settle()
    pool.load_tensors(other.tensors(), "another pool")
    assert torch.equal(pool.merged_vector(weights), other.merged_vector(weights))
    assert "_codes" not in " ".join(pool.state_dict())


def test_gates_are_computed_once_for_all_who_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    pool = pool_of()
    update = type(pool.update)
    monkeypatch.setattr(update, "_codes_of_gates", lambda self: asked.append(self))
    Experts(pool)
    Experts(pool)
    assert len(asked) == 1
    assert not pool.training


@pytest.mark.parametrize(("experts", "bits"), [(1, 1), (8, 1), (9, 1), (4, 2), (5, 2)])
def test_codes_are_decoded_to_what_was_encoded(experts: int, bits: Bits) -> None:
    levels = torch.randint(2**bits, (experts, 50), generator=torch.Generator().manual_seed(1)).byte()
    found = encode(levels, bits)
    assert found.shape == (-(-experts * bits // 8), 50)
    torch.testing.assert_close(decode(found, bits, experts), levels / (2**bits - 1))


def test_codes_of_parts_are_those_of_the_whole() -> None:
    gates = (torch.rand(3, 20, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    whole = encode(gates.byte(), 1)
    for parts in (iter([gates[:, :7], gates[:, 7:]]), [gates.bool()]):
        found = codes_of(parts)
        assert found is not None
        assert torch.equal(found, whole)
    assert codes_of([]) is None
    gates[1, 19] = 0.5
    assert codes_of([gates[:, :7], gates[:, 7:]]) is None
