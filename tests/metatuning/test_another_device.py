"""Training on a device that is not the CPU, without one: nothing is left behind, and it is waited for once a step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from another_device import META, AnotherDevice
from smat.experts import Hardening, RouterConfig
from smat.metatuning import GroupConfig, MetaTuner, OptimizerConfig
from smat.metatuning.optimizers import MetaOptimizer
from tiny import tiny_pool, tiny_tuner

SGD = OptimizerConfig(
    delta=GroupConfig("sgd", 1e-2, momentum=0.9, clip=1.0),
    gates=GroupConfig("sgd", 1e3),
    router=GroupConfig("sgd", 1e-3),
)


def elsewhere(tuner: MetaTuner) -> MetaTuner:
    """The same run on the meta device, as Fabric would have moved it there."""
    tuner.pool.to(META)
    tuner.multipliers = nn.Parameter(tuner.multipliers.to(META))
    tuner.optimizer = MetaOptimizer(tuner.pool, tuner.multipliers, tuner.config.optimizers)
    fabric: Any = SimpleNamespace(device=META, world_size=1, global_rank=0, is_global_zero=True)
    tuner.fabric = tuner.processes.fabric = fabric
    return tuner


@pytest.mark.parametrize(
    ("pool", "tuning"),
    [
        ({}, {}),
        ({}, {"optimizers": SGD}),
        ({"random_gates": True, "learned_head": True}, {}),
        ({"structure": "output", "null_expert": True}, {}),
        ({"estimator": "straight-through", "router": RouterConfig(choice="softmax")}, {"sparsity_budget": "pool"}),
        ({"experts": 3, "router": RouterConfig(choice="sparsemax")}, {"sparsity_budget": "block"}),
        ({"experts": 3, "router": RouterConfig(choice="top")}, {}),
        ({"hardening": Hardening(0.95)}, {}),
        ({"gating": "random"}, {"target_sparsity": None}),
        ({"gating": "random", "separate_deltas": True}, {"target_sparsity": None}),
        ({"gating": "open"}, {"target_sparsity": None}),
        ({"experts": 1}, {}),
    ],
    ids=str,
)
def test_a_step_waits_for_the_device_once(pool: dict[str, Any], tuning: dict[str, Any], tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path, tiny_pool(**pool), **tuning)
    batch = [tuner.train_source.episode(number) for number in range(2)]
    elsewhere(tuner)
    with AnotherDevice() as device:
        for _ in range(2):
            tuner._step(batch)
    assert device.reads == 2
    assert device.writes == 0
    assert all(p.device == META for p in tuner.pool.parameters())


def test_what_is_left_on_the_cpu_is_found(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path)
    batch = [tuner.train_source.episode(number) for number in range(2)]
    elsewhere(tuner).multipliers = nn.Parameter(torch.zeros(2))
    with AnotherDevice(), pytest.raises(AssertionError, match="left on the CPU"):
        tuner._step(batch)
