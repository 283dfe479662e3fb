"""Sparse interpolated experts: gates, their interpolation, the router, and the pool that holds them."""

from smat.experts.gates import HardConcrete, expected_density, gate
from smat.experts.interpolation import Merged, interpolate
from smat.experts.network import Network
from smat.experts.pool import SparseInterpolatedExperts
from smat.experts.prototypes import class_prototypes, cosine_logits
from smat.experts.router import Router, RouterConfig
from smat.experts.settings import PoolConfig, TemperatureSchedule
from smat.experts.structure import Structure, gate_index
from smat.experts.task_model import TaskModel

__all__ = [
    "HardConcrete",
    "Merged",
    "Network",
    "PoolConfig",
    "Router",
    "RouterConfig",
    "SparseInterpolatedExperts",
    "Structure",
    "TaskModel",
    "TemperatureSchedule",
    "class_prototypes",
    "cosine_logits",
    "expected_density",
    "gate",
    "gate_index",
    "interpolate",
]
