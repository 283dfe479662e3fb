"""Networks of timm, which is an extra: most of this is skipped where it is not installed."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from smat.backbones import BackboneSpec, build, load
from smat.errors import BackboneError
from tiny_checkpoints import images


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm", exc_type=ImportError, reason="timm, an extra, is not installed")


def save(timm: Any, folder: Path, architecture: str, size: int, **arguments: object) -> torch.nn.Module:
    """A random network, saved as timm saves them."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=7, **arguments).eval()
    cfg = {"input_size": [3, size, size], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 7}
    config = {"architecture": architecture, "num_classes": 7, "pretrained_cfg": network.pretrained_cfg | cfg}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"model_args": arguments}))
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return network


def test_where_it_is_not_installed() -> None:
    if importlib.util.find_spec("timm"):
        pytest.skip("timm is installed")
    with pytest.raises(BackboneError, match=r"with `pip install '\.\[timm\]'`"):
        load("timm:resnet18")


def test_an_architecture_is_built_from_its_description(timm: Any) -> None:
    half = (0.5, 0.5, 0.5)
    config = {"model_name": "vit_tiny_patch16_224", "num_classes": 0, "img_size": 32}
    spec = BackboneSpec("timm", "timm:vit_tiny_patch16_224", config, 32, half, half, "output")
    assert build(spec)(images(32)).shape == (3, 192)


def test_names_that_timm_does_not_know(timm: Any, tmp_path: Path) -> None:
    for name in ("timm:nonsense", "timm:vit_tiny_patch16_224.nonsense"):
        with pytest.raises(BackboneError, match="timm has no pre-trained network"):
            load(name)
    with pytest.raises(BackboneError, match=r"cannot be read by timm: FileNotFoundError.*timm:local-dir:FOLDER"):
        load(f"timm:local-dir:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize(
    ("architecture", "size", "arguments"),
    [
        ("vit_tiny_patch16_224", 32, {"img_size": 32, "depth": 2}),
        ("resnet18", 48, {}),
        ("efficientnet_b0", 48, {}),
        ("swin_tiny_patch4_window7_224", 56, {"img_size": 56, "depths": [1, 1, 1, 1]}),
    ],
)
def test_a_network_of_a_folder(timm: Any, architecture: str, size: int, arguments: Any, tmp_path: Path) -> None:
    network: Any = save(timm, tmp_path, architecture, size, **arguments)
    backbone = load(f"timm:local-dir:{tmp_path}")
    assert (backbone.spec.image_size, backbone.spec.mean) == (size, (0.1, 0.2, 0.3))
    network.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images(size)), network(images(size)), atol=1e-5, rtol=1e-5)
    (tmp_path / "config.json").unlink()  # a pool is opened where there is no such folder
    built = build(BackboneSpec.from_dict(json.loads(json.dumps(asdict(backbone.spec)))))
    built.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(built(images(size)), backbone(images(size)), atol=1e-5, rtol=1e-5)


def test_positions_are_resized_to_another_image_size(timm: Any, tmp_path: Path) -> None:
    save(timm, tmp_path, "vit_tiny_patch16_224", 32, img_size=32, depth=1)
    assert load(f"timm:local-dir:{tmp_path}", image_size=64)(images(64)).shape == (3, 192)


def test_a_missing_weight_is_not_left_random(timm: Any, tmp_path: Path) -> None:
    save(timm, tmp_path, "resnet18", 48)
    state = load_file(tmp_path / "model.safetensors")
    del state["layer1.0.conv1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"do not fit its config: Missing keys \(layer1\.0\.conv1\.weight\)"):
        load(f"timm:local-dir:{tmp_path}")


def test_a_network_of_the_hub(timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = save(timm, tmp_path, "resnet18", 48)
    hub = importlib.import_module("timm.models._hub")

    def fetch(repo_id: str, filename: str, **_: object) -> str:
        assert repo_id == "someone/tiny"
        return str(tmp_path / filename)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    backbone = load("timm:hf-hub:someone/tiny")
    network.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images(48)), network(images(48)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"model_name": "resnet18", "checkpoint_path": "/tmp/x.bin"},
        {"model_name": "hf-hub:somebody/something"},
        {"model_name": "resnet18", "pretrained_cfg": {"url": "https://example.org/x.bin"}},
    ],
)
def test_a_description_cannot_have_files_read(config: dict[str, Any]) -> None:
    spec = BackboneSpec("timm", "timm:resnet18", config, 32, (0.5,) * 3, (0.5,) * 3, "output")
    with pytest.raises(BackboneError, match="have timm read or fetch files"):
        build(spec)
