import json
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from smat.backbones import load
from smat.errors import BackboneError
from tiny_checkpoints import MEAN, images, plain_feature, save

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    edit(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    save("vit", tmp_path)
    return tmp_path


def test_a_folder_that_is_not_there() -> None:
    for name in ("./nowhere", "~/nowhere", "a/b/nowhere"):
        with pytest.raises(BackboneError, match=f"'{name}': there is no such folder.*hub name such as"):
            load(name)


def test_a_folder_without_or_with_a_broken_config(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json' cannot be used: it is no JSON.*Fetch the file again"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(BackboneError, match=r"it is \[\]; expected settings by name"):
        load(tmp_path)


def test_a_config_with_wrong_values(vit: Path) -> None:
    edit_config(vit, hidden_size="many")
    with pytest.raises(BackboneError, match=r"cannot read its config\.json"):
        load(vit)


@pytest.mark.parametrize("model_type", ["bert", "clip_text_model", None])
def test_a_model_that_is_no_known_image_network(model_type: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(BackboneError, match=f"model type {model_type!r}.*those are: clip, .*vit.*'module:PATH'"):
        load(tmp_path)


@pytest.mark.parametrize(("size", "nearest"), [(33, "use 32 or 40"), (7, "use 8"), (0, "positive"), (-8, "positive")])
def test_an_image_size_that_does_not_fit(size: int, nearest: str, vit: Path) -> None:
    with pytest.raises(BackboneError, match=f"image_size {size} .*{nearest}"):
        load(vit, image_size=size)


def test_a_native_size_with_a_strip_left_over_is_taken_as_it_is(tmp_path: Path) -> None:
    save("siglip", tmp_path, vision_config={"image_size": 35, "patch_size": 8, **SMALL})
    assert load(tmp_path)(images(35)).shape == (3, 32)


def test_images_that_are_not_square_or_of_another_size(vit: Path) -> None:
    with pytest.raises(BackboneError, match=r"images of 40 x 40 pixels.*loaded for 32 x 32.*image_size=40"):
        load(vit)(images(40))
    edit_config(vit, image_size=[32, 64])
    with pytest.raises(BackboneError, match=r"image_size \[32, 64\].*only square"):
        load(vit)


def test_weights_that_are_missing_or_broken(vit: Path) -> None:
    weights = vit / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BackboneError, match=r"model\.safetensors' is damaged: .*Copy or download it again"):
        load(vit)
    weights.unlink()
    with pytest.raises(BackboneError, match=r"cannot be loaded: .*model\.safetensors"):
        load(vit)


def test_pickled_weights_are_not_read(vit: Path) -> None:
    torch.save(load_file(vit / "model.safetensors"), vit / "pytorch_model.bin")
    (vit / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"pytorch_model\.bin\) are not read.*save_pretrained writes safetensors"):
        load(vit)


def test_a_missing_weight_is_not_filled_with_random_numbers(vit: Path) -> None:
    edit_weights(vit, lambda state: state.pop("layernorm.weight"))
    with pytest.raises(BackboneError, match=rf"1 missing, such as layernorm\.weight.*{transformers.__version__}"):
        load(vit)


def test_weights_with_unknown_names(vit: Path) -> None:
    edit_weights(vit, lambda state: [state.update({f"new.{n}": state.pop(n)}) for n in list(state)])
    with pytest.raises(BackboneError, match=r"missing, such as embeddings.*use the major version that saved them"):
        load(vit)


@pytest.mark.parametrize("family", ["vit", "vit_classifier", "clip", "clip_vision", "siglip", "resnet_classifier"])
def test_layers_in_surplus_are_not_dropped(family: str, tmp_path: Path) -> None:
    save(family, tmp_path, **({"depths": [2, 1]} if "resnet" in family else {}))
    config = json.loads((tmp_path / "config.json").read_text())
    part = config.get("vision_config", config)
    part.update({"depths": [1, 1]} if "resnet" in family else {"num_hidden_layers": 1})
    edit_config(tmp_path, **config)
    with pytest.raises(BackboneError, match=r"in surplus, such as .*layer"):
        load(tmp_path)


def test_weights_of_another_shape(vit: Path) -> None:
    edit_config(vit, intermediate_size=64)
    with pytest.raises(BackboneError, match=r"weights of backbone .*cannot be loaded|of another shape"):
        load(vit)


def test_constants_missing_or_written_otherwise(vit: Path) -> None:
    file = vit / "preprocessor_config.json"
    file.write_text(json.dumps({"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    assert (load(vit).spec.mean, load(vit).spec.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    file.unlink()
    with pytest.warns(UserWarning, match=r"no preprocessor_config\.json.*ImageNet"):
        assert load(vit).spec.mean == (0.485, 0.456, 0.406)
    assert load(vit, mean=(0.0, 0.1, 0.2), std=(1.0, 1.0, 1.0)).spec.mean == (0.0, 0.1, 0.2)
    nested = {"image_processor": {"image_mean": [0.3] * 3, "image_std": 0.7}}
    (vit / "processor_config.json").write_text(json.dumps(nested))
    assert (load(vit).spec.mean, load(vit).spec.std) == ((0.3, 0.3, 0.3), (0.7, 0.7, 0.7))


def test_a_name_that_cannot_be_one() -> None:
    with pytest.raises(BackboneError, match="'no spaces/please' is not a valid hub name"):
        load("no spaces/please")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as it takes to serve files of `someone/tiny-vit`; anything else is not found."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        repository, _, rest = self.path.partition("/resolve/")
        _, _, file = rest.partition("/")  # after the revision: its name, or its hash once that is known
        found = self.folder / file if repository == "/someone/tiny-vit" else None
        data = found.read_bytes() if found and found.is_file() else b""
        self.send_response(200 if data else 404)
        if not data:
            self.send_header("X-Error-Code", "EntryNotFound" if found else "RepoNotFound")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{zlib.crc32(data):040x}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a server on this machine gives out as the hub's `someone/tiny-vit`."""
    handler = type("Handler", (Hub,), {"folder": tmp_path / "served"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for name, value in (
        ("ENDPOINT", endpoint),
        ("HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HUB_CACHE", str(tmp_path / "cache")),
        ("HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True).start()
    yield tmp_path / "served"
    server.shutdown()
    server.server_close()


def test_a_checkpoint_by_hub_name(hub: Path) -> None:
    hub.mkdir()
    model = save("vit", hub)
    backbone = load("someone/tiny-vit")
    assert (backbone.spec.name, list(backbone.spec.mean)) == ("someone/tiny-vit", MEAN)
    torch.testing.assert_close(backbone(images(32)), plain_feature("vit", model, images(32)), atol=2e-6, rtol=1e-5)


def test_pickled_weights_of_the_hub_are_not_read(hub: Path) -> None:
    hub.mkdir()
    save("vit", hub)
    (hub / "model.safetensors").rename(hub / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"(?s)cannot be loaded.*pytorch_model\.bin\) are not read"):
        load("someone/tiny-vit")


def test_a_name_that_the_hub_does_not_have(hub: Path) -> None:
    with pytest.raises(
        BackboneError, match=r"'someone/else' is neither a local folder nor a name on the hub.*spelling"
    ):
        load("someone/else")


def test_a_repository_without_config(hub: Path) -> None:
    hub.mkdir()
    with pytest.raises(BackboneError, match=r"'someone/tiny-vit' has no config\.json"):
        load("someone/tiny-vit")


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match="'someone/tiny-vit' is no local folder, and the hub cannot be reached"):
        load("someone/tiny-vit")
