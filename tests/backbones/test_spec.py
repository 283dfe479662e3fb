from pathlib import Path

import pytest

from smat.backbones import BackboneSpec


@pytest.mark.parametrize(
    ("kind", "name", "hub_name"),
    [
        ("transformers", "facebook/dinov2-small", "facebook/dinov2-small"),
        ("timm", "timm:hf-hub:owner/network", "owner/network"),
        ("timm", "timm:vit_tiny_patch16_224", None),
        ("transformers", "pocket", None),
        ("transformers", "../shared/vit", None),
        ("transformers", "/models/vit", None),
        ("transformers", "runs/vit", None),  # a folder that is there
        ("module", "owner/network", None),
        ("own", "module:my_lab.nets.small", None),
    ],
)
def test_its_name_on_the_hub(
    kind: str, name: str, hub_name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "vit").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    spec = BackboneSpec(kind, name, {}, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "output")
    assert spec.hub_name == hub_name
