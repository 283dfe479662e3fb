"""Evaluation: accuracies over many episodes, their statistics, their store, and tables of them."""

from smat.evaluation.cells import Cell, CellKey, calibration_bins, with_tuning
from smat.evaluation.comparison import Comparison, Entry, Line, compare, role_lines
from smat.evaluation.contenders import Experts, FineTuned, Frozen
from smat.evaluation.entrants import Entrant, EvaluationSettings, same_backbone
from smat.evaluation.joint import FinishedPart, JointEvaluation
from smat.evaluation.learning_rates import (
    Rule,
    fine_tuned,
    published_warning,
    rule_for,
    validated_rate,
    validation_sources,
)
from smat.evaluation.paper import paper_numbers
from smat.evaluation.protocol import (
    Contender,
    EpisodeFeatures,
    EpisodeRow,
    FixedFeatures,
    Outcome,
    domain_sources,
    evaluate_domain,
)
from smat.evaluation.screen import comparison_table
from smat.evaluation.sheet import percent
from smat.evaluation.store import Store
from smat.evaluation.tables import comparison_csv, comparison_latex, comparison_markdown, table_paths, write_tables
from smat.evaluation.variants import BASELINES, Variant

__all__ = [
    "BASELINES",
    "Cell",
    "CellKey",
    "Comparison",
    "Contender",
    "Entrant",
    "Entry",
    "EpisodeFeatures",
    "EpisodeRow",
    "EvaluationSettings",
    "Experts",
    "FineTuned",
    "FinishedPart",
    "FixedFeatures",
    "Frozen",
    "JointEvaluation",
    "Line",
    "Outcome",
    "Rule",
    "Store",
    "Variant",
    "calibration_bins",
    "compare",
    "comparison_csv",
    "comparison_latex",
    "comparison_markdown",
    "comparison_table",
    "domain_sources",
    "evaluate_domain",
    "fine_tuned",
    "paper_numbers",
    "percent",
    "published_warning",
    "role_lines",
    "rule_for",
    "same_backbone",
    "table_paths",
    "validated_rate",
    "validation_sources",
    "with_tuning",
    "write_tables",
]
