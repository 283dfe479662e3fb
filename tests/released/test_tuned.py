"""A tuned vision transformer becomes one expert over the network that it was tuned from."""

import argparse
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import ViTModel

from authors_format import HEADS, PATCH, SIZE, tiny_vit
from smat.errors import BackboneError, CheckpointError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.import_checkpoint import import_checkpoint
from smat.released import read_pickle, read_tuned
from smat.released.vit_names import renamed, spec_of


@pytest.fixture
def pretrained(tmp_path: Path) -> str:
    """The tiny network as a folder of transformers."""
    vit = {name: p.detach() for name, p in tiny_vit().named_parameters()}
    network = ViTModel._from_config(ViTModel.config_class.from_dict(spec_of(vit, "tiny", HEADS).config))
    network.load_state_dict(renamed(vit), strict=False)  # it also has a pooler
    network.save_pretrained(tmp_path / "dino")
    return str(tmp_path / "dino")


def tuned_state() -> dict[str, Tensor]:
    network = tiny_vit()
    torch.manual_seed(5)
    return {name: p.detach() + 0.05 * torch.randn(p.shape) for name, p in network.named_parameters()}


def features(state: dict[str, Tensor], images: Tensor) -> Tensor:
    network = tiny_vit()
    network.load_state_dict(state)
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
@pytest.mark.parametrize("key", [None, "model", "state_dict", "teacher"])
def test_the_expert_is_what_tuning_changed(prefix: str, key: str | None, pretrained: str, tmp_path: Path) -> None:
    state = {f"{prefix}{name}": p for name, p in tuned_state().items()} | {f"{prefix}head.weight": torch.ones(2, 16)}
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "tuned.pt")
    pool = read_tuned(pretrained, [str(tmp_path / "tuned.pt")], image_size=SIZE)
    images = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        ours = pool.network(pool.merged_vector(torch.ones(1)))(images)
        frozen = pool.backbone(images)
    torch.testing.assert_close(ours, features(tuned_state(), images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(frozen, features(dict(tiny_vit().state_dict()), images), rtol=1e-4, atol=1e-5)
    assert pool.head is None


def test_the_cosine_of_pmf_comes_along(pretrained: str, tmp_path: Path) -> None:
    state = {f"backbone.{name}": p for name, p in tuned_state().items()}
    state |= {"scale_cls": torch.tensor([12.5]), "bias": torch.tensor([0.25])}
    torch.save({"model": state, "args": argparse.Namespace(lr=5e-5)}, tmp_path / "pmf.pth")
    found = import_checkpoint(str(tmp_path / "pmf.pth"), str(tmp_path / "pool"), pretrained=pretrained, image_size=SIZE)
    assert (found.experts, found.sparsity, found.heads) == (1, None, HEADS)
    pool = SparseInterpolatedExperts.from_pretrained(tmp_path / "pool")
    assert pool.head is not None
    assert (pool.head.tolist(), pool.config.method) == ([12.5, 0.25], "pmf")


def test_images_of_another_size(pretrained: str, tmp_path: Path) -> None:
    torch.save(tuned_state(), tmp_path / "tuned.pt")
    pool = read_tuned(pretrained, [str(tmp_path / "tuned.pt")], image_size=SIZE + PATCH)
    assert (
        pool.network(pool.merged_vector(torch.ones(1)))(torch.randn(1, 3, SIZE + PATCH, SIZE + PATCH)).isfinite().all()
    )


def test_another_network_is_named(pretrained: str, tmp_path: Path) -> None:
    state = tuned_state()
    torch.save({name: p for name, p in state.items() if not name.startswith("blocks.1")}, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match=r"short\.pt' is no tuned .*dino: .*missing \['network\.layers\.1"):
        read_tuned(pretrained, [str(tmp_path / "short.pt")], image_size=SIZE)
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "resnet.pt")
    with pytest.raises(CheckpointError, match=r"resnet\.pt' is no tuned .* missing"):
        read_tuned(pretrained, [str(tmp_path / "resnet.pt")])
    with pytest.raises(CheckpointError, match="there is no file"):
        read_tuned(pretrained, [str(tmp_path / "none.pt")])
    torch.save(state, tmp_path / "tuned.pt")
    with pytest.raises(BackboneError):
        read_tuned(str(tmp_path / "none"), [str(tmp_path / "tuned.pt")])


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("run!",))


def test_code_in_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"evil\.pt' wants code to run when it is read, which smat does not"):
        read_pickle(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 torn", b"\x80\x04."])
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "torn.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"torn\.pt' "):
        read_pickle(tmp_path / "torn.pt")


def test_a_file_without_tensors_is_named(pretrained: str, tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list; expected a state_dict"):
        read_tuned(pretrained, [str(tmp_path / "list.pt")])
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match="has no tensors by name"):
        read_tuned(pretrained, [str(tmp_path / "empty.pt")])
