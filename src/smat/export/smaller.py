"""ONNX models of fewer bytes: weights of 16 bits, or weights and activations of 8."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from smat.backbones import Backbone
from smat.export.extra import needed
from smat.plugins import import_path

_FEW = 256  # numbers of a tensor that is not worth a node more
_BATCH = 8


def halved(model: Any) -> None:
    """Store weights in float16, in place; the runtime makes float32 of them once, when it loads the file."""
    onnx = needed("onnx")
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _FEW or abs(values).max() > np.finfo(np.float16).max:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def quantised(model: Any, pictures: np.ndarray) -> Any:
    """The model with the products and convolutions of its networks in 8 bits.

    Weights have a scale per channel and 7 bits, since some processors add pairs of products of 8 bits in 16, which can
    overflow. In float32 stay the head, what becomes of the pictures before the networks, and convolutions that read
    the three colours or one channel each: they are a small part of the work, and lose most.

    Args:
        model: as `onnx_model` gives it.
        pictures: the input that ranges of activations are measured on, `[n, side, side, 3]`.
    """
    onnx, quantization = needed("onnx"), needed("onnxruntime.quantization")
    preprocess = needed("onnxruntime.quantization.shape_inference").quant_pre_process
    network = import_path(Backbone)
    layers = {n.name for n in model.graph.node if any(network in entry.value for entry in n.metadata_props)}
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, made = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "made"))
        onnx.save(model, plain)
        preprocess(plain, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        weights = {weight.name: weight for weight in graph.initializer}
        chosen = [
            node.name
            for node in graph.node
            if node.op_type in ("Conv", "MatMul", "Gemm")
            and weights.keys() & set(node.input)
            and not (node.op_type == "Conv" and weights[node.input[1]].dims[1] in (1, 3))
            and node.name.partition("/")[0] in layers  # what is fused has the first name and a slash
        ]
        quantization.quantize_static(
            prepared,
            made,
            _Batches(pictures),
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            extra_options={"CalibMovingAverage": True},  # of batches: one odd picture does not stretch the ranges
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(made)


class _Batches:
    """Pictures as the quantisation reads them."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.rest = [pictures[start : start + _BATCH] for start in range(0, len(pictures), _BATCH)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, as the input of that name; None after the last."""
        return {"pictures": self.rest.pop(0)} if self.rest else None
