"""A pool as a folder: `config.json` to read and `model.safetensors` to load, the pre-trained parameters included."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import smat
from smat.backbones import Backbone, BackboneSpec, build
from smat.errors import CheckpointError

if TYPE_CHECKING:
    from smat.experts.pool import SparseInterpolatedExperts

CONFIG, WEIGHTS, FORMAT = "config.json", "model.safetensors", 1
_VECTORS = {"pretrained", "delta"}  # stored parameter by parameter, under the backbone's names


def _vectors(key: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """A vector under its name, or several, each under a name with its number."""
    return [(key, value)] if value.ndim == 1 else [(f"{key}.{m}", vector) for m, vector in enumerate(value)]


def write_pool(pool: "SparseInterpolatedExperts", folder: Path) -> None:
    """Write a pool's two files into a folder that exists."""
    config = {
        "format": FORMAT,
        "smat_version": smat.__version__,
        "method": pool.config.method,
        "image_size": pool.backbone.spec.image_size,
        "backbone": asdict(pool.backbone.spec),
        "pool": asdict(pool.config),
    }
    tensors = {}
    for key, value in pool.state_dict().items():
        if key in _VECTORS:
            for place, vector in _vectors(key, value):
                tensors |= {f"{place}/{name}": view.contiguous() for name, view in pool.layout.views(vector).items()}
        else:
            tensors[key] = value.contiguous()
    tensors |= {f"buffers/{name}": value.contiguous() for name, value in pool.backbone.named_buffers()}
    save_file({key: value.cpu() for key, value in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


@dataclass(frozen=True)
class StoredPool:
    """What a folder holds."""

    name: str
    config: Mapping[str, Any]
    tensors: dict[str, Tensor]

    def build_backbone(self, module: Backbone | None) -> Backbone:
        """The architecture, with the stored buffers (the parameters come with `fill`).

        Raises:
            CheckpointError: the pool was made around a module of the user's, which was not given.
        """
        spec = BackboneSpec.from_dict(self.config["backbone"])
        if spec.kind == "module" and module is None:
            raise CheckpointError(
                f"{self.name} was made around your own module {spec.name!r}: load it with from_pretrained(..., "
                "backbone=smat.backbones.load(module, image_size=...))"
            )
        backbone = module or build(spec)
        buffers = dict(backbone.named_buffers())
        for key, value in self._part("buffers").items():
            if key not in buffers or buffers[key].shape != value.shape:
                raise CheckpointError(
                    f"{self.name}: stored buffer {key} {tuple(value.shape)} does not fit the backbone"
                )
            buffers[key].copy_(value)
        return backbone

    def fill(self, pool: "SparseInterpolatedExperts") -> None:
        """Copy the stored numbers into a pool of the same make.

        Raises:
            CheckpointError: names or shapes differ; the message says which.
        """
        state = {key: value for key, value in self.tensors.items() if "/" not in key}
        ours = pool.state_dict()
        for key in ours.keys() & _VECTORS:
            try:
                vectors = [pool.layout.flatten(self._part(place)) for place, _ in _vectors(key, ours[key])]
            except CheckpointError as error:
                raise CheckpointError(f"{self.name}: {error}") from error
            state[key] = torch.stack(vectors).view_as(ours[key])
        wrong = [
            f"{key}: {tuple(state[key].shape) if key in state else 'missing'} instead of {tuple(value.shape)}"
            for key, value in ours.items()
            if key not in state or state[key].shape != value.shape
        ] + [f"{key}: unexpected" for key in state if key not in ours]
        if wrong:
            raise CheckpointError(
                f"{self.name} does not fit its own config.json: {'; '.join(wrong[:5])}. It was changed, or made "
                f"by another version (smat {self.config.get('smat_version')}; this is {smat.__version__})"
            )
        with torch.no_grad():
            for key, value in ours.items():
                value.copy_(state[key])

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{prefix}/"): v for k, v in self.tensors.items() if k.startswith(f"{prefix}/")}


def read_pool(name: str, **download: Any) -> StoredPool:
    """Read a pool from a local folder or, where there is none of that name, from the hub.

    Raises:
        CheckpointError: nothing of that name, no pool in it, a newer format, or a damaged file.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetch(name, **download)
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{name} is no smat checkpoint: it has no {' and no '.join(missing)}. Give a folder that save_pretrained "
            "or `smat train` made (its `best` or `last` folder)"
        )
    try:
        config = json.loads((folder / CONFIG).read_text())
        if config.get("format", FORMAT + 1) > FORMAT:
            raise CheckpointError(
                f"{name} has format {config.get('format')} (smat {config.get('smat_version')}), but this is smat "
                f"{smat.__version__}, which reads up to format {FORMAT}: upgrade smat"
            )
        return StoredPool(name, config, load_file(folder / WEIGHTS))
    except (json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"{name} is damaged: {error}. Copy or download it again") from error


def _fetch(name: str, **download: Any) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS], **download))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {name!r}, and the hub gave no checkpoint of that name ({type(error).__name__}): check "
            "the spelling, or the network connection"
        ) from error
