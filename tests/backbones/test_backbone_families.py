import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call

from shared import SHARED
from smat.backbones import POCKET, Backbone, BackboneSpec, build, load
from tiny_checkpoints import FAMILIES, MEAN, POSITIONS, STD, images, plain_feature, save

SIZE = 32


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_feature_is_that_of_transformers_at_the_native_size(family: str, tmp_path: Path) -> None:
    model = save(family, tmp_path)
    backbone = load(str(tmp_path), image_size=SIZE)
    features = backbone(images(SIZE))
    assert features.shape == (3, backbone.feature_dim)
    assert features.std() > 1e-3
    torch.testing.assert_close(features, plain_feature(family, model, images(SIZE)), atol=2e-6, rtol=1e-5)


def test_every_parameter_has_a_gradient_through_functional_call(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    backbone = load(str(tmp_path), image_size=SIZE)
    parameters = {n: p.detach().clone().requires_grad_() for n, p in backbone.named_parameters()}
    features = functional_call(backbone, parameters, images(SIZE))
    torch.testing.assert_close(features, backbone(images(SIZE)))
    loss = (features * torch.randn(features.shape, generator=torch.Generator().manual_seed(2))).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    assert [n for n, g in zip(parameters, gradients, strict=True) if g is None] == []
    assert not [n for n in parameters if "mask_token" in n or "text_model" in n or "classifier" in n]


def test_a_built_backbone_takes_the_state_of_the_loaded_one(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    loaded = load(str(tmp_path), image_size=2 * SIZE)
    spec = BackboneSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(loaded.spec))))
    assert spec == loaded.spec
    built = build(spec)
    assert [n for n, _ in built.named_parameters()] == [n for n, _ in loaded.named_parameters()]
    built.load_state_dict(loaded.state_dict())
    torch.testing.assert_close(built(images(2 * SIZE)), loaded(images(2 * SIZE)), atol=0, rtol=0)


def test_loading_at_another_size_is_resizing_the_positions_and_nothing_else(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    native, larger = load(str(tmp_path), image_size=SIZE), load(str(tmp_path), image_size=2 * SIZE)
    before, after = native.state_dict(), larger.state_dict()
    changed = [n for n in before if before[n].shape != after[n].shape or not torch.equal(before[n], after[n])]
    has_table = any(family.startswith(name) for name in POSITIONS)
    assert len(changed) == has_table
    assert all("position_embedding" in name for name in changed)
    assert larger(images(2 * SIZE)).shape == (3, native.feature_dim)


def test_constants_and_type_come_from_the_checkpoint(family: str, tmp_path: Path) -> None:
    model = save(family, tmp_path)
    model.half().save_pretrained(tmp_path)
    backbone = load(str(tmp_path), image_size=SIZE)
    assert (list(backbone.spec.mean), list(backbone.spec.std)) == (MEAN, STD)
    assert {v.dtype for v in backbone.state_dict().values() if v.is_floating_point()} == {torch.float32}
    assert {p.dtype for p in build(backbone.spec).parameters()} == {torch.float32}


def test_only_networks_of_convolutions_get_channels_last(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    backbone = load(str(tmp_path), image_size=SIZE)
    seen: list[bool] = []
    first = next(module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0].stride(1) == 1))
    backbone(images(SIZE))
    assert seen == [family.startswith(("conv", "dinov3_conv", "mobilenet", "regnet", "resnet"))]


def test_statistics_and_dropout_stay_frozen(family: str, tmp_path: Path) -> None:
    dropout = {"hidden_dropout_prob": 0.5} if family.startswith(("vit", "dinov2")) else {}
    save(family, tmp_path, **dropout)
    backbone = load(str(tmp_path), image_size=SIZE)
    before = {n: b.clone() for n, b in backbone.named_buffers()}
    outer = torch.nn.Sequential(backbone).train()
    assert not [n for n, m in backbone.named_modules() if m.training]
    torch.testing.assert_close(outer(images(SIZE)), backbone(images(SIZE)), atol=0, rtol=0)
    assert all(torch.equal(before[n], b) for n, b in backbone.named_buffers())


def test_loading_and_building_leave_the_global_randomness_alone(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    before = torch.get_rng_state()
    build(load(str(tmp_path), image_size=2 * SIZE).spec)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov3_vit", "clip", "siglip"])
def test_attention_is_chosen_by_device_and_precision(name: str, tmp_path: Path) -> None:
    save(name, tmp_path)
    for backbone in (load(str(tmp_path)), build(load(str(tmp_path)).spec)):
        config: Any = backbone.network.config
        assert config._attn_implementation == "smat"


@pytest.mark.parametrize("size", [64, 32])
def test_small_vit_of_the_shared_folder(size: int) -> None:
    backbone = load_shared("vit_tiny_8_64", size)
    assert backbone.feature_dim == 192
    assert backbone.spec.mean == (0.485, 0.456, 0.406)
    assert sum(p.numel() for p in backbone.parameters()) == pytest.approx(5.4e6, rel=0.05)
    features = backbone(images(size))
    assert features.isfinite().all()
    # Different images must be told apart; with randomly initialised layers in between they nearly coincide.
    assert torch.nn.functional.cosine_similarity(features[:1], backbone(torch.zeros(1, 3, size, size))).item() < 0.9


def test_mobilenet_of_the_shared_folder() -> None:
    backbone = load_shared("mobilenet_v2", 96)
    assert backbone.feature_dim == 1280
    assert backbone.spec.mean == backbone.spec.std == (0.5, 0.5, 0.5)
    assert backbone(images(96)).isfinite().all()
    assert backbone(images(128)).shape == (3, 1280)  # a convolutional network has no fixed size


def test_the_pocket_network_that_is_shipped() -> None:
    if not (POCKET / "config.json").is_file():
        pytest.skip("no pocket network in this checkout")
    backbone = load("pocket")
    assert backbone.spec.name == "pocket"
    assert sum(p.numel() for p in backbone.parameters()) < 2_000_000
    features = backbone(images(backbone.spec.image_size))
    assert features.shape == (3, backbone.feature_dim)
    built = build(backbone.spec)
    built.load_state_dict(backbone.state_dict())
    assert torch.equal(built(images(backbone.spec.image_size)), features)


def load_shared(name: str, size: int) -> Backbone:
    folder = SHARED / "backbone" / name
    if not folder.is_dir():
        pytest.skip(f"no ../shared/backbone/{name}")
    return load(str(folder), image_size=size)
