"""A classifier as a folder of transformers, which its pipelines load."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

import smat
from smat.adaptation import FewShotClassifier
from smat.backbones import BackboneSpec
from smat.backbones.pretrained import quiet
from smat.cards import card
from smat.episodes import TransformConfig
from smat.errors import BackboneError
from smat.export.fitted import deployed_from
from smat.export.layers import Layer, layer_of, noise, one_network, unlike, with_last_layer
from smat.files import write_folder
from smat.left_out import leave_out

MARK = "smat.json"
"""The file of the folder that says what it was made of."""


@dataclass(frozen=True)
class HfReport:
    """What the folder says beside what the classifier says.

    Attributes:
        architecture: name of the class in transformers.
        exact: whether the probabilities are the classifier's; if not, the labels are.
        images: number of pictures that both classified.
        alike: number that they gave the same label, cut and resized by each in its own way.
        probability: largest difference between two probabilities.
    """

    architecture: str
    exact: bool
    images: int = 0
    alike: int = 0
    probability: float = 0.0


def export_hf(
    classifier: FewShotClassifier, out: str | Path, *, pictures: Sequence[Path | Image.Image] = ()
) -> HfReport:
    """Write a folder that `transformers.AutoModelForImageClassification` and its pipeline load.

    It has the network with the head as its last layer, and a preprocessor that cuts and resizes nearly as smat does. It
    is loaded and compared with the classifier before it is there.

    Args:
        classifier: fitted, with one network of transformers whose images are seen in one view, as a whole.
        out: the folder; an earlier one of the kind is replaced.
        pictures: what the folder is compared on.

    Raises:
        ConfigError: a head that is no layer, several networks or views, or a place that cannot be written to.
        BackboneError: a network that transformers has no classification class for, or one whose class classifies
            another feature.
    """
    model = one_network(classifier.task_model_)
    layer = layer_of(model).colder(deployed_from(classifier)[0].temperature)
    spec = model.backbone.spec
    names = [str(name) for name in classifier.classes_]
    network = with_last_layer(model, layer, names)
    margin = spec.margin if classifier.margin is None else classifier.margin
    report = HfReport(type(network).__name__, layer.exact)

    def fill(folder: Path) -> None:
        nonlocal report
        with quiet():
            network.save_pretrained(folder)
            image_processor(spec, margin).save_pretrained(folder)
        report = _checked(report, classifier, layer, folder, pictures)
        about = {"smat": smat.__version__, **asdict(report)}
        (folder / MARK).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        readme = folder / "README.md"
        readme.write_text(_card(report, names, Path(out).absolute().name), encoding="utf-8")
        for weights in folder.glob("*.safetensors"):
            weights.chmod(readme.stat().st_mode)  # safetensors makes files that nobody else may read

    write_folder(out, fill, MARK)
    if getattr(classifier, "reject", None) is not None:
        leave_out(
            "setting",
            "such a folder has labels and probabilities alone, and nothing for images of no class; --to onnx and "
            "--to web have it",
            ["reject"],
        )
    return report


def image_processor(spec: BackboneSpec, margin: float) -> Any:
    """The one whose cut and resize are nearest: the shorter side to a size, then the centre."""
    size = spec.image_size
    return transformers.CLIPImageProcessor(
        size={"shortest_edge": TransformConfig(margin=margin).canvas_size(size)},
        crop_size={"height": size, "width": size},
        resample=Image.Resampling.BICUBIC,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )


def _checked(
    report: HfReport,
    classifier: FewShotClassifier,
    layer: Layer,
    folder: Path,
    pictures: Sequence[Path | Image.Image],
) -> HfReport:
    """Load the folder as others will, and compare it with the classifier."""
    backbone = copy.deepcopy(classifier.task_model_.backbone).cpu()
    images = noise(backbone.spec.image_size)
    with quiet(), torch.no_grad():
        loaded = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        expected = backbone(images) @ layer.weight.T.cpu() + layer.bias.cpu()
        found = loaded(images).logits
    if not found.allclose(expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise BackboneError(unlike(backbone.spec, type(loaded), "its logits are others when the folder is loaded"))
    if not pictures:
        return report
    own = classifier.predict_proba(pictures)
    names = [str(name) for name in classifier.classes_]
    with quiet():
        pipe: Any = transformers.pipeline("image-classification", model=str(folder), device="cpu")
        said = pipe([some if isinstance(some, Image.Image) else str(some) for some in pictures], top_k=len(names))
    theirs = np.array([[{s["label"]: s["score"] for s in scores}[name] for name in names] for scores in said])
    alike = int((own.argmax(1) == theirs.argmax(1)).sum())
    return replace(report, images=len(own), alike=alike, probability=float(np.abs(own - theirs).max()))


def _card(report: HfReport, names: Sequence[str], folder: str) -> str:
    """The folder's README.md."""
    exactly = (
        "Its logits are those of smat's classifier."
        if report.exact
        else "Its labels are those of smat's classifier; its probabilities are not, for smat classifies by the cosine."
    )
    text = (
        "\n# Image classifier\n\n"
        f"{report.architecture} of {len(names)} classes, made with smat {smat.__version__} from a few labelled images. "
        f"{exactly} Images are resized and cut nearly as smat does; those that are transparent are best laid on white "
        "before.\n\n```python\nfrom transformers import pipeline\n\n"
        f'pipeline("image-classification", model="{folder}")("picture.jpg")\n```\n'
    )
    return card(text, library_name="transformers")
