"""Folders of transformers: which networks and heads make one, and whether it says what the classifier says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.errors import BackboneError, ConfigError
from smat.export.hf import export_hf
from tiny_checkpoints import save
from tiny_images import labelled, make_pool

FAMILIES = [
    "vit",
    "dinov2",
    "dinov2_registers",
    "mobilenet_v2",
    "resnet",
    "convnext",
    "swin_classifier",
    "efficientnet_classifier",
    "levit",
    "pvt_v2",
]


def classifier(model: Any, **settings: Any) -> FewShotClassifier:
    images, names = labelled(4)
    options = {"device": "cpu", "precision": "32-true", "head": "linear"} | settings
    return FewShotClassifier(str(model) if isinstance(model, Path) else model, **options).fit(images, names)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    save("vit", folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_the_loaded_folder_are_the_classifiers(family: str, tmp_path: Path) -> None:
    save(family, tmp_path / "backbone")
    fitted = classifier(tmp_path / "backbone", image_size=64 if family == "levit" else None)
    assert export_hf(fitted, tmp_path / "out").exact
    loaded = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert [*loaded.config.id2label.values()] == fitted.classes_.tolist()
    images = torch.randn(3, 3, *[fitted.task_model_.backbone.spec.image_size] * 2)
    with torch.no_grad():
        expected = fitted.task_model_(images) / fitted.assessment_.temperature
        torch.testing.assert_close(loaded(images).logits, expected, rtol=1e-3, atol=1e-3)


def test_the_pipeline_says_what_the_classifier_says(vit: Path, tmp_path: Path) -> None:
    fitted = classifier(vit, margin=1.0)
    pictures = [Image.fromarray(image).resize((40, 50)) for image in labelled(5, start=100)[0]]
    report = export_hf(fitted, tmp_path / "out", pictures=pictures)
    assert (report.architecture, report.images) == ("ViTForImageClassification", 15)
    assert report.alike >= 14
    assert report.probability < 0.1
    pipe = transformers.pipeline("image-classification", model=str(tmp_path / "out"), device="cpu")
    said = [found[0]["label"] for found in pipe(pictures)]
    assert np.mean(said == fitted.predict(pictures)) >= 14 / 15


def test_features_beside_the_class_token_have_no_weight(tmp_path: Path) -> None:
    save("dinov2", tmp_path / "backbone")
    export_hf(classifier(tmp_path / "backbone"), tmp_path / "out")
    layer = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out").classifier
    assert layer.weight.shape == (3, 64)
    assert layer.weight[:, :32].any()
    assert not layer.weight[:, 32:].any()


def test_of_prototypes_the_labels_are_the_classifiers(vit: Path, tmp_path: Path) -> None:
    fitted = classifier(vit, head="prototype")
    assert not export_hf(fitted, tmp_path / "out").exact
    assert "its probabilities are not" in (tmp_path / "out" / "README.md").read_text()
    loaded = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    images = torch.randn(30, 3, 32, 32)
    with torch.no_grad():
        found, expected = loaded(images).logits, fitted.task_model_(images)
    assert torch.equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("head", ["ridge", "logistic", "lda", "average", "auto:0"])
def test_a_head_with_a_bias_on_features_of_length_1_is_refused(head: str, vit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"adds a bias.*--head linear.*--to onnx"):
        export_hf(classifier(vit, head=head), tmp_path / "out")


def test_a_head_that_is_not_linear_is_refused(vit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Neighbours is no layer of a network.*--head linear"):
        export_hf(classifier(vit, head="knn"), tmp_path / "out")


def test_views_are_refused(vit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sees 2 cuts of each image.*--head linear"):
        export_hf(classifier(vit, head="auto"), tmp_path / "out")


def test_several_networks_are_refused(vit: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"adapt": "full", "learning_rate": "average", "steps": 1}
    with pytest.raises(ConfigError, match=r"average of 6 networks.*--learning-rate support"):
        export_hf(classifier(vit, **settings), tmp_path / "out")


@pytest.mark.parametrize("family", ["clip_vision", "dinov3_vit"])
def test_a_network_without_a_classification_class_is_refused_by_name(family: str, tmp_path: Path) -> None:
    save(family, tmp_path / "backbone")
    with pytest.raises(BackboneError, match=r"backbone '.*backbone', a .*Model, has no class in transformers"):
        export_hf(classifier(tmp_path / "backbone"), tmp_path / "out")
    with pytest.raises(BackboneError, match="backbone 'Patches', a Patches, has no class in transformers"):
        export_hf(classifier(make_pool()), tmp_path / "out")


def test_a_class_that_classifies_another_feature_is_refused_by_name(tmp_path: Path) -> None:
    save("deit", tmp_path / "backbone")  # smat takes its pooled output, the class takes the token
    with pytest.raises(BackboneError, match=r"DeiTForImageClassification .* classifies another feature"):
        export_hf(classifier(tmp_path / "backbone"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_folders_are_not_replaced(vit: Path, tmp_path: Path) -> None:
    fitted = classifier(vit)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="has other files in it"):
        export_hf(fitted, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    for _ in range(2):
        export_hf(fitted, tmp_path / "out")
    modes = {file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert len(modes) == 1
