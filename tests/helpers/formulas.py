"""Heads in a line, as tests compare with them."""

from typing import Any

from torch import Tensor

from smat.experts import SparseInterpolatedExperts
from smat.heads import PrototypeClassifier, fit_task


def cosine_logits(features: Tensor, prototypes: Tensor, scale: Tensor | None = None) -> Tensor:
    return PrototypeClassifier(prototypes, scale)(features)


def query_logits(
    pool: SparseInterpolatedExperts, support: Tensor, labels: Tensor, query: Tensor, **options: Any
) -> Tensor:
    classifier, features = fit_task(pool, support, labels, query, **options)
    return classifier(features)
