"""Classifiers for elsewhere: as ONNX files and as programs of PyTorch, which run without smat."""

from smat.export.agreement import Agreement, compare, onnx_answers
from smat.export.deployed import Deployed
from smat.export.fitted import deployed_from, pictures
from smat.export.metadata import metadata, recipe
from smat.export.onnx_file import ExportPrecision, onnx_bytes
from smat.export.torch_file import program_answers, program_bytes

__all__ = [
    "Agreement",
    "Deployed",
    "ExportPrecision",
    "compare",
    "deployed_from",
    "metadata",
    "onnx_answers",
    "onnx_bytes",
    "pictures",
    "program_answers",
    "program_bytes",
    "recipe",
]
