"""Whether a training uses compiled kernels."""

import torch

from smat.errors import ConfigError
from smat.experts import LearnedGates, SparseInterpolatedExperts
from smat.experts.compiled import can_compile
from smat.metatuning.settings import TuningConfig

WORTHWHILE = 20_000_000
"""Number of gates from which `auto` compiles: with fewer, plain code is done before the compiler would be."""


def is_compiled(pool: SparseInterpolatedExperts, config: TuningConfig, device: torch.device) -> bool:
    """Whether a pool's interpolation is to be compiled in its training.

    Raises:
        ConfigError: `tuning.compile` is `on`, but there are no kernels for the pool, or nothing can be compiled here.
    """
    update = pool.update
    has_kernels = (
        isinstance(update, LearnedGates)
        and update.gate_index is None
        and update.estimator == "soft"
        and not pool.config.random_gates
        and config.sparsity_budget != "block"
    )
    if config.compile == "on" and not has_kernels:
        raise ConfigError(
            "tuning.compile is on, but there are kernels only for learned gates of each parameter, neither random nor "
            "straight-through, without budgets by block: set it to auto"
        )
    if config.compile == "off" or not isinstance(update, LearnedGates) or not has_kernels:
        return False
    return (config.compile == "on" or update.gate_logits.numel() >= WORTHWHILE) and can_compile(
        device.type, config.compile == "on"
    )
