"""A classifier as a classification network of transformers: its head as the last layer."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn
from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, PreTrainedModel

from smat.adaptation import TaskModels
from smat.backbones import BackboneSpec
from smat.backbones.pretrained import quiet
from smat.errors import BackboneError, ConfigError, one_line
from smat.heads import LOGIT_SCALE, WHOLE, LinearClassifier, Mixture, PrototypeClassifier, TaskModel
from smat.heads.head import Classifier
from smat.rng import seeded_torch, torch_generator

_HEADS = (
    "give --head linear, which is one layer exactly, or --head prototype, which is one but for the probabilities, when "
    "the classifier is made"
)
_ELSEWHERE = "; --to onnx, torch and web take every network"


@dataclass(frozen=True)
class Layer:
    """W f + b of a feature f.

    Attributes:
        exact: whether the logits are the classifier's; if not, those of the classifier times the length of the feature
            over what it usually is.
    """

    weight: Float[Tensor, "way dim"]
    bias: Float[Tensor, " way"]
    exact: bool

    def colder(self, temperature: float) -> "Layer":
        """With logits that are divided by a temperature."""
        return replace(self, weight=self.weight / temperature, bias=self.bias / temperature)


def one_network(model: TaskModel | TaskModels) -> TaskModel:
    """The model, if it is one network that sees images as a whole.

    Raises:
        ConfigError: several networks or views.
    """
    if isinstance(model, TaskModels):
        raise ConfigError(
            f"the classifier is the average of {len(model.members)} networks, and a folder of transformers has one: "
            f"make it with one learning rate (--learning-rate support){_ELSEWHERE}"
        )
    if model.others:
        raise ConfigError(
            f"the classifier has the features of {len(model.networks)} networks, and a folder of transformers has one: "
            f"make it with one strength (--strengths [1]){_ELSEWHERE}"
        )
    if (views := model.head.views.query) != (WHOLE,):
        raise ConfigError(
            f"the classifier sees {len(views)} cut{'s' if len(views) > 1 else ''} of each image, and a folder of "
            f"transformers the image as a whole: {_HEADS}"
        )
    return model


def layer_of(model: TaskModel) -> Layer:
    """The head as the last layer of a network; of features of length 1 only without a bias."""
    found = _linear(model.classifier)
    if found is None:
        raise ConfigError(f"the head {type(model.head).__name__} is no layer of a network: {_HEADS}{_ELSEWHERE}")
    weight, bias, unit = found
    if not unit:
        return Layer(weight, bias, exact=True)
    if (bias - bias.mean()).abs().max() > 1e-6 * weight.abs().max():
        raise ConfigError(
            f"the head {type(model.head).__name__} brings features to length 1 and adds a bias, which is no layer of a "
            f"network: {_HEADS}{_ELSEWHERE}"
        )
    return Layer(weight / _usual_length(model), torch.zeros_like(bias), exact=False)


def _linear(classifier: Classifier) -> tuple[Tensor, Tensor, bool] | None:
    """W, b and whether features are brought to length 1 first; None where it is not linear. Softmaxes are the same."""
    if isinstance(classifier, LinearClassifier):
        return classifier.weight, classifier.bias, classifier.unit
    if isinstance(classifier, PrototypeClassifier):
        weight = nn.functional.normalize(classifier.prototypes, dim=1)
        scale = LOGIT_SCALE if classifier.scale is None else classifier.scale[0]
        return scale * weight, weight.new_zeros(len(weight)), True
    if isinstance(classifier, Mixture) and classifier.networks == 1:
        # Of log-probabilities the normalisation is the same for all classes.
        parts = [_linear(some) for some in classifier.classifiers[0]]  # pyright: ignore
        each = [part for part in parts if part is not None]
        if len(each) == len(parts) and len({unit for *_, unit in each}) == 1:
            weights, biases, (unit, *_) = zip(*each, strict=True)
            shares = classifier.weights[0]
            return torch.einsum("h,hwd->wd", shares, torch.stack(weights)), shares @ torch.stack(biases), unit
    return None


def _usual_length(model: TaskModel) -> Tensor:
    """The mean length of the labelled images' features."""
    assert model.features is not None  # a classifier has them
    return model.features.norm(dim=1).mean().clamp(min=1e-9)


def with_last_layer(model: TaskModel, layer: Layer, names: Sequence[str]) -> PreTrainedModel:
    """The classification class of transformers for the network, with its weights and the layer."""
    backbone = copy.deepcopy(model.backbone).cpu()
    spec, source = backbone.spec, backbone.network
    architecture = _architecture(spec, source)
    config: Any = copy.deepcopy(source.config)
    config.id2label, config.label2id = dict(enumerate(names)), {name: k for k, name in enumerate(names)}
    with quiet(), seeded_torch(0, "classification"):
        network = architecture(config).eval()
    seen: list[tuple[nn.Linear, Tensor]] = []

    def look(module: nn.Linear, given: tuple[Tensor, ...]) -> None:
        seen.append((module, given[0].detach()))

    layers = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == len(names)]
    hooks = [module.register_forward_pre_hook(look) for module in layers]
    images = noise(spec.image_size)
    try:
        with torch.no_grad():
            getattr(network, network.base_model_prefix).load_state_dict(source.state_dict(), strict=False)
            feature = backbone(images)
            network(images)
        last, found = seen[-1]
        same = found[:, : feature.shape[1]].allclose(feature, rtol=1e-4, atol=1e-4 * float(feature.abs().max()))
    except Exception as error:  # whatever the class does with a network that it is not made for
        raise BackboneError(unlike(spec, architecture, f"it cannot hold it: {one_line(error)}")) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not same:
        raise BackboneError(unlike(spec, architecture, "it classifies another feature than smat"))
    with torch.no_grad():  # what it sees beside the feature, such as the mean of DINOv2's patches, has no weight
        last.weight.zero_()[:, : feature.shape[1]] = layer.weight
        if last.bias is not None:
            last.bias.copy_(layer.bias)
    return network


def _architecture(spec: BackboneSpec, source: nn.Module) -> Any:
    config: Any = getattr(source, "config", None)
    if spec.kind != "transformers" or type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise BackboneError(
            f"backbone {spec.name!r}, a {type(source).__name__}, has no class in transformers that classifies images "
            f"by it: use another backbone, such as a ViT, DINOv2, ConvNeXt, Swin, ResNet or MobileNet{_ELSEWHERE}"
        )
    found = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found


def unlike(spec: BackboneSpec, architecture: Any, why: str) -> str:
    """What to say of a class of transformers that is not the network that smat classifies with."""
    return (
        f"backbone {spec.name!r}: {architecture.__name__} of transformers {transformers.__version__} is not the "
        f"network that was classified with: {why}. Use another backbone{_ELSEWHERE}"
    )


def noise(size: int) -> Float[Tensor, "2 3 size size"]:
    """Two images to compare networks on, always the same."""
    return torch.randn(2, 3, size, size, generator=torch_generator(0, "classification"))
