"""Meta-tuning: the objective of a training task, the sparsity constraint, the optimizers, the loop."""

from smat.metatuning.callbacks import Callback
from smat.metatuning.leave_out import LeaveOut
from smat.metatuning.objective import ObjectiveConfig, TaskNoise, TaskResult, train_task
from smat.metatuning.optimizers import GroupConfig, MetaOptimizer, OptimizerConfig
from smat.metatuning.settings import Progress, StepReport, TuningConfig
from smat.metatuning.terms import CrossEntropy, Distillation, QueryOutputs, Term
from smat.metatuning.tuner import MetaTuner

__all__ = [
    "Callback",
    "CrossEntropy",
    "Distillation",
    "GroupConfig",
    "LeaveOut",
    "MetaOptimizer",
    "MetaTuner",
    "ObjectiveConfig",
    "OptimizerConfig",
    "Progress",
    "QueryOutputs",
    "StepReport",
    "TaskNoise",
    "TaskResult",
    "Term",
    "TuningConfig",
    "train_task",
]
