"""Sparse interpolated experts: gates, their interpolation, the router, and the pool that holds them."""

from smat.experts.card import Analysis, Card, Figure, Result, Training, TunedDomain, Validation
from smat.experts.card_additions import add_to_card, check_card
from smat.experts.feature_cache import CachedNetwork, FeatureCache, cached
from smat.experts.fixed_gates import SeparateUpdates, SharedUpdate
from smat.experts.gates import HardConcrete, gate, nonzero_probability
from smat.experts.interpolation import Merged, interpolate
from smat.experts.learned_gates import GateStart, Hardening, LearnedGates, OfficialGates
from smat.experts.network import Network
from smat.experts.packed import PackedGates, Packing
from smat.experts.packing import pack
from smat.experts.pool import SparseInterpolatedExperts
from smat.experts.prototype_router import PrototypeRouter, task_direction
from smat.experts.router import Router, RouterConfig, TransformerRouter, class_prototypes, count_classes
from smat.experts.settings import PoolConfig, TemperatureSchedule
from smat.experts.sharded import ShardedGates, Slices
from smat.experts.strength import BOTH, FROZEN, MERGED, Strength
from smat.experts.structure import Structure, block_of, gate_index
from smat.experts.updates import NoUpdate, Update

__all__ = [
    "BOTH",
    "FROZEN",
    "MERGED",
    "Analysis",
    "CachedNetwork",
    "Card",
    "FeatureCache",
    "Figure",
    "GateStart",
    "HardConcrete",
    "Hardening",
    "LearnedGates",
    "Merged",
    "Network",
    "NoUpdate",
    "OfficialGates",
    "PackedGates",
    "Packing",
    "PoolConfig",
    "PrototypeRouter",
    "Result",
    "Router",
    "RouterConfig",
    "SeparateUpdates",
    "ShardedGates",
    "SharedUpdate",
    "Slices",
    "SparseInterpolatedExperts",
    "Strength",
    "Structure",
    "TemperatureSchedule",
    "Training",
    "TransformerRouter",
    "TunedDomain",
    "Update",
    "Validation",
    "add_to_card",
    "block_of",
    "cached",
    "check_card",
    "class_prototypes",
    "count_classes",
    "gate",
    "gate_index",
    "interpolate",
    "nonzero_probability",
    "pack",
    "task_direction",
]
