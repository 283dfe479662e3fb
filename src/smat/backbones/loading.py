"""`load` a pre-trained backbone by name, `build` its architecture from a description."""

import copy
import dataclasses
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

from torch import nn

from smat.backbones.backbone import Backbone
from smat.backbones.checkpoint import Checkpoint
from smat.backbones.families import FAMILIES, build_network, check_size, describe, load_network, read_config
from smat.backbones.image_models import check_features
from smat.backbones.own_networks import build_own, load_own
from smat.backbones.positions import PositionRule
from smat.backbones.spec import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec, ImageOptions, Triple
from smat.backbones.timm_models import build_timm, load_timm
from smat.errors import BackboneError

POCKET = Path(__file__).parent / "pocket"
"""Folder of the small ViT that is shipped with the package."""


def load(
    name: str | Path | nn.Module,
    *,
    image_size: int | None = None,
    position_rule: PositionRule = "exact",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Backbone:
    """A pre-trained network as a feature extractor, in float32 and in evaluation mode.

    The feature is the pooled output that its family is normally used with: the class token after the last
    norm for ViT, DINO, DINOv2 and DINOv3; the pooled output before the projection for CLIP; the
    attention-pooling head's for SigLIP; the average over positions for convolutional networks. Of any other model of
    transformers it is the pooled output, if the checkpoint has the weights for it; else the class token, where the last
    hidden state has one and is normalised; else the mean of the last hidden state over its positions.

    Learned position embeddings are resized here, once, when `image_size` is not the checkpoint's own:

    - `"exact"`, the default: bicubic to exactly the new grid, the old image's corners on the new one's. It is
      what transformers itself would compute in every forward pass (`interpolate_pos_encoding=True`), with
      antialiasing where it has it (DINOv2 with registers): so the features are those of the plain model at
      that size, and a mirrored image has mirrored positions.
    - `"dino"`: what the code of DINO (Caron et al. 2021), and of others after it, SMAT's authors among them,
      does: bicubic without antialiasing, by the factor (grid + 0.1) / old grid, which shifts the samples
      slightly. For comparison with results from that code, and for weights that were tuned with it.

    Args:
        name: a checkpoint of any model of transformers that takes images alone, or of CLIP or SigLIP, by hub name or
            local folder; `"pocket"`, shipped with smat; `"timm:NAME"`; `"module:PATH"`, the import path of a function
            or class of your own that gives a network; or the network itself, any module that maps images
            `[n, 3, h, w]` to features `[n, d]` (it is copied).
        image_size: height and width of the images in pixels; None for what the checkpoint's preprocessor crops images
            to, otherwise the size in its configuration (a module has none).
        position_rule: see above; of models of transformers that are not named there, of timm and of modules of your
            own the networks themselves look after their positions.
        mean: mean of each colour to normalise with, or one number for all three, in place of the checkpoint's. Without
            either it is ImageNet's; a checkpoint that has none is warned about.
        std: standard deviation of each colour, likewise.

    Raises:
        BackboneError: no such name, no network, not an image network, an image size that the patches do not
            fill, weights that are missing, broken, pickled, or do not fit, or features that are not finite, do not
            depend on the image, or are others at each call.
        ConfigError: an import path of nothing that can be imported, or a size, mean or deviation that cannot be.
    """
    images = ImageOptions(image_size, mean, std)
    if isinstance(name, nn.Module):
        if image_size is None:
            raise BackboneError(
                f"image_size is missing: the module {type(name).__name__} does not say what it is made for"
            )
        spec = BackboneSpec("module", type(name).__name__, {}, image_size, IMAGENET_MEAN, IMAGENET_STD, "output")
        network, fixed_size = copy.deepcopy(name), False
    elif str(name).startswith("timm:"):
        spec, network = load_timm(str(name), image_size)
        fixed_size = "img_size" in spec.config
    elif str(name).startswith("module:"):
        spec, network = load_own(str(name), image_size)
        fixed_size = spec.config["fixed_size"]
    else:
        checkpoint = Checkpoint(str(name), str(POCKET)) if name == "pocket" else Checkpoint.find(str(name))
        family, config = read_config(checkpoint)
        size = check_size(checkpoint, family, config, image_size)
        network, feature = load_network(checkpoint, family, config, size, position_rule)
        constants = _constants(checkpoint, images)
        spec = BackboneSpec("transformers", str(name), describe(network), size, *constants, feature)
        fixed_size = family.patches
    given = {name: value for name, value in vars(images).items() if value is not None and name != "image_size"}
    spec = dataclasses.replace(spec, **given)
    backbone = Backbone(spec, network, fixed_size=fixed_size)
    if spec.config.get("model_type") not in FAMILIES:  # those are known to keep to it
        check_features(backbone)
    return backbone


def build(spec: BackboneSpec, module: nn.Module | None = None, allow_imports: Collection[str] = ()) -> Backbone:
    """The architecture of a backbone with untrained weights, to load saved ones into.

    Args:
        spec: description of a backbone that `load` gave: shapes and parameter names come out the same.
        module: the network itself, where `spec.kind` is `"module"` (it is copied).
        allow_imports: packages or modules whose code may be imported, where `spec.kind` is `"own"`.

    Raises:
        BackboneError: the module is missing or not wanted, or the kind or model type is unknown.
        CheckpointError: code that may not be imported; the message names it.
    """
    if (module is not None) != (spec.kind == "module"):
        todo = "give the nn.Module that it was made of" if module is None else "build it without a module"
        raise BackboneError(f"backbone {spec.name!r} is of kind {spec.kind!r}: {todo}")
    if module is not None:
        return Backbone(spec, copy.deepcopy(module))
    if spec.kind == "own":
        return Backbone(spec, build_own(spec, allow_imports), fixed_size=bool(spec.config.get("fixed_size")))
    if spec.kind == "timm":
        return Backbone(spec, build_timm(spec), fixed_size="img_size" in spec.config)
    if spec.kind == "transformers":
        family, network = build_network(spec.config, spec.image_size)
        return Backbone(spec, network, fixed_size=family.patches)
    raise BackboneError(f"backbone kind {spec.kind!r} is unknown: it is 'transformers', 'timm', 'own' or 'module'")


def _constants(checkpoint: Checkpoint, given: ImageOptions) -> tuple[Triple, Triple]:
    """Those of a checkpoint, otherwise ImageNet's, with a warning where they are used."""
    found = checkpoint.normalisation()
    if found is None and (given.mean is None or given.std is None):
        warnings.warn(
            f"backbone {checkpoint.name!r} has no preprocessor_config.json: images are normalised with "
            "ImageNet's mean and standard deviation; where it was trained with others, give them (--mean, --std), or "
            "put such a file beside its weights",
            stacklevel=3,
        )
    return found or (IMAGENET_MEAN, IMAGENET_STD)
