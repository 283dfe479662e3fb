"""Sparse interpolated experts: gates, their interpolation, the router, and the pool that holds them."""

from smat.experts.feature_cache import CachedNetwork, FeatureCache, cached
from smat.experts.fixed_gates import SeparateUpdates, SharedUpdate
from smat.experts.gates import HardConcrete, gate, nonzero_probability
from smat.experts.interpolation import Merged, interpolate
from smat.experts.learned_gates import GateStart, Hardening, LearnedGates, OfficialGates
from smat.experts.network import Network
from smat.experts.pool import SparseInterpolatedExperts
from smat.experts.router import Router, RouterConfig, TransformerRouter, class_prototypes, count_classes
from smat.experts.settings import PoolConfig, TemperatureSchedule
from smat.experts.strength import Strength
from smat.experts.structure import Structure, block_of, gate_index
from smat.experts.updates import NoUpdate, Update

__all__ = [
    "CachedNetwork",
    "FeatureCache",
    "GateStart",
    "HardConcrete",
    "Hardening",
    "LearnedGates",
    "Merged",
    "Network",
    "NoUpdate",
    "OfficialGates",
    "PoolConfig",
    "Router",
    "RouterConfig",
    "SeparateUpdates",
    "SharedUpdate",
    "SparseInterpolatedExperts",
    "Strength",
    "Structure",
    "TemperatureSchedule",
    "TransformerRouter",
    "Update",
    "block_of",
    "cached",
    "class_prototypes",
    "count_classes",
    "gate",
    "gate_index",
    "interpolate",
    "nonzero_probability",
]
