"""Sparse meta-tuning: few-shot image classification with sparse interpolated experts (SMAT, ICML 2024)."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from smat.adaptation import FewShotClassifier
    from smat.experts import SparseInterpolatedExperts

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
