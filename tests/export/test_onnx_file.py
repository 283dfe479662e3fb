"""ONNX files say what PyTorch says, for any number of pictures, and what they are."""

import json
from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import smat
from smat import backbones
from smat.adaptation import FewShotClassifier
from smat.errors import ConfigError
from smat.export import Deployed, compare, deployed_from, onnx_answers, onnx_bytes, pictures
from smat.export import onnx_file as onnx_file_module
from tiny_checkpoint import save_checkpoint
from tiny_images import labelled

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> FewShotClassifier:
    """Two networks, views, several heads: a ViT at two strengths under `auto`."""
    checkpoint = save_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return FewShotClassifier(checkpoint, strengths=(0.0, 1.0), device="cpu", precision="32-true").fit(*labelled(3))


@pytest.fixture(scope="module")
def deployed(classifier: FewShotClassifier) -> Deployed:
    return deployed_from(classifier)[0]


@pytest.fixture(scope="module")
def given(classifier: FewShotClassifier, deployed: Deployed) -> Tensor:
    return pictures(classifier, labelled(6, start=100)[0], deployed.side)


@pytest.fixture(scope="module")
def content(classifier: FewShotClassifier, given: Tensor) -> Callable[[str], bytes]:
    """By precision."""
    made: dict[str, bytes] = {}

    def of(precision: Any) -> bytes:
        if precision not in made:
            made[precision] = onnx_bytes(*deployed_from(classifier), precision=precision, pictures=given)
        return made[precision]

    return of


def test_float32_says_the_same(deployed: Deployed, given: Tensor, content: Callable[[str], bytes]) -> None:
    found = compare(deployed, onnx_answers(content("float32")), given)
    assert (found.images, found.decided_alike) == (18, found.decided)
    assert found.probability < 1e-5
    assert found.known < 0.01  # the logarithm of a distance that is nearly 0, as some are labelled images


@pytest.mark.parametrize("n", [1, 2, 5])
def test_any_number_of_pictures(n: int, deployed: Deployed, given: Tensor, content: Callable[[str], bytes]) -> None:
    probabilities, known = onnx_answers(content("float32"))(given[:n].numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(probabilities), deployed(given[:n])[0], atol=1e-5, rtol=0)
    assert known.shape == (n,)


@pytest.mark.parametrize(("precision", "close"), [("float16", 0.01), ("int8", 0.3)])
def test_fewer_bits_say_nearly_the_same(
    precision: str,
    close: float,
    deployed: Deployed,
    given: Tensor,
    content: Callable[[str], bytes],
) -> None:
    found = compare(deployed, onnx_answers(content(precision)), given)
    assert 0 < found.probability < close
    assert found.alike >= 17


def test_int8_computes_the_networks_in_8_bits_and_nothing_else(content: Callable[[str], bytes]) -> None:
    graph = onnx.load_model_from_string(content("int8")).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    in_8_bits = [all(made_by.get(i) == "DequantizeLinear" for i in node.input[:2]) for node in products]
    assert sum(in_8_bits) == 2 * 6  # two networks of 6 layers but for that of the patches
    assert sum(in_8_bits) < len(products)


def test_a_file_says_what_it_is_and_not_where_it_was_made(content: Callable[[str], bytes]) -> None:
    for precision in ("float32", "int8"):
        model = onnx.load_model_from_string(content(precision))
        assert [entry.key for entry in model.metadata_props] == ["smat"]
        about = json.loads(model.metadata_props[0].value)
        assert (about["smat"], about["classes"]) == (smat.__version__, ["brick", "grass", "sky"])
        assert about["recipe"]["side"] == 18
        assert model.opset_import[0].version >= 18
        assert b"site-packages" not in content(precision)
        assert b"modeling_vit" not in content(precision)


def test_int8_without_pictures_is_refused(classifier: FewShotClassifier) -> None:
    with pytest.raises(ConfigError, match="no pictures to measure activations on"):
        onnx_bytes(*deployed_from(classifier), precision="int8")


def test_more_than_an_onnx_file_holds_is_refused(
    classifier: FewShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file_module, "_LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"an ONNX file takes at most 2.*--to torch"):
        onnx_bytes(*deployed_from(classifier))


class Choosing(nn.Module):
    """Computes other things for other images."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 8)

    def forward(self, images: Tensor) -> Tensor:
        features = self.out(images.mean((2, 3)))
        return features if features.sum() > 0 else 2 * features


def test_a_network_that_cannot_be_traced_is_refused_by_name() -> None:
    backbone = backbones.load(Choosing(), image_size=8)
    fitted = FewShotClassifier(backbone, device="cpu", head="ridge").fit(*labelled(2))
    with pytest.raises(ConfigError, match="cannot be exported: backbone 'Choosing' with LinearClassifier"):
        onnx_bytes(*deployed_from(fitted))


def test_a_missing_package_is_named(classifier: FewShotClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"needs onnx, .*pip install 'smat-fewshot\[export\]'"):
        onnx_bytes(*deployed_from(classifier))
