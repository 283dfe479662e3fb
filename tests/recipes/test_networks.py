"""`smat networks`: what is listed, and what is said of what cannot be used."""

import json
from pathlib import Path

import pytest

from hub_cache import put, put_backbone, use_cache
from smat.adaptation import networks as taken
from smat.cli import main
from smat.recipes import networks

NAME = "facebook/dinov2-small"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(networks, "_SECONDS", 0.0)
    monkeypatch.setattr(taken, "_memory", lambda: 10**11)
    return use_cache(tmp_path / "cache", monkeypatch)


def listed(*arguments: str) -> dict:
    main(["networks", *arguments, "--json", "found.json", "--device", "cpu"])
    report = json.loads(Path("found.json").read_text())
    assert report["complete"]
    return report


def test_networks_are_listed_with_their_speed(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_backbone(cache, NAME, tmp_path)
    result = listed()["result"]
    assert [network["name"] for network in result["networks"]] == ["pocket", NAME]
    assert all(network["ms_per_image"] > 0 for network in result["networks"])
    assert result["default"]["name"] == NAME
    shown = capsys.readouterr().out
    assert "Simple drawings" in shown
    assert f"taken where no network is named: {NAME}" in shown


def test_without_speed_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(networks, "open_model")
    (pocket,) = listed("--speed", "false")["result"]["networks"]
    assert pocket["ms_per_image"] is None


def test_what_cannot_be_used_is_said(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "bert"}')
    put(cache, "me/text", text)
    assert listed("--speed=false")["result"]["networks"][-1]["name"] == "me/text"
    assert "cannot be used: me/text: " in capsys.readouterr().out


def test_what_cannot_be_loaded_is_said(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = put_backbone(cache, NAME, tmp_path)
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    result = listed()["result"]
    assert result["default"] is None
    assert "do not fit its config.json" in result["networks"][-1]["problem"]
    assert f"cannot be used: {NAME}: " in capsys.readouterr().out


def test_where_there_is_only_pocket_the_end_says_how_to_get_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed("--speed", "false")["result"]["default"] is None
    assert "add --download" in capsys.readouterr().out


def test_speed_is_measured_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_SECONDS_IN_ALL", -1.0)
    (entry,) = listed()["left_out"]
    assert (entry["what"], entry["names"]) == ("speed", ["pocket"])


def test_a_folder_that_is_given_is_listed_but_not_taken(cache: Path, tmp_path: Path) -> None:
    Path("nets").symlink_to(put_backbone(tmp_path / "other", "me/net", tmp_path))
    result = listed("nets", "--speed", "false")["result"]
    assert [network["name"] for network in result["networks"]] == ["pocket", "nets"]
    assert result["default"] is None


def test_a_folder_without_a_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["networks", "nowhere"])
    assert stopped.value.code == 2
    assert "'nowhere' is no folder" in capsys.readouterr().err
