"""Classifiers for elsewhere: as ONNX files and as programs of PyTorch, which run without smat."""

from smat.export.agreement import Agreement, Runner, compare, onnx_answers
from smat.export.deployed import Deployed
from smat.export.fitted import deployed_from, labelled_pictures, pictures, random_pictures
from smat.export.metadata import metadata, recipe
from smat.export.onnx_file import ExportPrecision, onnx_bytes
from smat.export.torch_file import program_answers, program_bytes

__all__ = [
    "Agreement",
    "Deployed",
    "ExportPrecision",
    "Runner",
    "compare",
    "deployed_from",
    "labelled_pictures",
    "metadata",
    "onnx_answers",
    "onnx_bytes",
    "pictures",
    "program_answers",
    "program_bytes",
    "random_pictures",
    "recipe",
]
