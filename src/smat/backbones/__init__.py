"""Pre-trained networks as feature extractors: `load` one by name, or `build` its architecture again."""

from smat.backbones.backbone import Backbone
from smat.backbones.loading import POCKET, build, load
from smat.backbones.positions import PositionRule
from smat.backbones.spec import BackboneSpec

__all__ = ["POCKET", "Backbone", "BackboneSpec", "PositionRule", "build", "load"]
