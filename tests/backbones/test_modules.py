import dataclasses

import pytest
import torch
from torch import nn

from smat.backbones import build, load
from smat.errors import BackboneError
from tiny_checkpoints import images


class Net(nn.Module):
    """A convolution, a batch norm, a parameter that nothing uses, one that is frozen, an integer buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.unused = nn.Parameter(torch.ones(2))
        self.scale = nn.Parameter(torch.ones(6), requires_grad=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(x)).mean(dim=(2, 3)) * self.scale


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), 4)


def test_a_module_becomes_a_backbone() -> None:
    module = Net().train().double()
    backbone = load(module, image_size=16, mean=(0.5, 0.5, 0.5))
    assert backbone.feature_dim == 6
    assert [n for n, _ in backbone.named_parameters()] == [
        "network.scale",
        "network.convolution.weight",
        "network.convolution.bias",
        "network.norm.weight",
        "network.norm.bias",
    ]
    assert torch.equal(backbone.state_dict()["network.unused"], torch.ones(2))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert backbone.spec.mean == (0.5, 0.5, 0.5)
    assert backbone.spec.std == (0.229, 0.224, 0.225)
    backbone.train()(images(16))
    assert torch.equal(backbone.state_dict()["network.norm.running_mean"], torch.zeros(6))
    # The caller's own module is as it was.
    assert module.training
    assert not module.scale.requires_grad
    assert module.unused.dtype == torch.float64
    assert "unused" in dict(module.named_parameters())


def test_a_module_is_rebuilt_around_the_callers_own() -> None:
    loaded = load(Net(), image_size=16)
    built = build(loaded.spec, Net())
    built.load_state_dict(loaded.state_dict())
    assert torch.equal(built(images(16)), loaded(images(16)))
    assert dataclasses.asdict(loaded.spec)["config"] == {}


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv2d(3, 4, 3), r"gives \[2, 4, 14, 14\].*one vector per image.*pools its output"),
        (nn.Conv2d(1, 4, 3), r"cannot process images \[2, 3, 16, 16\].*must map \[n, 3, h, w\]"),
        (Constant(), "no parameter of backbone 'Constant' influences its output"),
    ],
)
def test_a_module_that_gives_no_features_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load(module, image_size=16)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(BackboneError, match="image_size is missing: the module Net"):
        load(Net())
    spec = load(Net(), image_size=16).spec
    with pytest.raises(BackboneError, match=r"kind 'module': give the nn\.Module"):
        build(spec)
    with pytest.raises(BackboneError, match="build it without a module"):
        build(dataclasses.replace(spec, kind="transformers"), Net())
    with pytest.raises(BackboneError, match="kind 'other' is unknown"):
        build(dataclasses.replace(spec, kind="other"))
    with pytest.raises(BackboneError, match="'bert' cannot be built; known are: clip_vision_model"):
        build(dataclasses.replace(spec, kind="transformers", config={"model_type": "bert"}))
