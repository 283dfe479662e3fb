"""`smat publish`: what goes to the hub, what does not, and what comes back."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from smat.adaptation import FewShotClassifier
from smat.cli import main
from smat.errors import CheckpointError, ConfigError
from smat.experts import Analysis, Figure, SparseInterpolatedExperts, add_to_card
from smat.recipes.networks import networks
from smat.recipes.publish import publish
from stand_in_hub import REVISION, Repositories, stand_in_hub
from tiny_checkpoint import save_checkpoint
from tiny_images import labelled


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repositories]:
    """What is pushed to a hub on loopback."""
    with stand_in_hub() as (address, repositories):
        for module in ("constants", "hf_api", "file_download", "_commit_api"):
            for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
                value = address if name == "ENDPOINT" else address + "/{repo_id}/resolve/{revision}/{filename}"
                monkeypatch.setattr(f"huggingface_hub.{module}.{name}", value, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address, raising=False)
        yield repositories


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return save_checkpoint(tmp_path / "pool")


def test_a_pool_goes_to_the_hub_and_comes_back_alike(
    hub: Repositories, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["publish", checkpoint, "me/pool", "--licence", "mit", "--json", str(tmp_path / "report.json")])
    result = json.loads((tmp_path / "report.json").read_text())["result"]
    assert (result["packed"], result["licence"], result["commit"]) == (True, "mit", REVISION)
    assert f"published: me/pool@{REVISION}" in capsys.readouterr().out
    assert set(hub["me/pool"]) == set(result["files"])
    assert {"model.safetensors", "config.json", "checksums.json", "README.md", "card.json"} <= set(hub["me/pool"])
    assert b"license: mit" in hub["me/pool"]["README.md"]
    images, names = labelled(3)
    own, theirs = (FewShotClassifier(name, device="cpu") for name in (checkpoint, f"me/pool@{REVISION}"))
    assert (own.fit(images, names).predict_proba(images) == theirs.fit(images, names).predict_proba(images)).all()


def test_a_dry_run_uploads_nothing(hub: Repositories, checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = publish(checkpoint, "me/pool", dry_run=True)
    assert found.commit is None
    printed = capsys.readouterr().out
    assert "a dry run: nothing was uploaded" in printed
    assert "licence: none is said" in printed
    assert "model.safetensors" in printed
    assert not hub


def test_paths_of_this_machine_are_refused(hub: Repositories, checkpoint: str, tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint)
    for said in ("/home/jane/photos", "~/photos", "C:\\\\Users\\\\jane", "../photos/x", "file:///x", str(Path.cwd())):
        pool.card = pool.card.with_metadata({"note": f"see {said} for more"})
        pool.save_pretrained(tmp_path / "noted")
        with pytest.raises(ConfigError, match=r"(README\.md|card\.json) would show paths of this machine"):
            publish(str(tmp_path / "noted"), "me/pool", dry_run=True)
    assert not hub


def test_where_the_backbone_lay_is_not_told(hub: Repositories, checkpoint: str, tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint)
    pool.backbone.spec = replace(pool.backbone.spec, name="/home/jane/networks/vit")
    pool.save_pretrained(tmp_path / "own")
    publish(str(tmp_path / "own"), "me/pool")
    assert b"jane" not in b"".join(hub["me/pool"].values())
    assert json.loads(hub["me/pool"]["config.json"])["backbone"]["name"] == "vit"


def test_figures_are_left_out_unless_asked_for(
    hub: Repositories, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    add_to_card(
        checkpoint,
        "analysis",
        Analysis(pool.fingerprint(), ["two experts"], [Figure("one.svg", "one")]),
        {"one.svg": svg},
    )
    main(["publish", checkpoint, "me/without", "--packing", "none"])
    assert "figures may show your images" in " ".join(capsys.readouterr().err.split())
    assert not [name for name in hub["me/without"] if "figures" in name]
    assert b"one.svg" not in hub["me/without"]["README.md"]
    publish(checkpoint, "me/with", packing="none", figures=True)
    assert hub["me/with"]["figures/one.svg"] == svg


def test_files_that_are_not_those_that_were_published_are_named(hub: Repositories, checkpoint: str) -> None:
    publish(checkpoint, "me/pool")
    config = json.loads(hub["me/pool"]["config.json"])
    hub["me/pool"]["config.json"] = json.dumps(config | {"method": "other"}).encode()
    with pytest.raises(CheckpointError, match=r"me/pool: config\.json is not what was published"):
        SparseInterpolatedExperts.from_pretrained("me/pool")


def test_experts_that_cannot_be_packed_go_as_they_are(hub: Repositories, tmp_path: Path) -> None:
    from tiny_runs import save_pool

    checkpoint = save_pool(tmp_path / "pool", gating="open", separate_deltas=True)
    assert not publish(checkpoint, "me/pool").packed
    with pytest.raises(ConfigError, match=r"cannot be packed: .* Give --packing none"):
        publish(checkpoint, "me/pool", packing="lossy")
    again = SparseInterpolatedExperts.from_pretrained("me/pool")
    own = SparseInterpolatedExperts.from_pretrained(checkpoint)
    assert torch.equal(again.update.delta, own.update.delta)


def test_published_pools_are_listed(hub: Repositories, checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    publish(checkpoint, "me/pool", revision="second")
    hub["other/thing"] = {"README.md": b"library_name: timm"}
    found = networks(hub=True).on_hub
    assert [(each.name, each.commit, each.modified, each.downloads) for each in found] == [
        ("me/pool", REVISION, "2026-01-02", 7)
    ]
    assert "me/pool" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="folders and --hub"):
        networks(["runs"], hub=True)


def test_what_is_no_name_on_the_hub(hub: Repositories, checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'a//b' is no name on the hub"):
        publish(checkpoint, "a//b")
