"""Networks that were tuned from one become the experts of a pool."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from smat.backbones import load
from smat.errors import CheckpointError
from smat.experts import SparseInterpolatedExperts
from smat.released import read_tuned
from tuned_vits import SIZE, earlier_name, features, save_adapter, save_pretrained, tuned_from


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_pretrained(tmp_path_factory.mktemp("networks") / "pretrained")


def images() -> torch.Tensor:
    torch.manual_seed(9)
    return torch.randn(3, 3, SIZE, SIZE)


def merged(pool: SparseInterpolatedExperts, *weights: float) -> torch.Tensor:
    with torch.no_grad():
        return pool.network(pool.merged_vector(torch.tensor(weights, dtype=torch.float32)))(images())


def test_each_expert_is_a_network_and_together_they_are_its_mean(pretrained: str, tmp_path: Path) -> None:
    first, second = tuned_from(pretrained, 1), tuned_from(pretrained, 2)
    first.save_pretrained(tmp_path / "first")
    save_file(second.state_dict(), tmp_path / "second.safetensors")
    pool = read_tuned(pretrained, [str(tmp_path / "first"), str(tmp_path / "second.safetensors")])
    torch.testing.assert_close(merged(pool, 1, 0), features(first, images()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged(pool, 0, 1), features(second, images()), rtol=1e-4, atol=1e-5)
    weights, _ = pool.route(torch.randn(4, 16))
    assert weights.tolist() == [0.5, 0.5]
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        mean = pool.layout.views(pool.merged_vector(weights))[f"network.{name}"]
        torch.testing.assert_close(mean, (a + b) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "vit.", "module."])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_names_of_earlier_versions(prefix: str, suffix: str, pretrained: str, tmp_path: Path) -> None:
    network = tuned_from(pretrained, 1)
    state = {prefix + earlier_name(name): p.detach().clone() for name, p in network.named_parameters()}
    state["classifier.weight"] = torch.ones(2, 16)
    path = tmp_path / f"tuned{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    pool = read_tuned(pretrained, [str(path)])
    torch.testing.assert_close(merged(pool, 1), features(network, images()), rtol=1e-4, atol=1e-5)


LORA = {
    "usual": {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["classifier"]},
    "everywhere": {"target_modules": "all-linear"},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
    "norms as a whole": {"target_modules": ["fc1"], "modules_to_save": ["layernorm"]},
    "patterns": {
        "target_modules": ["q_proj", "fc1"],
        "rank_pattern": {"fc1": 3},
        "alpha_pattern": {"layers.1.attention.q_proj": 32},
    },
}


@pytest.mark.parametrize("kind", LORA)
def test_adapters(kind: str, pretrained: str, tmp_path: Path) -> None:
    network = save_adapter(pretrained, tmp_path / "adapter", **LORA[kind])
    pool = read_tuned(pretrained, adapters=[str(tmp_path / "adapter")])
    torch.testing.assert_close(merged(pool, 1), features(network, images()), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(merged(pool, 1), merged(pool, 0))


def test_an_adapter_of_an_earlier_version(pretrained: str, tmp_path: Path) -> None:
    network = save_adapter(pretrained, tmp_path / "adapter", target_modules=["q_proj", "v_proj"])
    weights, settings = (tmp_path / "adapter" / name for name in ("adapter_model.safetensors", "adapter_config.json"))
    save_file({earlier_name(name): tensor for name, tensor in load_file(weights).items()}, weights)
    written = json.loads(settings.read_text()) | {"target_modules": ["query", "value"]}
    settings.write_text(json.dumps(written))
    pool = read_tuned(pretrained, adapters=[str(tmp_path / "adapter")])
    torch.testing.assert_close(merged(pool, 1), features(network, images()), rtol=1e-4, atol=1e-5)


class Own(nn.Module):
    """A network of someone's own, with statistics that are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.patches, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.patches(images)).mean((2, 3))


def test_networks_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "their_lab.py").write_text(
        "from test_several_tuned import Own\n\n\ndef network(image_size):\n    return Own()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    other = Own()
    other.patches.weight.data += 1
    save_file({f"module.{name}": tensor for name, tensor in other.state_dict().items()}, tmp_path / "own.safetensors")
    name = "module:their_lab.network"
    pool = read_tuned(name, [str(tmp_path / "own.safetensors")], image_size=SIZE)
    torch.testing.assert_close(merged(pool, 1), other.eval()(images()).detach(), rtol=1e-4, atol=1e-5)
    assert not caplog.records
    other.norm.running_mean += 1  # type: ignore[operator]
    save_file(other.state_dict(), tmp_path / "own.safetensors")
    read_tuned(name, [str(tmp_path / "own.safetensors")], image_size=SIZE)
    assert "differs from module:their_lab.network in 1 tensors that are no parameters" in caplog.text
    save_file({"patches.weight": other.patches.weight.data}, tmp_path / "short.safetensors")
    with pytest.raises(CheckpointError, match=r"short\.safetensors' is no tuned module.*there is no patches\.bias"):
        read_tuned(name, [str(tmp_path / "short.safetensors")], image_size=SIZE)


def test_what_is_no_tuned_network_is_named(pretrained: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing that was tuned from"):
        read_tuned(pretrained)
    with pytest.raises(CheckpointError, match=r"is no tuned .*: these parameters do not fit"):
        read_tuned(pretrained, ["pocket"])
    network = tuned_from(pretrained, 1)
    short = {name: p.detach() for name, p in network.named_parameters() if "layers.1" not in name}
    save_file(short, tmp_path / "short.safetensors")
    with pytest.raises(CheckpointError, match=r"short\.safetensors' is no tuned .* missing"):
        read_tuned(pretrained, [str(tmp_path / "short.safetensors")])


def test_what_is_no_adapter_is_named(pretrained: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty' cannot be read as an adapter"):
        read_tuned(pretrained, adapters=[str(tmp_path / "empty")])
    save_adapter(pretrained, tmp_path / "adapter", target_modules=["q_proj"])
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    state = load_file(weights)
    save_file({name.replace("q_proj", "other"): tensor for name, tensor in state.items()}, weights)
    with pytest.raises(CheckpointError, match="changes no layer of ViTModel"):
        read_tuned(pretrained, adapters=[str(tmp_path / "adapter")])
    save_file({name: tensor for name, tensor in state.items() if "lora_B" not in name}, weights)
    with pytest.raises(CheckpointError, match=r"does not fit ViTModel: .*lora_B.* has no counterpart"):
        read_tuned(pretrained, adapters=[str(tmp_path / "adapter")])
    save_file({name: tensor * float("nan") for name, tensor in state.items()}, weights)
    with pytest.raises(CheckpointError, match="not finite"):
        read_tuned(pretrained, adapters=[str(tmp_path / "adapter")])
    settings = tmp_path / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2, "token_dim": 16}))
    save_file(state, weights)
    with pytest.raises(CheckpointError, match="PROMPT_TUNING, which cannot be merged"):
        read_tuned(pretrained, adapters=[str(tmp_path / "adapter")])


def test_a_pool_of_them_is_saved_and_loaded(pretrained: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        tuned_from(pretrained, seed).save_pretrained(tmp_path / str(seed))
    pool = read_tuned(pretrained, [str(tmp_path / "1"), str(tmp_path / "2")])
    pool.save_pretrained(tmp_path / "pool")
    again = SparseInterpolatedExperts.from_pretrained(tmp_path / "pool")
    assert torch.equal(merged(again, 0.3, 0.7), merged(pool, 0.3, 0.7))
    assert again.fingerprint() == pool.fingerprint()
    assert load(pretrained).spec.image_size == SIZE
