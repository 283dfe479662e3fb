"""Whether a pool's gates and the sparsity that is asked of them fit together, and how many budgets there are."""

from smat.errors import ConfigError
from smat.experts import LearnedGates, SparseInterpolatedExperts
from smat.metatuning.settings import TuningConfig


def check_sparsity(pool: SparseInterpolatedExperts, config: TuningConfig) -> None:
    """Raise a `ConfigError` if a pool cannot be tuned towards the sparsity of the settings."""
    target, budget = config.target_sparsity, config.sparsity_budget
    if target is not None and not pool.update.trainable().get("gates"):
        raise ConfigError(
            f"tuning.target_sparsity is {target}, but {type(pool.update).__name__} (pool.gating "
            f"{pool.config.gating!r}) has no gates to learn: set tuning.target_sparsity to null"
        )
    if isinstance(target, list) and len(target) != pool.config.experts:
        raise ConfigError(
            f"tuning.target_sparsity has {len(target)} numbers, and pool.experts is {pool.config.experts}: give one "
            "number for all, or one per expert"
        )
    if budget != "expert" and config.objective.weigh_constraint:
        raise ConfigError(
            f"tuning.sparsity_budget is {budget}, and objective.weigh_constraint weighs experts: leave one of them"
        )
    if budget == "block" and not isinstance(pool.update, LearnedGates):
        raise ConfigError("tuning.sparsity_budget block needs learned gates: set pool.gating to learned, or the budget")


def budgets(pool: SparseInterpolatedExperts, config: TuningConfig) -> int:
    """Number of multipliers; has the gates of every block measured where each has a budget."""
    if config.sparsity_budget == "pool":
        return 1
    if config.sparsity_budget == "block" and isinstance(pool.update, LearnedGates):
        pool.update.measure_blocks()
        return pool.config.experts * len(pool.update.segments)
    return pool.config.experts
