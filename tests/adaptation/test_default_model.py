"""Which networks are found on a machine, and which is taken where none is named."""

import json
import os
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

import tiny_checkpoint
import tiny_pool
from hub_cache import put, put_backbone, use_cache
from smat.adaptation import Choice, Network, default_model, find_networks, networks, ranking
from smat.adaptation.networks import choose, to_download
from smat.backbones import load
from smat.errors import BackboneError, ConfigError
from smat.experts import PoolConfig, SparseInterpolatedExperts
from smat.left_out import collecting

BASE, SMALL = "facebook/dinov2-base", "facebook/dinov2-small"
GB = 1e9


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(networks, "_memory", lambda: 16 * GB)
    return use_cache(tmp_path / "cache", monkeypatch)


def found(*folders: str | Path) -> dict[str, Network]:
    return {network.name: network for network in find_networks(folders)}


def run_of_pocket(folder: Path) -> None:
    """What `smat train` leaves of a pool around `pocket`."""
    SparseInterpolatedExperts(load("pocket"), PoolConfig(experts=2)).save_pretrained(folder / "best")
    rows = [{"tasks": 1, "loss": 1.0}, *({"tasks": n, "validation": v} for n, v in ((1, 0.25), (2, 0.75), (3, 0.5)))]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "config.yaml").write_text("episodes: {sampler: fixed, way: 3, shot: 2}")


def pool_around(name: str, folder: Path, scratch: Path) -> None:
    """A pool whose backbone was loaded by this name."""
    tiny_checkpoint.save_checkpoint(folder)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"]["name"] = name
    (folder / "config.json").write_text(json.dumps(config))


def as_found(name: str, **values: object) -> Network:
    network = {"kind": "backbone", "folder": "", "size_mb": 1.0, "backbone": name, "parameters": 10**7}
    return Network(name, **network | values)  # type: ignore[arg-type]


# -- the ranking -------------------------------------------------------------------------------------------------------


def test_ranks_go_up_and_the_best_that_anybody_may_have_comes_first() -> None:
    assert [entry.rank for entry in ranking().values()] == list(range(1, len(ranking()) + 1))
    assert next(iter(ranking())) == BASE


@pytest.mark.parametrize(
    ("gpu", "memory", "name"),
    [(True, 16, BASE), (False, 16, SMALL), (False, 0.4, "microsoft/resnet-18"), (True, 0, None)],
)
def test_what_is_downloaded_suits_the_machine(
    gpu: bool, memory: float, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(networks, "_memory", lambda: memory * GB)
    best = to_download()
    assert (best and best.name) == name
    assert best is None or not best.gated


# -- what is found -----------------------------------------------------------------------------------------------------


def test_pocket_is_always_there(cache: Path) -> None:
    (network,) = find_networks()
    assert (network.name, network.kind, network.image_size, network.problem) == ("pocket", "backbone", 32, "")
    assert network.parameters == sum(p.numel() for p in load("pocket").network.parameters())


def test_a_cache_that_was_never_used_has_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache / "nowhere"))
    assert list(found()) == ["pocket"]


def test_a_cache_that_is_a_file_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "file").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache / "file"))
    with pytest.raises(ConfigError, match="HF_HUB_CACHE"):
        find_networks()


def test_backbones_in_the_cache_have_their_hub_names_and_load_without_a_network(cache: Path, tmp_path: Path) -> None:
    put_backbone(cache, SMALL, tmp_path)
    network = found()[SMALL]
    assert (network.kind, network.backbone, network.image_size, network.problem) == ("backbone", SMALL, 32, "")
    assert network.summary == ranking()[SMALL].summary
    assert network.parameters == sum(p.numel() for p in load(network.folder).network.parameters()) + 32  # mask token
    assert load(SMALL).feature_dim == 32


def test_what_cannot_be_used_is_listed_with_the_reason(cache: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "bert"}')
    put(cache, "me/text", text)
    put_backbone(cache, "me/part", tmp_path).joinpath("preprocessor_config.json").unlink()
    put_backbone(cache, "me/pickled", tmp_path).joinpath("model.safetensors").unlink()
    snapshot = put_backbone(cache, "me/damaged", tmp_path)
    (snapshot / "model.safetensors").resolve().write_bytes(b"no weights")
    snapshot = put_backbone(cache, "me/lost", tmp_path)
    (snapshot / "model.safetensors").resolve().unlink()
    (text / "config.json").write_text('{"architecture": "resnet18"}')
    put(cache, "timm/resnet18", text)
    put(cache, "me/other", text, ref="refs-pr-1")
    snapshot = put_backbone(cache, "me/huge", tmp_path)
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**6}))
    problems = {name: network.problem for name, network in found().items() if network.problem}
    assert "bert" in problems["me/text"]
    assert "hf download me/part" in problems["me/part"]
    assert "safetensors" in problems["me/pickled"]
    assert "damaged" in problems["me/damaged"]
    assert "damaged in the hub's cache" in problems["me/lost"]
    assert "timm:hf-hub:timm/resnet18" in problems["timm/resnet18"]
    assert "main revision" in problems["me/other"]
    assert "more parameters than there are weights" in problems["me/huge"]
    assert len(problems) == 8


def test_pools_of_runs_below_the_working_directory_have_the_accuracy_of_their_run(cache: Path) -> None:
    run_of_pocket(Path("runs/first"))
    SparseInterpolatedExperts(load("pocket"), PoolConfig(experts=2)).save_pretrained("runs/first/last")
    network = found()["runs/first/best"]
    assert (network.kind, network.backbone, network.accuracy) == ("pool", "pocket", 0.75)
    assert network.measured.endswith("3-way 2-shot")
    assert list(found()) == ["pocket", "runs/first/best"], "the last pool of a run that has a best one is not listed"


def test_backbones_are_only_looked_for_in_folders_that_are_given(cache: Path, tmp_path: Path) -> None:
    snapshot = put_backbone(tmp_path / "other", "me/net", tmp_path)
    Path("nets").mkdir()
    Path("nets/mine").symlink_to(snapshot)
    assert list(found()) == ["pocket"]
    assert found("nets")["nets/mine"].given
    assert found("nets/mine")["nets/mine"].kind == "backbone"


@pytest.mark.parametrize(("name", "said"), [("empty", "no network in 'empty'"), ("nowhere", "'nowhere' is no folder")])
def test_a_given_folder_must_have_a_network(name: str, said: str, cache: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match=said):
        find_networks([name])


def test_a_pool_that_only_python_can_load_is_listed_with_the_reason(cache: Path) -> None:
    tiny_pool.make_pool().save_pretrained("runs/own")
    assert "load it in Python" in found()["runs/own"].problem


def test_a_saved_classifier_is_no_network(cache: Path) -> None:
    run_of_pocket(Path("birds"))
    Path("birds/best/classifier.json").touch()
    assert "smat predict birds/best" in found("birds")["birds/best"].problem


def test_a_search_that_ends_early_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        Path(f"a/{number}").mkdir(parents=True)
    monkeypatch.setattr("smat.adaptation.installed._ENTRIES", 5)
    with collecting() as left_out:
        find_networks()
    assert "search for networks in it ended" in left_out[0].reason


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_the_best_ranked_network_is_taken(cache: Path, tmp_path: Path) -> None:
    for name in (SMALL, "microsoft/resnet-18", "me/unknown"):
        put_backbone(cache, name, tmp_path)
    choice = default_model()
    assert choice.name == SMALL
    assert f"rank 4 of {len(ranking())}" in choice.why


def test_a_pool_around_a_ranked_backbone_goes_before_it_but_not_before_a_better_one(
    cache: Path, tmp_path: Path
) -> None:
    pool_around(SMALL, Path("runs/mine/best"), tmp_path)
    put_backbone(cache, SMALL, tmp_path)
    assert default_model().name == "runs/mine/best"
    put_backbone(cache, BASE, tmp_path)
    assert default_model().name == BASE


def test_of_two_pools_around_one_backbone_the_newer_one_is_taken(cache: Path, tmp_path: Path) -> None:
    for name, time in (("a", 1000), ("b", 2000)):
        pool_around(SMALL, Path(f"runs/{name}/best"), tmp_path)
        os.utime(f"runs/{name}/best/model.safetensors", (time, time))
    assert default_model().name == "runs/b/best"


def test_networks_that_are_not_ranked_come_last_pools_first_then_by_size() -> None:
    ranked = as_found("microsoft/resnet-18")
    small, large = as_found("me/small"), as_found("me/large", parameters=10**8)
    pool = as_found("runs/best", kind="pool", backbone="me/small", parameters=2 * 10**6)
    toy = as_found("me/toy", parameters=1000)
    pocket = as_found("pocket", parameters=10**6)
    order = [
        choose(given).name for given in ([toy, large, pool, small, ranked, pocket], [toy, large, pool, small, pocket])
    ]
    assert order == ["microsoft/resnet-18", "runs/best"]
    assert choose([toy, small, large, pocket]).name == "me/large"
    with pytest.raises(ConfigError, match="no network for photographs"):
        choose([toy, pocket])


def test_a_network_that_does_not_fit_the_memory_is_passed_over_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_memory", lambda: 1 * GB)
    with collecting() as left_out:
        assert choose([as_found(BASE, parameters=10**8), as_found(SMALL)]).name == SMALL
    assert [list(entry.names) for entry in left_out] == [[BASE]]


def test_a_ranked_network_that_is_broken_is_passed_over_with_a_word() -> None:
    with collecting() as left_out:
        assert choose([as_found(BASE, problem="it is damaged"), as_found(SMALL)]).name == SMALL
    assert left_out[0].reason == "it is damaged"


def test_where_only_pocket_is_there_the_message_says_how_to_get_a_network(cache: Path) -> None:
    run_of_pocket(Path("runs/quickstart"))
    with pytest.raises(ConfigError) as error:
        default_model()
    for said in ("drawings only", "--download", f"{SMALL} (88 MB, once)", "runs/quickstart/best itself"):
        assert said in str(error.value)


# -- the download ------------------------------------------------------------------------------------------------------


def test_nothing_is_downloaded_where_one_as_good_is_there(cache: Path, tmp_path: Path) -> None:
    put_backbone(cache, SMALL, tmp_path)
    assert default_model(download=True).name == SMALL


@pytest.mark.parametrize("there", [[], ["microsoft/resnet-18"]])
def test_the_best_that_suits_is_downloaded(
    there: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in there:
        put_backbone(cache, name, tmp_path)

    def download(name: str, allow_patterns: list[str]) -> str:
        assert "pytorch_model.bin" not in allow_patterns
        return str(put_backbone(cache, name, tmp_path))

    monkeypatch.setattr(networks, "snapshot_download", download)
    assert isinstance(choice := default_model(download=True), Choice)
    assert choice.name == SMALL
    assert "downloaded" in choice.why


def test_without_a_network_one_sentence_says_so(cache: Path) -> None:
    with pytest.raises(
        BackboneError, match=r"dinov2-small \(88 MB\) cannot be downloaded: offline mode is on \(unset HF_HUB_OFFLINE\)"
    ):
        default_model(download=True)


def test_a_part_that_the_cache_has_is_no_download(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = put_backbone(cache, SMALL, tmp_path)
    (snapshot / "model.safetensors").unlink()
    monkeypatch.setattr(networks, "snapshot_download", lambda *_, **__: str(snapshot))
    with pytest.raises(BackboneError, match=r"not downloaded whole: model\.safetensors is missing"):
        default_model(download=True)
