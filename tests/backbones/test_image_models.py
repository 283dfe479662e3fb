"""Models of transformers that no table describes: their feature is found by a rule, and tried."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smat.backbones import BackboneSpec, build, load, recomputed_activations
from smat.errors import BackboneError
from tiny_checkpoints import MEAN, images, save

Feature = Callable[[Any, Tensor], Tensor]
# model -> its feature, and what transformers itself gives for that
FEATURES: dict[str, tuple[str, Feature]] = {
    "deit": ("pooler", lambda model, x: model(x).pooler_output),
    "deit_classifier": ("cls", lambda model, x: model.deit(x).last_hidden_state[:, 0]),
    "beit_classifier": ("pooler", lambda model, x: model.beit(x).pooler_output),
    "vit_msn": ("cls", lambda model, x: model(x).last_hidden_state[:, 0]),
    "ijepa": ("mean", lambda model, x: model(x).last_hidden_state.mean(1)),
    "swin_classifier": ("pooler", lambda model, x: model.swin(x).pooler_output),
    "swinv2": ("pooler", lambda model, x: model(x).pooler_output),
    "hiera": ("pooler", lambda model, x: model(x).pooler_output),
    "efficientnet_classifier": ("pooler", lambda model, x: model.efficientnet(x).pooler_output),
    "levit": ("pooler", lambda model, x: model(x).pooler_output),
    "pvt": ("cls", lambda model, x: model(x).last_hidden_state[:, 0]),
    "pvt_v2": ("mean", lambda model, x: model(x).last_hidden_state.mean((2, 3))),
}


@pytest.fixture(params=sorted(FEATURES))
def model(request: pytest.FixtureRequest) -> str:
    return request.param


def size_of(model: str) -> int:
    return 64 if model == "levit" else 32


def edit(folder: Path, change: Callable[[dict[str, Tensor]], object], **config: object) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))


def test_the_feature_is_found(model: str, tmp_path: Path) -> None:
    network = save(model, tmp_path)
    backbone = load(tmp_path)
    x = images(size_of(model))
    name, feature = FEATURES[model]
    assert (backbone.spec.feature, list(backbone.spec.mean)) == (name, MEAN)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), feature(network, x), atol=2e-6, rtol=1e-5)


def test_it_is_rebuilt_from_its_description(model: str, tmp_path: Path) -> None:
    save(model, tmp_path)
    loaded, x = load(tmp_path), images(size_of(model))
    spec = BackboneSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(loaded.spec))))
    built = build(spec)
    assert [n for n, _ in built.named_parameters()] == [n for n, _ in loaded.named_parameters()]
    built.load_state_dict(loaded.state_dict())
    torch.testing.assert_close(built(x), loaded(x), atol=1e-6, rtol=1e-5)
    with torch.device("meta"):
        assert build(spec).feature_dim == loaded.feature_dim


def test_every_parameter_has_a_gradient_at_every_call(model: str, tmp_path: Path) -> None:
    save(model, tmp_path)
    backbone, x = load(tmp_path), images(size_of(model))

    def gradients() -> list[Tensor]:
        features = backbone(x)
        weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(2))
        return list(torch.autograd.grad((features * weight).sum(), list(backbone.parameters())))

    plain = gradients()
    with recomputed_activations(backbone):
        assert all(torch.equal(a, b) for a, b in zip(plain, gradients(), strict=True))


def test_what_levit_remembers_of_its_parameters_is_not_kept(tmp_path: Path) -> None:
    save("levit", tmp_path)
    backbone, x = load(tmp_path), images(64)
    with torch.no_grad():
        backbone(x)
        for parameter in backbone.parameters():
            parameter.mul_(1.1)
        again = build(backbone.spec)
        again.load_state_dict(backbone.state_dict())
        torch.testing.assert_close(backbone(x), again(x))
    copy.deepcopy(backbone)


@pytest.mark.parametrize("model", ["deit", "beit_classifier", "swin_classifier", "hiera", "efficientnet_classifier"])
def test_another_image_size_is_what_transformers_computes(model: str, tmp_path: Path) -> None:
    network, x = save(model, tmp_path), images(64)
    base: Any = getattr(network, network.base_model_prefix) if "classifier" in model else network
    option = {} if "efficient" in model else {"interpolate_pos_encoding": True}
    backbone = load(tmp_path, image_size=64)
    built = build(backbone.spec)
    built.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        expected = base(x, **option).pooler_output.flatten(1)
        for made in (backbone, built):
            torch.testing.assert_close(made(x), expected, atol=2e-6, rtol=1e-5)


def test_an_image_size_that_a_network_cannot_take(tmp_path: Path) -> None:
    save("levit", tmp_path)
    with pytest.raises(BackboneError, match=r"cannot process images \[2, 3, 96, 96\].*certain sizes only"):
        load(tmp_path, image_size=96)
    with pytest.raises(BackboneError, match=r"loaded for images of 64 x 64 pixels and cannot process \[3, 3, 96, 96\]"):
        load(tmp_path)(images(96))


def test_a_masked_autoencoder_is_refused_unless_it_masks_nothing(tmp_path: Path) -> None:
    save("vit_mae", tmp_path)
    before = torch.get_rng_state()
    with pytest.raises(BackboneError, match=r"other features for the same images each time.*\"mask_ratio\" is 0"):
        load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    edit(tmp_path, lambda state: None, mask_ratio=0.0)
    assert load(tmp_path).spec.feature == "cls"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("videomae", r"cannot process images \[2, 3, 32, 32\]"),
        ("hgnet_v2", "a HGNetV2Backbone, gives no feature of an image: its output has feature_maps.*module:PATH"),
    ],
)
def test_what_gives_no_feature_of_images_is_refused(name: str, message: str, tmp_path: Path) -> None:
    save(name, tmp_path)
    with pytest.raises(BackboneError, match=message):
        load(tmp_path, image_size=32)


@pytest.mark.parametrize("model_type", ["bert", "blip-2", "detr", "timm_wrapper", "siglip2_vision_model", ["vit"], 3])
def test_what_takes_more_than_images_is_refused_before_it_is_made(model_type: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(BackboneError, match=r"which is not an image network.*takes images alone"):
        load(tmp_path)


def test_a_network_of_timm_says_how_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_features": 512}))
    with pytest.raises(BackboneError, match=rf"a network of timm: write .*'timm:local-dir:{tmp_path}'"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["deit", "vit"])
def test_images_of_one_channel_are_refused(name: str, tmp_path: Path) -> None:
    save(name, tmp_path, num_channels=1)
    with pytest.raises(BackboneError, match=r"images of 1 channels \(num_channels in its config\.json\)"):
        load(tmp_path)


def test_weights_that_the_feature_needs_must_be_there(tmp_path: Path) -> None:
    save("swin_classifier", tmp_path)
    edit(tmp_path, lambda state: state.pop("swin.layernorm.weight"))
    with pytest.raises(BackboneError, match=r"1 missing, such as layernorm\.weight"):
        load(tmp_path)


def test_layers_in_surplus_are_not_dropped(tmp_path: Path) -> None:
    save("deit_classifier", tmp_path)
    edit(tmp_path, lambda state: None, num_hidden_layers=1)
    with pytest.raises(BackboneError, match=r"in surplus, such as .*layer"):
        load(tmp_path)


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "not finite"), (0.0, "same feature for different")])
def test_weights_that_make_no_feature_are_refused(value: float, message: str, tmp_path: Path) -> None:
    save("pvt_v2", tmp_path)
    edit(tmp_path, lambda state: [tensor.fill_(value) for tensor in state.values()])
    with pytest.raises(BackboneError, match=message):
        load(tmp_path)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    save("deit", tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"pytorch_model\.bin\) are not read"):
        load(tmp_path)
