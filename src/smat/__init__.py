"""Sparse meta-tuning: few-shot image classification with sparse interpolated experts (SMAT, ICML 2024).

What most programs need is here; everything else is in the submodules.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from smat import (
        adaptation,
        analysis,
        assessment,
        backbones,
        domains,
        episodes,
        evaluation,
        experts,
        export,
        heads,
        importing,
        metatuning,
        recipes,
    )
    from smat.adaptation import FewShotClassifier
    from smat.backbones import load as load_backbone
    from smat.domains import open_domains
    from smat.experts import PoolConfig, SparseInterpolatedExperts
    from smat.metatuning import MetaTuner
    from smat.metatuning.methods import METHODS as methods
    from smat.recipes.evaluate import evaluate
    from smat.recipes.train import meta_tune

# oneDNN keeps the code that it makes for each shape of a bfloat16 product, megabytes a shape, for the last 1024 shapes.
# Tasks come in many shapes, and a long evaluation would grow to 9 GB. It is read at the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

# Imported when they are asked for, since PyTorch and transformers take seconds.
_LAZY = {
    "FewShotClassifier": ("smat.adaptation", "FewShotClassifier"),
    "MetaTuner": ("smat.metatuning", "MetaTuner"),
    "PoolConfig": ("smat.experts", "PoolConfig"),
    "SparseInterpolatedExperts": ("smat.experts", "SparseInterpolatedExperts"),
    "evaluate": ("smat.recipes.evaluate", "evaluate"),
    "load_backbone": ("smat.backbones", "load"),
    "meta_tune": ("smat.recipes.train", "meta_tune"),
    "methods": ("smat.metatuning.methods", "METHODS"),
    "open_domains": ("smat.domains", "open_domains"),
}

__all__ = [
    "FewShotClassifier",
    "MetaTuner",
    "PoolConfig",
    "SparseInterpolatedExperts",
    "__version__",
    "adaptation",
    "analysis",
    "assessment",
    "backbones",
    "domains",
    "episodes",
    "evaluate",
    "evaluation",
    "experts",
    "export",
    "heads",
    "importing",
    "load_backbone",
    "meta_tune",
    "metatuning",
    "methods",
    "open_domains",
    "recipes",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: one of these names, or a submodule."""
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module), attribute)
    if name in __all__:
        return importlib.import_module(f"smat.{name}")
    raise AttributeError(f"module 'smat' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, whether or not it is imported yet."""
    return __all__
