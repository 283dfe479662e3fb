"""Activations that are made again in backward: the same gradients, and less that is kept."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from smat import backbones
from smat.backbones import recomputed_activations, shared_casts
from tiny_checkpoints import save


def gradients(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Of a scalar, by every parameter; twice over one graph, as a training task does."""
    network.zero_grad()
    features = network(images)
    weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        (features * weight).sum().backward(retain_graph=True)
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    "family", ["vit", "dinov2", "dinov2_swiglu", "dinov3_vit", "clip_vision", "siglip_vision", "convnext"]
)
def test_gradients_are_the_same_numbers(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    backbone = backbones.load(str(tmp_path))
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = gradients(backbone, images)
    with recomputed_activations(backbone):
        again = gradients(backbone, images)
    assert len(plain) == len(again) > 10
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


class Block(nn.Module):
    """One wide activation between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.rise, self.bend, self.fall = nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fall(self.bend(self.rise(x)))


def test_the_output_of_an_activation_is_not_kept() -> None:
    saved: list[Tensor] = []
    block, x = Block(), torch.randn(16, 5, 8)

    class Watch(nn.GELU):
        def forward(self, input: Tensor) -> Tensor:
            saved.append(input)
            return super().forward(input)

    block.bend = Watch()
    with recomputed_activations(block):
        output = block(x)
    assert len(saved) == 1
    output.sum().backward()
    assert len(saved) == 2, "computed once more, in backward"
    assert saved[0].data_ptr() == saved[1].data_ptr()


def test_an_address_that_is_used_again_is_not_mistaken_for_an_activation() -> None:
    block, x = Block(), torch.randn(16, 8)
    with recomputed_activations(block):
        for _ in range(20):
            with torch.no_grad():
                block.bend(torch.randn(16, 64))  # its output is freed at once
            a = torch.randn(16, 64).requires_grad_()
            b = torch.randn(16, 64)  # likely where that output was
            (a * b).sum().backward()
            assert torch.equal(a.grad, b)
        block(x).sum().backward()
    assert block.fall.weight.grad is not None


def test_an_activation_that_overwrites_its_input_is_left_alone() -> None:
    block, x = Block(), torch.randn(16, 8)
    block.bend = nn.SiLU(inplace=True)
    plain = gradients(block, x)
    with recomputed_activations(block):
        again = gradients(block, x)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_layers_that_read_one_tensor_share_its_cast() -> None:
    seen: list[Tensor] = []
    layers = nn.ModuleList(nn.Linear(8, 4) for _ in range(3)).bfloat16()
    for layer in layers:
        layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x, y = torch.randn(2, 5, 8)
    with shared_casts(layers, torch.bfloat16):
        for given in (x, x, y, x):
            layers[0](given)
    assert seen[0] is seen[1]
    assert torch.equal(seen[2], y.bfloat16())
    assert torch.equal(seen[3], x.bfloat16())
    assert not layers[0]._forward_pre_hooks
