"""Sparse meta-tuning: few-shot image classification with sparse interpolated experts (SMAT, ICML 2024)."""

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from smat.adaptation import FewShotClassifier
    from smat.experts import SparseInterpolatedExperts

# oneDNN keeps the code that it makes for each shape of a bfloat16 product, megabytes a shape, for the last 1024 shapes.
# Tasks come in many shapes, and a long evaluation would grow to 9 GB. It is read at the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

__all__ = ["FewShotClassifier", "SparseInterpolatedExperts", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the two classes when they are asked for: `smat --help` should not wait for PyTorch."""
    if name == "FewShotClassifier":
        from smat.adaptation import FewShotClassifier

        return FewShotClassifier
    if name == "SparseInterpolatedExperts":
        from smat.experts import SparseInterpolatedExperts

        return SparseInterpolatedExperts
    raise AttributeError(f"module 'smat' has no attribute {name!r}")
