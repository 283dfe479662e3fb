"""A deployed classifier as a program of PyTorch (`torch.export`), which loads without smat."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from smat.export.agreement import Answers, Runner
from smat.export.deployed import Deployed
from smat.export.metadata import KEY
from smat.export.tracing import quiet, traced


def program_bytes(deployed: Deployed, about: Mapping[str, Any]) -> bytes:
    """The content of a `.pt2` file, which `torch.export.load` reads: `pictures` to `probabilities` and `known`.

    Args:
        deployed: what is exported.
        about: what the file says of itself, as JSON in its extra file `smat.json`.

    Raises:
        ConfigError: it cannot be exported.
    """
    program, file = traced(deployed), io.BytesIO()
    _without_origins(program)
    _with_own_tensors(program)
    with quiet():
        torch.export.save(program, file, extra_files={f"{KEY}.json": json.dumps(about)})
    return file.getvalue()


def program_answers(content: bytes) -> Runner:
    """What such a program answers, on the CPU, by the content of its file."""
    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def answers(pictures: np.ndarray) -> Answers:
        probabilities, known = module(torch.from_numpy(pictures))
        return probabilities.numpy(), known.numpy()

    return answers


def _without_origins(program: ExportedProgram) -> None:
    """Nodes have lines of code and folders of this machine with them."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)


def _with_own_tensors(program: ExportedProgram) -> None:
    """PyTorch (2.13) cannot save tensors that are turned or parts of others: each becomes a whole one."""
    for name, tensor in program.state_dict.items():
        whole = tensor.detach().clone(memory_format=torch.contiguous_format)
        is_parameter = isinstance(tensor, nn.Parameter)
        program.state_dict[name] = nn.Parameter(whole, requires_grad=False) if is_parameter else whole
