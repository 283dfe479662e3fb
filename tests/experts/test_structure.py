from typing import get_args

import jaxtyping
import pytest
import torch
from torch import Tensor
from transformers import ViTConfig, ViTModel

from golden_cases import TinyViT
from smat.errors import ConfigError
from smat.experts import Structure, block_of, gate_index
from smat.flat import Layout

WIDTH, HEADS = 8, 2
STRUCTURED = [s for s in get_args(Structure) if s != "parameter"]


def vit_layout() -> Layout:
    """A transformers ViT: separate query, key and value projections."""
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=12,
        image_size=8,
        patch_size=4,
    )
    return Layout.of(ViTModel(config, add_pooling_layer=False))


def fused_layout() -> Layout:
    """A ViT whose query, key and value come from one layer."""
    return Layout.of(TinyViT(image=8, patch=4, width=WIDTH, depth=2, heads=HEADS, mlp_ratio=2))


LAYOUTS = {"transformers": vit_layout(), "fused": fused_layout()}


def by_name(layout: Layout, structure: Structure) -> dict[str, Tensor]:
    """Each parameter's gates, in its shape."""
    index = gate_index(layout, structure, HEADS)
    assert index is not None
    return {
        name: index[where].view(shape)
        for (name, where), shape in zip(layout.slices.items(), layout.shapes, strict=True)
    }


def owners_of(gates: dict[str, Tensor]) -> dict[int, set[str]]:
    """The tensors that follow each gate."""
    found: dict[int, set[str]] = {}
    for name, tensor in gates.items():
        for number in tensor.unique().tolist():
            found.setdefault(number, set()).add(name)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_parameter_of_its_own_needs_no_index(layout: str) -> None:
    assert gate_index(LAYOUTS[layout], "parameter") is None


# counted by hand: tokens and positions + patches + two blocks of (norms + attention + MLP) + the last norm
@pytest.mark.parametrize(
    ("layout", "structure", "gates"),
    [
        ("transformers", "input", 48 + (8 + 8) + 2 * (32 + (4 * 8 + 4 * 8) + (8 + 12 + 12 + 8)) + 16),
        ("transformers", "output", 1 + 8 + 2 * (16 + 4 * 8 + (12 + 8)) + 8),
        ("transformers", "head", 1 + 1 + 2 * (2 + (2 + 1) + 2) + 1),
        ("transformers", "layer", 1 + 1 + 2 * (2 + 4 + 2) + 1),
        ("fused", "input", 48 + (8 + 8) + 2 * (32 + (8 + 24 + 8 + 8) + (8 + 16 + 16 + 8)) + 16),
        ("fused", "output", 2 + 8 + 2 * (16 + (24 + 8) + (16 + 8)) + 8),
        ("fused", "head", 2 + 1 + 2 * (2 + (2 + 1) + 2) + 1),
        ("fused", "layer", 2 + 1 + 2 * (2 + 2 + 2) + 1),
    ],
)
def test_there_are_as_many_gates_as_groups_and_each_is_used(layout: str, structure: Structure, gates: int) -> None:
    index = gate_index(LAYOUTS[layout], structure, HEADS)
    assert index is not None
    assert index.shape == (LAYOUTS[layout].size,)
    assert torch.equal(index.unique(), torch.arange(gates))


@pytest.mark.parametrize("structure", STRUCTURED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_gate_reaches_beyond_its_module(layout: str, structure: Structure) -> None:
    for names in owners_of(by_name(LAYOUTS[layout], structure)).values():
        owners = {name.rpartition(".")[0] for name in names}
        attention = len({owner.partition("att")[0] for owner in owners}) == 1 and all("att" in o for o in owners)
        assert len(owners) == 1 or (structure == "head" and attention), names


@pytest.mark.parametrize("layout", LAYOUTS)
def test_input_gates_are_columns_of_linear_layers_and_filters_of_convolutions(layout: str) -> None:
    for name, gates in by_name(LAYOUTS[layout], "input").items():
        if name.endswith("weight") and gates.ndim == 2:
            assert torch.equal(gates, gates[:1].expand_as(gates)), name
            assert len(gates[0].unique()) == gates.shape[1]
        elif name.endswith("weight") and gates.ndim == 4:
            assert torch.equal(gates, gates[:, :1, :1, :1].expand_as(gates)), name
            assert len(gates[:, 0, 0, 0].unique()) == len(gates)
        else:
            assert len(gates.unique()) == gates.numel(), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_gates_are_rows_with_their_bias(layout: str) -> None:
    gates = by_name(LAYOUTS[layout], "output")
    biases = [name for name in gates if name.endswith("bias")]
    assert biases
    for name in biases:
        bias, weight = gates[name], gates[name.removesuffix("bias") + "weight"]
        rows = weight.reshape(len(bias), -1)  # a norm's weight has a row of one number for each channel
        assert torch.equal(rows, bias[:, None].expand_as(rows)), name
        assert len(bias.unique()) == len(bias), name


@pytest.mark.parametrize("block", [0, 1])
def test_heads_of_separate_projections(block: int) -> None:
    gates = by_name(LAYOUTS["transformers"], "head")
    prefix = f"layers.{block}.attention."
    head = gates[prefix + "q_proj.bias"].view(HEADS, -1)
    first, second = head[:, 0].tolist()
    assert first != second
    assert torch.equal(head, head[:, :1].expand_as(head))
    for projection in ("q_proj", "k_proj", "v_proj"):
        assert torch.equal(gates[f"{prefix}{projection}.bias"], head.flatten())
        assert torch.equal(gates[f"{prefix}{projection}.weight"], head.view(-1, 1).expand(WIDTH, WIDTH))
    # the projection after attention reads the heads side by side; its bias belongs to none of them
    assert torch.equal(gates[f"{prefix}o_proj.weight"], head.view(1, -1).expand(WIDTH, WIDTH))
    assert owners_of(gates)[int(gates[f"{prefix}o_proj.bias"].unique())] == {f"{prefix}o_proj.bias"}
    assert owners_of(gates)[first] == owners_of(gates)[second]
    assert len(owners_of(gates)[first]) == 7


@pytest.mark.parametrize("block", [0, 1])
def test_heads_of_a_fused_projection_are_the_ones_that_its_network_computes(block: int) -> None:
    network = TinyViT(image=8, patch=4, width=WIDTH, depth=2, heads=HEADS, mlp_ratio=2)
    attention = network.blocks.get_submodule(f"{block}.attn")
    gates = by_name(LAYOUTS["fused"], "head")
    prefix = f"blocks.{block}.attn."
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    before = attention(x)
    with torch.no_grad():  # closing one head: its value rows to 0 are as good as its columns after attention
        first = gates[prefix + "qkv.bias"][0]
        closed = {name: (gates[prefix + name] == first) for name in ("qkv.weight", "qkv.bias", "proj.weight")}
        values = torch.arange(3 * WIDTH) >= 2 * WIDTH
        weight, bias = attention.get_parameter("qkv.weight"), attention.get_parameter("qkv.bias")
        weight[closed["qkv.weight"] & values[:, None]] = 0
        bias[closed["qkv.bias"] & values] = 0
        without_rows = attention(x)
        attention.load_state_dict(network.blocks.get_submodule(f"{block}.attn").state_dict())
        projection = attention.get_parameter("proj.weight")
        projection[~closed["proj.weight"]] = 0
        nothing_left = attention(x) - attention.get_parameter("proj.bias")
    assert not torch.allclose(before, without_rows)
    torch.testing.assert_close(nothing_left, torch.zeros_like(nothing_left))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layer_gates_are_one_a_module(layout: str) -> None:
    gates = by_name(LAYOUTS[layout], "layer")
    assert all(len(tensor.unique()) == 1 for tensor in gates.values())
    of_modules: dict[str, set[int]] = {}
    for name, tensor in gates.items():
        of_modules.setdefault(name.rpartition(".")[0] or name, set()).add(int(tensor.flatten()[0]))
    numbers = [number for found in of_modules.values() for number in found]
    assert len(numbers) == len(set(numbers)) == len(of_modules)


def test_heads_are_needed_where_heads_are_gated() -> None:
    with pytest.raises(ConfigError, match="input, output or layer"):
        gate_index(LAYOUTS["fused"], "head")


def test_an_unknown_structure_is_named_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # outside the tests nothing else checks it
    with pytest.raises(ConfigError, match=r"'channel' is unknown: choose one of parameter, input, output, head, layer"):
        gate_index(LAYOUTS["fused"], "channel")  # pyright: ignore[reportArgumentType]


def test_blocks_are_numbered_modules_and_what_comes_before_and_after() -> None:
    for layout, blocks in (
        (LAYOUTS["transformers"], {"embeddings": "embedding", "layernorm": "rest"}),
        (LAYOUTS["fused"], {"cls_token": "embedding", "norm": "rest"}),
    ):
        found = block_of(layout)
        assert list(found) == list(layout.names)
        for start, block in blocks.items():
            assert {found[name] for name in layout.names if name.startswith(start)} == {block}
        numbered = {block for block in found.values() if block not in ("embedding", "rest")}
        assert len(numbered) == 2
        assert all(name.startswith(f"{found[name]}.") for name in layout.names if found[name] in numbered)
    assert set(block_of(Layout(("weight", "bias"), ((2, 2), (2,)))).values()) == {"rest"}
