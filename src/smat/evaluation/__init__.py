"""Evaluation: accuracies over many episodes, their statistics, their store, and tables of them."""

from smat.evaluation.comparison import Comparison, Entry, Line, average_line, compare, paper_averages, role_lines
from smat.evaluation.comparison_tables import (
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    comparison_table,
)
from smat.evaluation.contenders import BASELINES, Experts, FineTuned, Frozen
from smat.evaluation.learning_rates import Rule, fine_tuned, published_warning, rule_for
from smat.evaluation.protocol import Contender, EpisodeRow, FrozenFeatures, Outcome, domain_sources, evaluate_domain
from smat.evaluation.store import Cell, CellKey, Store
from smat.evaluation.summaries import Summary, averages, calibration_bins, summarise
from smat.evaluation.tables import markdown_table, results_table

__all__ = [
    "BASELINES",
    "Cell",
    "CellKey",
    "Comparison",
    "Contender",
    "Entry",
    "EpisodeRow",
    "Experts",
    "FineTuned",
    "Frozen",
    "FrozenFeatures",
    "Line",
    "Outcome",
    "Rule",
    "Store",
    "Summary",
    "average_line",
    "averages",
    "calibration_bins",
    "compare",
    "comparison_csv",
    "comparison_latex",
    "comparison_markdown",
    "comparison_table",
    "domain_sources",
    "evaluate_domain",
    "fine_tuned",
    "markdown_table",
    "paper_averages",
    "published_warning",
    "results_table",
    "role_lines",
    "rule_for",
    "summarise",
]
