"""What the experts of a pool learned: numbers from checkpoints and runs; figures are drawn by recipes."""

from smat.analysis.accuracy import GridCell, PairedAccuracy, accuracy_grid
from smat.analysis.capacity import Capacity, capacity
from smat.analysis.contributions import Contributions, read_contributions
from smat.analysis.dendrogram import Dendrogram, cluster
from smat.analysis.distances import jensen_shannon, mask_distances, weight_distances
from smat.analysis.layers import LAYER_TYPES, Axis, Layers
from smat.analysis.overlap import Measure, Null, Overlap, Sharing, compare_masks, overlap, sharing
from smat.analysis.tasks import (
    DomainRecognition,
    Placement,
    Tasks,
    join,
    place,
    recognise_domains,
    route_own,
    route_tasks,
)
from smat.analysis.won_lost import Confusion, Judgement, WonLost, compare_queries, distinct, thumbnails

__all__ = [
    "LAYER_TYPES",
    "Axis",
    "Capacity",
    "Confusion",
    "Contributions",
    "Dendrogram",
    "DomainRecognition",
    "GridCell",
    "Judgement",
    "Layers",
    "Measure",
    "Null",
    "Overlap",
    "PairedAccuracy",
    "Placement",
    "Sharing",
    "Tasks",
    "WonLost",
    "accuracy_grid",
    "capacity",
    "cluster",
    "compare_masks",
    "compare_queries",
    "distinct",
    "jensen_shannon",
    "join",
    "mask_distances",
    "overlap",
    "place",
    "read_contributions",
    "recognise_domains",
    "route_own",
    "route_tasks",
    "sharing",
    "thumbnails",
    "weight_distances",
]
