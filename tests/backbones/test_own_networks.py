"""Networks named by the import path of the user's own code."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

from smat.adaptation import open_model
from smat.backbones import BackboneSpec, build, load
from smat.errors import BackboneError, CheckpointError, ConfigError
from tiny_checkpoints import images, save

CODE = """
import torch
from torch import nn

import smat.backbones


class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3)

    def forward(self, images):
        return self.convolution(images).mean((2, 3))


class Sized(Net):
    image_size = 20


def sized(image_size=24):
    net = Net(width=image_size)
    return net


def asked(image_size):
    return Net(width=image_size)


def backbone():
    return smat.backbones.load(FOLDER)


def shared(net=Net()):
    return net


def broken():
    raise OSError("no weights here")


def text():
    return "a network"


constant = 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The import path of a module of networks."""
    folder = tmp_path / "vit"
    save("vit", folder)
    (tmp_path / "my_nets").mkdir()
    (tmp_path / "my_nets" / "nets.py").write_text(f"FOLDER = {str(folder)!r}\n{CODE}")
    monkeypatch.syspath_prepend(tmp_path)
    forget(monkeypatch)
    return "my_nets.nets"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my_nets", "my_nets.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("name", "given", "size"),
    [("Net", 16, 16), ("Sized", None, 20), ("Sized", 16, 16), ("sized", None, 24), ("sized", 12, 12), ("asked", 9, 9)],
)
def test_a_function_or_class_gives_the_network(nets: str, name: str, given: int | None, size: int) -> None:
    loaded = load(f"module:{nets}.{name}", image_size=given, mean=(0.1, 0.2, 0.3))
    assert loaded.spec.image_size == size
    assert loaded.spec.mean == (0.1, 0.2, 0.3)
    assert loaded.feature_dim == (size if name in ("sized", "asked") else 6)
    state = load(f"module:{nets}.{name}", image_size=given).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())  # the same each time


@pytest.mark.parametrize(("name", "given"), [("asked", 9), ("Sized", None), ("backbone", None)])
def test_it_is_rebuilt_from_its_description(nets: str, name: str, given: int | None) -> None:
    loaded = load(f"module:{nets}.{name}", image_size=given)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    spec = BackboneSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(loaded.spec))))
    built = build(spec, allow_imports=["my_nets"])
    built.load_state_dict(loaded.state_dict())
    size = loaded.spec.image_size
    assert torch.equal(built(images(size)), loaded(images(size)))
    assert (built.fixed_size, built.attention_heads) == (loaded.fixed_size, loaded.attention_heads)


def test_a_backbone_keeps_what_it_says_of_itself(nets: str) -> None:
    import importlib

    inner, loaded = importlib.import_module(nets).backbone(), load(f"module:{nets}.backbone")
    assert torch.equal(loaded(images(32)), inner(images(32)))
    assert loaded.fixed_size
    assert loaded.attention_heads == inner.attention_heads is not None
    assert loaded.spec.image_format == inner.spec.image_format
    with pytest.raises(BackboneError, match=r"image_size is 64, but my_nets\.nets\.backbone gives .* of 32 pixels"):
        load(f"module:{nets}.backbone", image_size=64)


def test_a_command_takes_it_where_it_takes_a_checkpoint(nets: str) -> None:
    pool = open_model(f"module:{nets}.Sized", torch.device("cpu"))
    assert (pool.config.experts, pool.backbone.spec.image_size) == (0, 20)


def test_the_users_own_object_stays_as_it_is(nets: str) -> None:
    first = load(f"module:{nets}.shared", image_size=16)
    with torch.no_grad():
        next(first.parameters()).add_(1)
    second = load(f"module:{nets}.shared", image_size=16)
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_a_description_imports_nothing_by_itself(nets: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = load(f"module:{nets}.Net", image_size=16).spec
    forget(monkeypatch)
    for allowed in ([], ["my_net"], ["my_nets.other"]):
        with pytest.raises(CheckpointError, match=r"my_nets\.nets\.Net, code outside smat.*--allow-import my_nets"):
            build(spec, allow_imports=allowed)
    assert "my_nets" not in sys.modules
    ours = {"path": "smat.files.check_writable", "arguments": {"path": str(tmp_path / "new" / "x")}}
    theirs = {"path": f"{nets}.Net", "arguments": {"width": 10**9}}
    for config in (ours, theirs, ours | {"arguments": {}}):
        with pytest.raises(CheckpointError, match="which no smat writes"):
            build(dataclasses.replace(spec, config=config), allow_imports=["my_nets"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError, match="None, code outside smat"):
        build(dataclasses.replace(spec, config={}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Net", "image_size is missing: the network of 'module:my_nets.nets.Net'"),
        ("asked", r"my_nets\.nets\.asked\(\) raised TypeError: .*image_size"),
        ("broken", r"my_nets\.nets\.broken\(\) raised OSError: no weights here"),
        ("text", "gives a str; it must give an nn.Module"),
        ("constant", "raised TypeError: .*not callable"),
    ],
)
def test_what_gives_no_network_says_so(nets: str, name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load(f"module:{nets}.{name}")
    with pytest.raises(ConfigError, match="has no 'Absent'"):
        load(f"module:{nets}.Absent")
    with pytest.raises(ConfigError, match="is no import path"):
        load("module:nets")
