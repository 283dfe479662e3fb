"""`smat export-delta`: the experts of a pool for other tools, as task vectors and as whole networks."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

import smat
from smat.backbones import Backbone
from smat.backbones.pretrained import quiet
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.export.hf import image_processor
from smat.files import check_folder, write_folder
from smat.schema import checked_arguments

MARK = "smat.json"
"""The file of the folder that says what it was made of."""

VECTOR = "task_vector.safetensors"


@dataclass(frozen=True)
class ExportedExperts:
    """What `export_delta` wrote.

    Attributes:
        folder: the folder.
        experts: number of experts.
        method: method that made them.
        transformers: whether transformers can load the networks.
    """

    folder: str
    experts: int
    method: str
    transformers: bool


@checked_arguments
def export_delta(checkpoint: str, out: str, *, allow_imports: Collection[str] = ()) -> ExportedExperts:
    """Write each expert of a pool as a task vector and as a whole network, which tools for merging models read.

    The folder has one folder for each expert, `expert-0` and so on, and `pretrained`, the network without any. In each
    is `model.safetensors`, all parameters and buffers, with the configuration and the preprocessor beside it if it is a
    network of transformers, which then loads the folder. Those of the experts have `task_vector.safetensors` too, the
    differences to `pretrained` by the same names. An expert is what a task gets whose merge weight is
    1 for it and 0 for all others.

    Example: smat export-delta runs/first/best vectors

    Args:
        checkpoint: folder of a checkpoint with experts, or its name on the hub.
        out: folder to write; an earlier one of the kind is replaced.
        allow_imports: packages whose code may be imported where the checkpoint names classes outside smat.

    Returns:
        What was written.

    Raises:
        SmatError: if there is no such checkpoint, it has no experts, or the folder cannot be written.
    """
    check_folder(out, "output", MARK)
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint, allow_imports=allow_imports)
    experts = pool.config.experts
    if not experts:
        raise ConfigError(f"'{checkpoint}' has no experts to write: it is the pre-trained network alone")
    known = isinstance(pool.backbone.network, PreTrainedModel)
    found = ExportedExperts(str(out), experts, pool.config.method, known)

    def fill(folder: Path) -> None:
        base = _written(pool.plain_network(pool.pretrained), folder / "pretrained")
        for number, weights in enumerate(torch.eye(experts)):
            place = folder / f"expert-{number}"
            whole = _written(pool.plain_network(pool.merged_vector(weights)), place)
            vector = {name: tensor - base[name] for name, tensor in whole.items() if tensor.is_floating_point()}
            save_file(vector, place / VECTOR, metadata={"format": "pt"})
        about = {"smat": smat.__version__, "experts": experts, "method": pool.config.method}
        (folder / MARK).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        for file in folder.rglob("*.safetensors"):
            file.chmod((folder / MARK).stat().st_mode)  # safetensors makes files that nobody else may read

    write_folder(out, fill, MARK)
    Console().print(f"{experts} experts written: {escape(str(out))}", soft_wrap=True, highlight=False)
    return found


def _written(backbone: Backbone, folder: Path) -> dict[str, Tensor]:
    """Write a network as transformers keeps it, or, if it is of another kind, its parameters and buffers alone.

    Returns:
        What was written, by the names in the file: those of transformers may be the ones of its earlier versions.
    """
    folder.mkdir()
    network = backbone.network
    if isinstance(network, PreTrainedModel):
        with quiet():
            network.save_pretrained(folder)
            image_processor(backbone.spec, backbone.spec.margin).save_pretrained(folder)
    else:
        apart = {name: tensor.clone().contiguous() for name, tensor in network.state_dict().items()}
        save_file(apart, folder / "model.safetensors", metadata={"format": "pt"})
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}
