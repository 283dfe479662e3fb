"""Size and normalisation of a backbone's images: those of its checkpoint, or what is asked for."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from smat.adaptation import open_model
from smat.backbones import ImageOptions, load
from smat.errors import BackboneError, ConfigError, SmatError
from smat.experts import PoolConfig, SparseInterpolatedExperts
from tiny_checkpoints import MEAN, STD, images, save

CPU = torch.device("cpu")


def preprocess(folder: Path, **values: object) -> None:
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({"crop_size": {"height": 16, "width": 16}}, 16),
        ({"crop_size": 16}, 16),
        ({"crop_size": {"height": 16, "width": 16}, "do_center_crop": True}, 16),
        ({"crop_size": {"height": 16, "width": 16}, "do_center_crop": False}, 32),  # as EfficientNet's
        ({"crop_size": {"height": 32, "width": 32}}, 32),
        ({"crop_size": {"height": 16, "width": 24}}, 32),
        ({"crop_size": 20}, 32),  # patches of 8 do not fill it
        ({"crop_size": None}, 32),
        ({"crop_size": "16"}, 32),
        ({"size": {"shortest_edge": 16}}, 32),
    ],
)
def test_the_size_is_what_the_preprocessor_crops_to(values: dict[str, object], size: int, tmp_path: Path) -> None:
    save("dinov2", tmp_path)
    preprocess(tmp_path, **values)
    backbone = load(tmp_path)
    assert backbone.spec.image_size == size
    assert torch.equal(backbone(images(size)), load(tmp_path, image_size=size)(images(size)))
    assert load(tmp_path, image_size=24).spec.image_size == 24


def test_one_number_is_for_all_colours(tmp_path: Path) -> None:
    save("vit", tmp_path)
    spec = load(tmp_path, mean=0.5, std=[0.1, 0.2, 0.3]).spec
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert (load(tmp_path, std=1.0).spec.mean, load(tmp_path, std=1.0).spec.std) == (tuple(MEAN), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": (0.1, 0.2)}, r"mean is \(0\.1, 0\.2\) \(--mean\): give one number, or three"),
        ({"mean": float("nan")}, r"mean is nan"),
        ({"std": 0.0}, r"std is 0\.0 \(--std\): give one number above 0"),
        ({"std": (1.0, 1.0, -1.0)}, r"std is \(1\.0, 1\.0, -1\.0\)"),
        ({"image_size": 0}, r"image_size 0 \(--image-size\).*positive"),
        ({"image_size": 5000}, r"at most 4096"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SmatError, match=message):
        ImageOptions(**given)
    with pytest.raises((BackboneError, ConfigError), match=message):
        load("pocket", **given)


def test_a_backbone_by_name_takes_what_is_asked_for(tmp_path: Path) -> None:
    save("vit", tmp_path)
    pool = open_model(tmp_path, CPU, images=ImageOptions(64, 0.5, 0.25))
    assert pool.backbone.spec.image_format == load(tmp_path, image_size=64, mean=0.5, std=0.25).spec.image_format


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (ImageOptions(64), "image_size is 64, but .* was made with 32, and cannot be changed: leave --image-size out"),
        (ImageOptions(mean=0.5), r"mean is \(0\.5, 0\.5, 0\.5\), but .* leave --mean out"),
        (ImageOptions(std=0.5), "std is .* leave --std out"),
    ],
)
def test_what_has_been_made_keeps_its_images(asked: ImageOptions, message: str, tmp_path: Path) -> None:
    save("vit", tmp_path / "vit")
    backbone = load(tmp_path / "vit")
    pool = SparseInterpolatedExperts(backbone, PoolConfig(experts=1))
    pool.save_pretrained(tmp_path / "pool")
    for model in (backbone, pool, tmp_path / "pool"):
        open_model(model, CPU, images=ImageOptions(32, MEAN, STD))
        with pytest.raises(ConfigError, match=message):
            open_model(model, CPU, images=asked)
