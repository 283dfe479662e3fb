"""Evaluation: accuracies over many episodes, their statistics, and tables of them."""

from smat.evaluation.files import check_writable, write_whole
from smat.evaluation.protocol import METHODS, EpisodeRow, Outcome, evaluate_domain
from smat.evaluation.statistics import (
    Interval,
    Summary,
    average,
    averages,
    calibration_error,
    interval,
    paired_difference,
    summarise,
)
from smat.evaluation.tables import markdown_table, results_table

__all__ = [
    "METHODS",
    "EpisodeRow",
    "Interval",
    "Outcome",
    "Summary",
    "average",
    "averages",
    "calibration_error",
    "check_writable",
    "evaluate_domain",
    "interval",
    "markdown_table",
    "paired_difference",
    "results_table",
    "summarise",
    "write_whole",
]
