"""Sparse meta-tuning: few-shot image classification with sparse interpolated experts (SMAT, ICML 2024)."""

__version__ = "0.1.0"
