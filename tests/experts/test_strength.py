"""How far networks go from the pre-trained to the merged one."""

import pytest
import torch
from torch import nn

from small_pools import random_episode, vit_pool
from smat.errors import ConfigError
from smat.experts import Strength
from smat.experts.strength import depths
from smat.flat import Layout
from smat.rng import seeded_torch


def vectors(size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    with seeded_torch(0, "strength"):
        return torch.randn(size), torch.randn(size)


LAYOUT = Layout(
    ("embedding", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.2.weight", "norm"),
    ((5,), (2, 5), (2,), (2, 5), (2, 5), (3,)),
)
NESTED = Layout(
    tuple(f"network.{name}" for name in ("patches", "layers.3.a", "layers.4.blocks.7.b", "layers.7.c", "out")),
    ((1,),) * 5,
)


@pytest.mark.parametrize(
    ("text", "strength"),
    [
        ("0", Strength(0.0, 0.0)),
        ("1", Strength()),
        ("0.5", Strength(0.5, 0.5)),
        ("0.5..1", Strength(0.5, 1.0)),
        ("1..0", Strength(1.0, 0.0)),
        ("0..4", Strength(0.0, 4.0)),
        ("1.25", Strength(1.25, 1.25)),
    ],
)
def test_texts_stand_for_strengths_and_back(text: str, strength: Strength) -> None:
    assert Strength.parse(text) == strength
    assert str(strength) == text


@pytest.mark.parametrize("text", ["", "half", "0.5..", "..1", "0..1..2", "1-2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Strength.parse(text)
    assert str(error.value) == f"strength {text!r} is no number, nor two as in 0.5..1"


@pytest.mark.parametrize("text", ["9", "-1", "0..4.5", "nan", "inf"])
def test_numbers_outside_the_range_are_refused_as_such(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^a strength is .*; give numbers in 0..4$"):
        Strength.parse(text)


def test_the_ends_are_the_networks_themselves() -> None:
    pretrained, merged = vectors()
    assert Strength(0.0, 0.0).apply(pretrained, merged, LAYOUT) is pretrained
    assert Strength().apply(pretrained, merged, LAYOUT) is merged


@pytest.mark.parametrize("c", [0.25, 0.5, 1.5])
def test_one_number_is_a_line_through_both(c: float) -> None:
    pretrained, merged = vectors()
    found = Strength(c, c).apply(pretrained, merged, LAYOUT)
    torch.testing.assert_close(found, pretrained + c * (merged - pretrained))


def test_two_numbers_are_linear_in_depth() -> None:
    pretrained, merged = vectors()
    found = Strength(0.2, 1.0).apply(pretrained, merged, LAYOUT)
    for name, c in zip(LAYOUT.names, (0.2, 0.2, 0.2, 0.6, 1.0, 1.0), strict=True):
        part = LAYOUT.slices[name]
        torch.testing.assert_close(found[part], pretrained[part] + c * (merged - pretrained)[part], msg=name)
    ends = [Strength(a, b).apply(pretrained, merged, LAYOUT) for a, b in ((0.0, 1.0), (1.0, 0.0))]
    torch.testing.assert_close(ends[0] + ends[1], pretrained + merged)


def test_depths_are_of_numbered_blocks_or_else_of_the_order() -> None:
    assert depths(LAYOUT) == [0, 0, 0, 0.5, 1, 1]
    assert depths(NESTED) == [0, 0, 0.25, 1, 1]
    plain = Layout.of(nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 1, bias=False)}))
    assert depths(plain) == [0, 0.5, 1]
    assert depths(Layout(("blocks.0.weight", "norm"), ((1,), (1,)))) == [0, 1]  # of one block
    assert depths(Layout(("weight",), ((2,),))) == [0]


def test_every_parameter_of_a_network_has_a_depth() -> None:
    """And of a transformer's, the embedding has the first, the last norm the last."""
    pool, episode = vit_pool().eval(), random_episode()
    found = depths(pool.layout)
    assert len(found) == len(pool.layout.names)
    assert (min(found), max(found), found[0], found[-1]) == (0, 1, 0, 1)
    merged, _ = pool.merged_for(episode.support, episode.support_labels)
    changed = Strength(0.0, 1.0).apply(pool.pretrained, merged, pool.layout)
    first = torch.tensor(found).repeat_interleave(torch.tensor(pool.layout.sizes)) == 0
    torch.testing.assert_close(changed[first], pool.pretrained[first])
    assert not torch.equal(changed[~first], pool.pretrained[~first])
    assert changed.dtype == torch.float64
