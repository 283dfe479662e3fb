"""A deployed classifier as one ONNX file."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from smat.errors import ConfigError
from smat.export.deployed import Deployed
from smat.export.extra import needed
from smat.export.metadata import KEY
from smat.export.smaller import halved, quantised
from smat.export.tracing import not_exportable, quiet, traced

ExportPrecision = Literal["float32", "float16", "int8"]

OPSET = 18
_LARGEST = 2**31 - 2**20  # of a protobuf message, less what is no weights


def onnx_bytes(
    deployed: Deployed,
    about: Mapping[str, Any],
    *,
    precision: ExportPrecision = "float32",
    pictures: UInt8[Tensor, "n side side 3"] | None = None,
) -> bytes:
    """The content of an ONNX file: `pictures` (uint8) to `probabilities` and `known`, for any number of pictures.

    Args:
        deployed: what is exported.
        about: what the file says of itself, under `KEY`, as JSON.
        precision: `float32`; `float16`: weights of half the size, computed with in float32; `int8`: weights and
            activations of the networks in 8 bits.
        pictures: what the ranges of activations are measured on for `int8`, such as the labelled images.

    Raises:
        ConfigError: it cannot be exported, it is too large, or the packages for it are missing.
    """
    onnx = needed("onnx")
    size = sum(tensor.nbytes for tensor in deployed.state_dict().values())
    if size > _LARGEST:
        raise ConfigError(
            f"the classifier has {size / 2**30:.1f} GB of weights, and an ONNX file takes at most 2: export it as a "
            "program of PyTorch (--to torch), or use a smaller backbone"
        )
    model = onnx_model(deployed)
    if precision == "float16":
        halved(model)
    if precision == "int8":
        if pictures is None:
            raise ConfigError("precision is int8, but there are no pictures to measure activations on: give some")
        model = quantised(model, pictures.numpy())
    model.metadata_props.clear()
    onnx.helper.set_model_props(model, {KEY: json.dumps(about)})
    model.producer_name, model.producer_version = "smat", about["smat"]
    _without_origins(model)
    return model.SerializeToString()


def onnx_model(deployed: Deployed) -> Any:
    """The graph in float32 as an `onnx.ModelProto`; nodes say in their metadata which module they come from."""
    needed("onnxscript")
    program = traced(deployed)
    try:
        with torch.no_grad(), quiet():
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=["pictures"],
                output_names=["probabilities", "known"],
                dynamic_shapes=({0: "n"},),
                verbose=False,
            )
    except Exception as error:  # an operation that ONNX has not
        raise not_exportable(deployed, error) from error
    assert exported
    return exported.model_proto


def _without_origins(model: Any) -> None:
    """Nodes and values have lines of code and folders of this machine with them."""
    for thing in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
