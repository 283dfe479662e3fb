import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from smat import backbones
from smat.errors import CheckpointError
from smat.experts import PoolConfig, RouterConfig, SparseInterpolatedExperts, TemperatureSchedule
from smat.heads import specialise
from tiny import IMAGE_SIZE, TinyNetwork, tiny_pool
from tiny_checkpoint import save_checkpoint


def folder_of(pool: SparseInterpolatedExperts, folder: Path) -> Path:
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    pool.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"experts": 0},
        {"experts": 1, "structure": "output"},
        {"experts": 1, "null_expert": True},
        {"experts": 3, "null_expert": True},
        {"router": RouterConfig(tokens=2, readout="first-class"), "count_head": True, "evaluation_beta": 1.0},
        {"gating": "open", "separate_deltas": True},
        {"gating": "random", "experts": 3, "density": 0.3},
        {"gating": "magnitude", "experts": 1, "learned_head": True},
        {"temperature": TemperatureSchedule(2.0, 1.0, 7), "logit_range": (-2.0, 3.0), "method": "another"},
    ],
)
def test_a_pool_comes_back_as_it_was(settings: dict, tmp_path: Path) -> None:
    pool = tiny_pool(**settings)
    pool.tasks_seen.fill_(5)
    folder_of(pool, tmp_path)
    fresh = backbones.load(TinyNetwork(), image_size=IMAGE_SIZE)
    again = SparseInterpolatedExperts.from_pretrained(str(tmp_path), backbone=fresh)
    assert again.config == pool.config
    assert not again.training
    assert again.state_dict().keys() == pool.state_dict().keys()
    assert all(torch.equal(again.state_dict()[key], value) for key, value in pool.state_dict().items())
    images, labels = torch.randn(6, 3, IMAGE_SIZE, IMAGE_SIZE), torch.tensor([0, 1, 2, 0, 1, 2])
    pool.eval()
    assert torch.equal(specialise(pool, images, labels)(images), specialise(again, images, labels)(images))


def test_the_shipped_backbone_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts(backbones.load("pocket"), PoolConfig(experts=2))
    folder_of(pool, tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(str(tmp_path))
    assert torch.equal(again.pretrained, pool.pretrained)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["backbone"]["name"] == "pocket"
    assert config["method"] == "smat"


def test_batch_norm_statistics_travel(tmp_path: Path) -> None:
    class Normed(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Sequential(self.patches, nn.BatchNorm2d(16))  # type: ignore[assignment]

    network = Normed()
    network.patches[1].running_mean.fill_(0.5)
    pool = SparseInterpolatedExperts(backbones.load(network, image_size=IMAGE_SIZE), PoolConfig(experts=2))
    folder_of(pool, tmp_path)
    again = SparseInterpolatedExperts.from_pretrained(
        str(tmp_path), backbone=backbones.load(Normed(), image_size=IMAGE_SIZE)
    )
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert torch.equal(again.backbone(images), pool.backbone(images))


def test_a_module_of_the_users_must_be_given_again(tmp_path: Path) -> None:
    folder_of(tiny_pool(), tmp_path)
    with pytest.raises(CheckpointError, match="backbone="):
        SparseInterpolatedExperts.from_pretrained(str(tmp_path))


def test_another_network_does_not_fit(tmp_path: Path) -> None:
    class Wider(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = nn.Linear(16, 33), nn.Linear(33, 16)

    folder_of(tiny_pool(), tmp_path)
    with pytest.raises(CheckpointError, match=r"hidden.weight: \(32, 16\) instead of \(33, 16\)"):
        SparseInterpolatedExperts.from_pretrained(
            str(tmp_path), backbone=backbones.load(Wider(), image_size=IMAGE_SIZE)
        )


def test_damaged_and_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbones.load(TinyNetwork(), image_size=IMAGE_SIZE)

    def load() -> None:
        SparseInterpolatedExperts.from_pretrained(str(tmp_path), backbone=backbone)

    with pytest.raises(CheckpointError, match=r"no config.json and no model.safetensors"):
        load()
    folder_of(tiny_pool(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "router.keys"}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"router.keys: missing"):
        load()
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="damaged"):
        load()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(CheckpointError, match="upgrade smat"):
        load()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="there is no folder"):
        SparseInterpolatedExperts.from_pretrained("nobody/nothing-of-this-name", local_files_only=True)


@pytest.fixture
def transformer(tmp_path: Path) -> Path:
    """A pool around a network of transformers, whose sizes its settings say."""
    return Path(save_checkpoint(tmp_path / "pool"))


def rewritten(folder: Path, section: str, **changes: object) -> str:
    """The folder's name, after settings of a section are changed."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    owner = config
    for key in section.split(".") if section else ():
        owner = owner[key]
    owner.update(changes)
    path.write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ("pool", {"new_setting": 1}, r"pool\.new_setting is not known .* a newer smat may have written it"),
        ("", {"format": None}, "format is null; expected a whole number"),
        ("", {"format": 99}, "upgrade smat"),
        ("", {"pool": {}}, r"pool\.experts, .*pool\.router, .* is missing"),
        ("pool", {"experts": None}, r"pool\.experts is null; expected a whole number"),
        ("pool.gates", {"beta": float("nan")}, r"pool\.gates\.beta is nan; expected above 0"),
        ("backbone", {"mean": "x"}, r"backbone\.mean is 'x'; expected a list"),
        ("backbone.config", {"hidden_size": None}, r"backbone\.config: .*hidden_size"),
        (
            "backbone.config",
            {"num_hidden_layers": 10**6},
            "backbone.config makes more .*num_hidden_layers, which is 1000000",
        ),
        ("backbone.config", {"num_channels": 10**6}, "backbone.config makes more .*num_channels, which is 1000000"),
        ("backbone.config", {"intermediate_size": 24}, r"backbone\.config does not fit the weights: .*fc1"),
        ("backbone.config", {"hidden_act": "none"}, r"backbone\.config: transformers .* makes no network"),
        ("pool", {"experts": 10**9}, r"pool\.experts is 1000000000, but the weights"),
        ("pool", {"experts": 3}, r"pool\.experts do not fit the weights: router\.keys: \(2, 16\) instead of \(3, 16\)"),
        ("pool.router", {"mlp_ratio": 10**6}, r"pool\.router makes more .*mlp_ratio, which is 1000000"),
        ("pool.router", {"heads": 3}, r"router\.heads is 3"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    transformer: Path, section: str, changes: dict[str, object], says: str
) -> None:
    name = rewritten(transformer, section, **changes)
    with pytest.raises(CheckpointError, match=says) as raised:
        SparseInterpolatedExperts.from_pretrained(name)
    assert name in str(raised.value)
    assert len(str(raised.value)) < 700


def test_weights_that_are_no_numbers_are_refused_by_name(transformer: Path) -> None:
    path = transformer / "model.safetensors"
    good = load_file(path)
    name = "delta/network.layers.0.mlp.fc1.weight"
    for change, says in (
        (
            lambda tensor: tensor.index_fill(0, torch.tensor([3]), torch.nan),
            rf"damaged: .*\(NaN or infinity\) in {name}",
        ),
        (lambda tensor: tensor.round().to(torch.int8), "no floating-point numbers .*network.layers.0.mlp.fc1.weight"),
        (lambda tensor: tensor.to(torch.complex64), "no floating-point numbers .*network.layers.0.mlp.fc1.weight"),
    ):
        save_file(good | {name: change(good[name])}, path)
        with pytest.raises(CheckpointError, match=says):
            SparseInterpolatedExperts.from_pretrained(str(transformer))
    save_file(good | {"router.keys": good["router.keys"] > 0}, path)
    with pytest.raises(CheckpointError, match=r"router\.keys: of type BOOL"):
        SparseInterpolatedExperts.from_pretrained(str(transformer))
