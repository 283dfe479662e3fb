"""What the experts of a pool learned: numbers from checkpoints and runs."""

from smat.analysis.capacity import Capacity, capacity
from smat.analysis.contributions import Contributions, read_contributions
from smat.analysis.layers import LAYER_TYPES, Axis, Layers
from smat.analysis.overlap import Measure, Null, Overlap, Sharing, compare_masks, overlap, sharing

__all__ = [
    "LAYER_TYPES",
    "Axis",
    "Capacity",
    "Contributions",
    "Layers",
    "Measure",
    "Null",
    "Overlap",
    "Sharing",
    "capacity",
    "compare_masks",
    "overlap",
    "read_contributions",
    "sharing",
]
