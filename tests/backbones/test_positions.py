import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from smat.backbones import PositionRule, load
from smat.backbones.positions import resize_positions
from smat.errors import BackboneError
from tiny_checkpoints import POSITIONS, images, plain_feature, save

RULES: list[PositionRule] = ["exact", "dino"]


def table(grid: int, class_tokens: int, dim: int = 5) -> torch.Tensor:
    return torch.randn(class_tokens + grid**2, dim, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [96, 128, 240])
def test_dino_rule_is_that_of_the_authors_code(size: int, request: pytest.FixtureRequest) -> None:
    folder: Any = request.config.getoption("--golden")
    file = folder / "posembed_vits16.safetensors"
    if not file.is_file():
        pytest.skip(f"no {file}: give the folder of golden cases with --golden")
    golden = load_file(file)
    resized = resize_positions(golden["pos_embed"][0], size // 16, class_tokens=1, rule="dino")
    torch.testing.assert_close(resized, golden[f"interp_{size}"][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", [2, 3, 7, 12])
@pytest.mark.parametrize("class_tokens", [0, 1])
@pytest.mark.parametrize("rule", RULES)
def test_class_token_stays_and_a_constant_stays_constant(grid: int, class_tokens: int, rule: PositionRule) -> None:
    old = table(6, class_tokens)
    old[class_tokens:] = torch.arange(5.0)
    new = resize_positions(old, grid, class_tokens, rule)
    assert new.shape == (class_tokens + grid**2, 5)
    assert torch.equal(new[:class_tokens], old[:class_tokens])
    torch.testing.assert_close(new[class_tokens:], torch.arange(5.0).expand(grid**2, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rule", RULES)
def test_the_same_grid_gives_the_same_table(rule: PositionRule) -> None:
    assert torch.equal(resize_positions(table(6, 1), 6, 1, rule), table(6, 1))


def test_exact_rule_commutes_with_mirroring_and_the_dino_rule_shifts() -> None:
    old = table(6, 0)
    mirrored = old.view(6, 6, 5).flip(1).reshape(36, 5)
    for rule in RULES:
        there = resize_positions(mirrored, 4, 0, rule)
        here = resize_positions(old, 4, 0, rule).view(4, 4, 5).flip(1).reshape(16, 5)
        assert torch.allclose(there, here, atol=1e-5) is (rule == "exact")


def test_a_table_that_is_no_square_is_refused() -> None:
    with pytest.raises(BackboneError, match="for 35 patches, which is not a square"):
        resize_positions(table(6, 0), 3, class_tokens=1)


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("family", [*POSITIONS, "dinov3_vit"])
def test_features_are_those_of_transformers_resizing_in_its_forward_pass(
    family: str, size: int, tmp_path: Path
) -> None:
    model = save(family, tmp_path)
    option = {} if "dino" in family else {"interpolate_pos_encoding": True}  # DINO's later models do it unasked
    expected = plain_feature(family, model, images(size), **option)
    features = load(tmp_path, image_size=size)(images(size))
    torch.testing.assert_close(features, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip", "siglip"])
def test_the_rule_asked_for_reaches_the_network(family: str, tmp_path: Path) -> None:
    model = save(family, tmp_path)
    old = next(v for n, v in model.named_parameters() if "position_embedding" in n and "text" not in n)
    for rule in RULES:
        backbone = load(tmp_path, image_size=48, position_rule=rule)
        new = next(v for n, v in backbone.named_parameters() if "position_embedding" in n)
        tokens = 0 if family == "siglip" else 1
        expected = resize_positions(old.detach().reshape(-1, 32), 6, tokens, rule)
        assert torch.equal(new.detach().reshape(-1, 32), expected)
        assert dataclasses.asdict(backbone.spec)["config"]["image_size"] == 48
