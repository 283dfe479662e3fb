"""`smat pack`: a smaller folder that answers alike."""

import json
from pathlib import Path

import pytest

from smat.adaptation import FewShotClassifier
from smat.cli import main
from smat.errors import ConfigError
from smat.recipes.pack import pack
from tiny_checkpoint import save_checkpoint
from tiny_images import labelled


def test_a_packed_checkpoint_classifies_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, out = save_checkpoint(tmp_path / "pool"), tmp_path / "small"
    main(["pack", checkpoint, str(out), "--json", str(tmp_path / "report.json")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "the very same" in printed
    result = json.loads((tmp_path / "report.json").read_text())["result"]
    assert result["alike"] is True
    assert result["bytes"] == (out / "model.safetensors").stat().st_size < result["bytes_before"]
    images, names = labelled(3)
    before, after = (FewShotClassifier(str(folder), device="cpu").fit(images, names) for folder in (checkpoint, out))
    assert (before.predict_proba(images) == after.predict_proba(images)).all()


def test_rounding_says_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = pack(save_checkpoint(tmp_path / "pool"), str(tmp_path / "small"), lossy=True)
    assert not found.alike
    assert f"{found.change:.1%} of what the experts change is lost" in " ".join(capsys.readouterr().out.split())


def test_the_checkpoint_is_not_written_over(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "pool")
    with pytest.raises(ConfigError, match="is the checkpoint, which would be lost"):
        pack(checkpoint, f"{checkpoint}/")


def test_what_is_packed_is_not_packed_again(tmp_path: Path) -> None:
    pack(save_checkpoint(tmp_path / "pool"), str(tmp_path / "small"))
    with pytest.raises(ConfigError, match=r"small cannot be packed: it is packed already"):
        pack(str(tmp_path / "small"), str(tmp_path / "smaller"))
    assert not (tmp_path / "smaller").exists()
