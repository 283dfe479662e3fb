"""Pre-trained networks as feature extractors: `load` one by name, or `build` its architecture again."""

from smat.backbones.activations import recomputed_activations
from smat.backbones.backbone import Backbone
from smat.backbones.casts import shared_casts
from smat.backbones.loading import POCKET, build, load
from smat.backbones.positions import PositionRule
from smat.backbones.spec import BackboneSpec, ImageFormat, ImageOptions
from smat.backbones.stored import check_network, too_large

__all__ = [
    "POCKET",
    "Backbone",
    "BackboneSpec",
    "ImageFormat",
    "ImageOptions",
    "PositionRule",
    "build",
    "check_network",
    "load",
    "recomputed_activations",
    "shared_casts",
    "too_large",
]
