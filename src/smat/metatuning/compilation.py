"""Whether a training uses compiled kernels."""

import logging
from functools import cache

import torch

from smat.errors import ConfigError
from smat.experts import LearnedGates, SparseInterpolatedExperts
from smat.experts.compiled import compiler_failure
from smat.metatuning.settings import TuningConfig

_log = logging.getLogger(__name__)

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
    if config.compile == "auto" and update.gate_logits.numel() < WORTHWHILE:
        return False
    if failure := compiler_failure(device.type):
        if config.compile == "on":
            raise ConfigError(
                f"tuning.compile is on, but nothing can be compiled here ({failure}): install a C++ compiler such as "
                "g++, or set it to auto or off"
            )
        _say_it_is_slower(failure)
    return not failure


@cache  # said once in a process, whoever asks
def _say_it_is_slower(failure: str) -> None:
    _log.info("experts are merged without compiled kernels, which takes several times as long: %s", failure)
