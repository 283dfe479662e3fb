"""Analysis: what the experts of a pool learned, as numbers; figures are drawn by recipes."""

from smat.analysis.accuracy import GridCell, PairedAccuracy, accuracy_grid
from smat.analysis.dendrogram import Dendrogram, cluster
from smat.analysis.distances import jensen_shannon, mask_distances, weight_distances
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
from smat.analysis.won_lost import (
    Confusion,
    Judgement,
    WonLost,
    compare_queries,
    distinct,
    thumbnails,
)

__all__ = [
    "Confusion",
    "Dendrogram",
    "DomainRecognition",
    "GridCell",
    "Judgement",
    "PairedAccuracy",
    "Placement",
    "Tasks",
    "WonLost",
    "accuracy_grid",
    "cluster",
    "compare_queries",
    "distinct",
    "jensen_shannon",
    "join",
    "mask_distances",
    "place",
    "recognise_domains",
    "route_own",
    "route_tasks",
    "thumbnails",
    "weight_distances",
]
